"""deploy/examples/: mosquitto runs with these files (only their absolute paths changed); TLS and ACL work."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mosquitto import Mosquitto, free_port, passwords
from mqtt_parts import QUICK, event, wait_until

from edge_oneshot.config import MqttConfig
from edge_oneshot.errors import BrokerRefused, ConfigError
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.subscriber import Subscriber
from edge_oneshot.mqtt.walk import Step, walk

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
Runner = Callable[..., tuple[MqttLink, Outbox]]
ACCOUNTS = {"porch": "p", "homeassistant": "h", "lock": "l", "television": "t"}


class Example:
    """The example broker, and the configuration of each client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [EXAMPLES / "certificates.sh", folder / "certs", "localhost", "porch"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shutil.copy(EXAMPLES / "edge-oneshot.acl", folder / "edge-oneshot.acl")
        (folder / "edge-oneshot.acl").chmod(0o600)
        passwords(folder, **ACCOUNTS)
        for user, password in ACCOUNTS.items():
            (folder / f"{user}.password").write_text(password)
        self.tls_port, self.cert_port = free_port(), free_port()
        conf = (EXAMPLES / "mosquitto.conf").read_text()
        for ours, theirs in (
            ("/etc/mosquitto/certs", folder / "certs"),
            ("/etc/mosquitto", folder),
            ("/var/lib/mosquitto", folder),
            ("listener 8883", f"listener {self.tls_port} 127.0.0.1"),
            ("listener 8884", f"listener {self.cert_port} 127.0.0.1"),
        ):
            assert ours in conf
            conf = conf.replace(ours, str(theirs))
        self.broker = Mosquitto(folder, conf, listener=False)
        self.broker.port = self.tls_port

    def config(self, user: str, **changes: object) -> MqttConfig:
        base = MqttConfig(
            host="localhost",
            port=self.tls_port,
            tls=True,
            ca_file=str(self.folder / "certs" / "ca.crt"),
            username=user,
            password_file=str(self.folder / f"{user}.password"),
        )
        return replace(base, **changes)  # type: ignore[arg-type]

    @property
    def by_certificate(self) -> MqttConfig:
        return self.config(
            "",
            port=self.cert_port,
            password_file="",
            cert_file=str(self.folder / "certs" / "porch.crt"),
            key_file=str(self.folder / "certs" / "porch.key"),
        )


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    made = Example(tmp_path_factory.mktemp("example"))
    made.broker.start()
    yield made
    made.broker.stop()


@pytest.fixture
def run_link(tmp_path: Path) -> Iterator[Runner]:
    made: list[tuple[MqttLink, Outbox]] = []

    def run(config: MqttConfig, device: str = "porch") -> tuple[MqttLink, Outbox]:
        box = Outbox(tmp_path / f"{len(made)}.sqlite")
        link = MqttLink(config, device, box, limits=QUICK)
        made.append((link, box))
        link.start()
        return link, box

    yield run
    for link, box in made:
        link.stop()
        box.close()


def until(link: MqttLink, state: str) -> None:
    wait_until(lambda: link.status().state == state, f"state {state}, got {link.status()}")


@pytest.mark.parametrize("by", ["password", "certificate"])
def test_the_daemon_delivers_over_tls_to_home_assistant(example: Example, run_link: Runner, by: str) -> None:
    heard: list[str] = []
    with Subscriber(example.config("homeassistant"), ["edge-oneshot/#"], lambda m: heard.append(m.topic), "t") as ha:
        link, box = run_link(example.config("porch") if by == "password" else example.by_certificate)
        box.events.commit(event())
        link.wake()
        wait_until(
            lambda: ha.step(0.1) and "edge-oneshot/porch/match/alice" in heard,
            f"the match, got {heard}, {link.status()}",
        )


def test_faces_do_not_reach_home_assistant(example: Example, run_link: Runner) -> None:
    """The example's access list denies `snapshot` to the account that reads everything else."""
    heard: list[str] = []
    with Subscriber(example.config("homeassistant"), ["edge-oneshot/#"], lambda m: heard.append(m.topic), "t") as ha:
        link, box = run_link(example.config("porch"))
        until(link, "online")
        link.picture(b"\xff\xd8 a face \xff\xd9", {"event_id": "x"})
        time.sleep(0.5)  # so that it is sent first
        box.events.commit(event())
        link.wake()
        wait_until(
            lambda: ha.step(0.1) and "edge-oneshot/porch/match/alice" in heard,
            f"the match, got {heard}, {link.status()}",
        )
    assert not any("snapshot" in topic for topic in heard)


def test_a_device_cannot_publish_for_another(example: Example, run_link: Runner) -> None:
    link, box = run_link(example.config("porch"), device="backdoor")
    box.events.commit(event())
    link.wake()
    wait_until(lambda: len(link.status().refused_topics) == 3, "availability, match and event to be refused")
    assert set(link.status().refused_topics.values()) == {"Not authorized"} and box.events.status().depth == 1


@pytest.mark.parametrize("user", ["television", "homeassistant", "lock"])
def test_no_other_account_can_publish_a_match(example: Example, user: str) -> None:
    """Not even below its own name: a subscriber to `edge-oneshot/+/match/#` would open for it."""
    topics = [f"edge-oneshot/{name}/match/alice" for name in (user, "porch", "new")]
    topics += [f"edge-oneshot/{name}/{leaf}" for name in (user, "porch") for leaf in ("event", "request/enroll")]
    heard: list[str] = []
    with (
        Subscriber(example.config("homeassistant"), ["edge-oneshot/#"], lambda m: heard.append(m.topic), "t") as all_,
        Subscriber(example.config("lock"), ["edge-oneshot/+/match/#"], lambda m: heard.append(m.topic), "l") as lock,
        Subscriber(example.config(user), ["x"], lambda m: None, "forger") as forger,
        Subscriber(example.config("porch"), ["x"], lambda m: None, "device") as device,
    ):
        sent = [forger.publish(topic, b"{}", retain=False) for topic in topics]
        wait_until(lambda: forger.step(0.05) and all(i.is_published() for i in sent), "the acknowledgements")
        device.publish("edge-oneshot/porch/match/last", b"{}", retain=False)  # that the readers can read
        wait_until(
            lambda: (
                all(s.step(0.05) for s in (device, all_, lock)) and heard.count("edge-oneshot/porch/match/last") == 2
            ),
            f"the device's own message, got {heard}",
        )
    assert not set(topics) & set(heard)


@pytest.mark.parametrize("user", ["lock", "homeassistant"])
def test_an_account_that_only_reads_cannot_write(example: Example, user: str) -> None:
    steps = list(walk(example.config(user), "porch"))
    assert not any(by_topic(steps).values()) and len(by_topic(steps)) == 11, steps


def test_an_untrusted_certificate_is_refused(example: Example, run_link: Runner) -> None:
    link, _ = run_link(example.config("porch", ca_file=""))  # no CA of the system signed it
    until(link, "refused")
    assert "certificate is not trusted" in link.status().error
    with pytest.raises(BrokerRefused, match="trusted certificate"):
        Subscriber(example.config("porch", ca_file=""), ["x"], lambda m: None, "t").connect()


def test_a_wrong_host_name_is_refused(example: Example, run_link: Runner) -> None:
    link, _ = run_link(example.config("porch", host="127.0.0.1"))
    until(link, "refused")
    assert "certificate is not trusted" in link.status().error


def test_without_a_client_certificate_the_second_listener_refuses(example: Example, run_link: Runner) -> None:
    link, _ = run_link(example.config("porch", port=example.cert_port))
    wait_until(lambda: link.status().error, "an error")
    assert link.status().connects == 0


def test_plain_mqtt_at_the_tls_port_names_the_likely_cause(example: Example, run_link: Runner) -> None:
    link, _ = run_link(example.config("porch", tls=False, ca_file=""))
    wait_until(lambda: "mqtt.tls" in link.status().error, f"the hint, got {link.status()}")


def test_unusable_certificates_are_configuration_errors(example: Example, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no PEM")
    for changes in (
        {"ca_file": str(junk)},
        {"ca_file": str(tmp_path / "absent")},
        {"cert_file": str(junk), "key_file": str(junk)},
    ):
        box = Outbox(tmp_path / "o.sqlite")
        link = MqttLink(example.config("porch", **changes), "porch", box)
        with pytest.raises(ConfigError):
            link.start()
        link.stop()
        box.close()


def by_topic(steps: list[Step]) -> dict[str, bool | None]:
    return {s.detail.split(":")[0]: s.ok for s in steps if s.name == "publish"}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_mqtt_test_passes_where_everything_is_allowed(example: Example, protocol: str) -> None:
    steps = list(
        walk(
            example.config("porch", protocol=protocol),
            "porch",
            watch=example.config("homeassistant", protocol=protocol),
        )
    )
    assert all(s.ok for s in steps), steps
    assert len(by_topic(steps)) == 11 and all(s.detail.endswith("it arrived") for s in steps if s.name == "publish")


def test_mqtt_test_cannot_tell_without_an_account_that_reads(example: Example) -> None:
    steps = list(walk(example.config("porch", protocol="3.1.1"), "porch"))
    assert set(by_topic(steps).values()) == {None} and "--watch-username" in steps[-1].fix
    assert all(
        by_topic(list(walk(example.config("porch", protocol="5"), "porch"))).values()
    )  # MQTT 5 reports a refusal


@pytest.mark.skipif(
    shutil.which("node") is None, reason="node, which runs the function of the Node-RED flow, is not installed"
)
def test_the_node_red_flow_opens_once_and_only_on_fresh_matches() -> None:
    flow = json.loads((EXAMPLES / "node-red-door.json").read_text())
    source = next(n["func"] for n in flow if n["type"] == "function")
    assert next(n["topic"] for n in flow if n["type"] == "mqtt in") == "edge-oneshot/porch/match/alice"
    good = {
        "event_type": "match",
        "identity": "alice",
        "late": False,
        "clock": "synced",
        "event_id": "1",
        "expires_at": "2999-01-01T00:00:00.000Z",
    }
    messages = (
        [{"payload": good}, {"payload": good}]
        + [
            {"payload": {**good, "event_id": "2", **bad}}
            for bad in (
                {"late": True},
                {"clock": "unsynced"},
                {"expires_at": "2020-01-01T00:00:00.000Z"},
                {"expires_at": None},
                {"identity": "bob"},
                {"event_type": "gone"},
                {"rate": "none"},
            )
        ]
        + [{"payload": {**good, "event_id": "3"}, "retain": True}]
    )
    script = f"""
const kept = {{}}; const context = {{get: k => kept[k], set: (k, v) => {{ kept[k] = v; }}}};
const check = new Function('msg', 'context', {json.dumps(source)});
console.log(JSON.stringify({json.dumps(messages)}.map(m => check(m, context) !== null)));"""
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True] + [False] * 9
