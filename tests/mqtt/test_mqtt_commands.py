"""`mqtt test` and `mqtt unpublish` against a broker whose ACL forbids some of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mosquitto import Mosquitto, passwords
from mqtt_parts import QUICK, wait_until

from edge_oneshot.config import MqttConfig
from edge_oneshot.errors import BrokerError
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.subscriber import Subscriber
from edge_oneshot.mqtt.unpublish import unpublish
from edge_oneshot.mqtt.walk import Step, walk

Runner = Callable[..., tuple[MqttLink, Outbox]]


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


def by_topic(steps: list[Step]) -> dict[str, bool | None]:
    return {s.detail.split(":")[0]: s.ok for s in steps if s.name == "publish"}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_mqtt_test_finds_what_the_acl_forbids(
    make_broker: Callable[..., Mosquitto], tmp_path: Path, protocol: str
) -> None:
    """Under 3.1.1 mosquitto acknowledges the forbidden publish and drops it; only the missing copy shows it."""
    acl = tmp_path / "acl"
    acl.write_text("topic read #\ntopic write edge-oneshot/porch/availability\ntopic write edge-oneshot/porch/event\n")
    acl.chmod(0o600)
    broker = make_broker(f"acl_file {acl}").start()
    steps = list(walk(MqttConfig(host="127.0.0.1", port=broker.port, protocol=protocol), "porch"))
    allowed = {topic for topic, ok in by_topic(steps).items() if ok}
    assert allowed == {"edge-oneshot/porch/availability", "edge-oneshot/porch/event"}
    assert {topic for topic, ok in by_topic(steps).items() if ok is False} == {
        f"edge-oneshot/porch/{leaf}"
        for leaf in (
            *("match/mqtt-test", "denied", "unknown", "presence", "health", "info"),
            *(f"person/mqtt-test/{part}" for part in ("state", "seen", "last_match")),
        )
    }
    words = "Not authorized" if protocol == "5" else "but dropped"
    match = next(s for s in steps if "match/mqtt-test" in s.detail)
    assert words in match.detail and match.fix == "allow: topic write edge-oneshot/porch/match/+"


def test_mqtt_test_leaves_nothing_behind_and_no_will(broker: Mosquitto) -> None:
    from mosquitto import Subscriber as Listener

    assert all(s.ok for s in walk(MqttConfig(host="127.0.0.1", port=broker.port), "porch"))
    with Listener(broker.port) as listener:
        broker_log = broker.log()
        assert "offline" not in broker_log and listener.heard == []


def test_mqtt_test_names_a_wrong_password_and_an_absent_broker(
    make_broker: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    broker = make_broker(f"password_file {passwords(tmp_path / 'pw', porch='right')}", anonymous=False)
    config = MqttConfig(host="127.0.0.1", port=broker.port)
    assert [(s.name, s.ok) for s in walk(config, "porch")] == [("connect", False)]
    broker.start()
    steps = list(walk(config, "porch"))
    assert [(s.name, s.ok) for s in steps] == [("connect", False)] and "mqtt.password_file" in steps[0].fix


def test_unpublish_clears_every_retained_topic(broker: Mosquitto, run_link: Runner) -> None:
    from mosquitto import Subscriber as Listener

    config = MqttConfig(host="127.0.0.1", port=broker.port)
    link, _ = run_link(config)
    other, _ = run_link(config, device="garden")
    for topic in (
        link.topics.presence,
        link.topics.person_state("alice"),
        "homeassistant/device/edge_oneshot_porch/config",
        "homeassistant/sensor/edge_oneshot_porch/last/config",
        "homeassistant/device/edge_oneshot_garden/config",
    ):
        link.set_state(topic, "{}")
    with Listener(broker.port) as listener:
        listener.wait("", 7)
    with pytest.raises(BrokerError, match="is online"):
        unpublish(config, "porch")
    link.stop()
    assert len(unpublish(config, "porch")) == 5
    with Listener(broker.port) as listener:
        listener.wait("garden/availability")
        assert {h.topic for h in listener.heard} == {
            "edge-oneshot/garden/availability",
            "homeassistant/device/edge_oneshot_garden/config",
        }
    other.stop()


def test_unpublish_checks_that_the_topics_are_empty(make_broker: Callable[..., Mosquitto], tmp_path: Path) -> None:
    acl, users = tmp_path / "acl", passwords(tmp_path / "pw", admin="a")
    acl.write_text("topic read #\nuser admin\ntopic readwrite #\n")
    acl.chmod(0o600)
    broker = make_broker(f"acl_file {acl}\npassword_file {users}").start()
    (tmp_path / "a").write_text("a")
    config = MqttConfig(host="127.0.0.1", port=broker.port, protocol="3.1.1")
    with Subscriber(
        replace(config, username="admin", password_file=str(tmp_path / "a")), ["x"], lambda m: None, "t"
    ) as admin:
        sent = admin.publish("edge-oneshot/porch/presence", b"{}", retain=True)
        wait_until(lambda: admin.step(0.05) and sent.is_published(), "the acknowledgement")
    with pytest.raises(BrokerError, match="not emptied: edge-oneshot/porch/presence"):
        unpublish(config, "porch")
