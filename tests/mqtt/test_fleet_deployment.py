"""deploy/examples/fleet.acl and fleet-bridge.conf: mosquitto runs with them; each account may do what its role needs, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mosquitto import Mosquitto, passwords
from mqtt_parts import wait_until

from edge_oneshot.config import MqttConfig
from edge_oneshot.fleet.link import Link, LinkTimes

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
FLEET = "edge-oneshot/fleet/" + "ab" * 16
ACCOUNTS = {"gate": "g", "desk": "d", "office": "o", "branch": "b", "porch": "p"}
QUICK = LinkTimes(base=0.05, max=0.2, refused=0.2)


class Client(Link):
    """A link that stores the topics of what arrives."""

    def __init__(self, config: MqttConfig, client_id: str) -> None:
        self.heard: list[str] = []
        super().__init__(config, client_id, lambda topic, _: self.heard.append(topic), times=QUICK)


Connect = Callable[[Mosquitto, str], Client]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    made: list[Client] = []

    def make(broker: Mosquitto, user: str) -> Client:
        secret = tmp_path / f"{user}.password"
        secret.write_text(ACCOUNTS[user])
        config = MqttConfig(host="127.0.0.1", port=broker.port, username=user, password_file=str(secret))
        link = Client(config, f"{user}-{len(made)}")
        made.append(link)
        until(link, lambda: link.online, "online")
        return link

    yield make
    for link in made:
        link.close()


def until(link: Link, condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"{what}: {link.fault}"
        link.wait(0.02)


def main_broker(folder: Path) -> Mosquitto:
    """With both access lists, as the page tells to join them."""
    folder.mkdir(exist_ok=True)
    acl = folder / "acl"
    fleet = (EXAMPLES / "fleet.acl").read_text().replace("ID-OF-GATE", "x").replace("ID-OF-DESK", "x")
    acl.write_text((EXAMPLES / "edge-oneshot.acl").read_text() + fleet)
    with acl.open("a") as more:
        more.write("user branch\ntopic readwrite edge-oneshot/fleet/#\n")
    acl.chmod(0o600)
    lines = f"password_file {passwords(folder, **ACCOUNTS)}\nacl_file {acl}"
    return Mosquitto(folder / "broker", lines, anonymous=False).start()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = main_broker(tmp_path)
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("user", "may", "may_not"),
    [
        ("gate", ["state/x", "../join/x/request"], ["person/00/x", "template/00/x", "member/x", "key/x", "state/y"]),
        ("desk", ["person/00/x", "template/00/x", "audit/x/0", "state/x"], ["revoked/x", "state/y", "audit/y/0"]),
        ("office", ["person/00/x", "member/x", "revoked/x", "key/x", "audit/x/0", "../join/x/answer"], []),
        ("porch", [], ["person/00/x", "state/x", "member/x"]),
    ],
)
def test_each_role_may_write_its_records_only(
    broker: Mosquitto, connect: Connect, user: str, may: list[str], may_not: list[str]
) -> None:
    link = connect(broker, user)
    topics = {
        name: f"edge-oneshot/fleet/{name[3:]}" if name.startswith("../") else f"{FLEET}/{name}"
        for name in may + may_not
    }
    for topic in topics.values():
        link.publish(topic, b"1")
    until(link, lambda: len(link.acknowledged) + len(link.refused) == len(topics), "all answers")
    assert {t for t, _ in link.acknowledged} == {topics[name] for name in may}
    assert set(link.refused) == {topics[name] for name in may_not}


def test_a_site_of_its_own_exchanges_the_fleet_and_nothing_else(
    broker: Mosquitto, connect: Connect, tmp_path: Path
) -> None:
    text = (EXAMPLES / "fleet-bridge.conf").read_text()
    for ours, theirs in (
        ("address broker.example:8883", f"address 127.0.0.1:{broker.port}"),
        ("remote_password PASSWORD", "remote_password b"),
        ("bridge_cafile /etc/mosquitto/certs/ca.crt", ""),
        ("restart_timeout 5 30", "restart_timeout 1 1"),
    ):
        assert ours in text
        text = text.replace(ours, theirs)
    site = Mosquitto(tmp_path / "site", text).start()
    try:
        here, office = connect(site, "gate"), connect(broker, "office")
        for link in (here, office):
            link.subscribe("edge-oneshot/#")
        until(here, lambda: here.granted, "subscription")
        until(office, lambda: office.granted, "subscription")
        office.publish(f"{FLEET}/person/00/x", b"1")
        here.publish(f"{FLEET}/state/y", b"2")
        here.publish("edge-oneshot/porch/event", b"3")
        wait_until(lambda: _work(here, office) and f"{FLEET}/person/00/x" in here.heard, "the person")
        wait_until(lambda: _work(here, office) and f"{FLEET}/state/y" in office.heard, "the state")
        assert not [t for t in office.heard if "porch" in t]
        counts = len(here.heard), len(office.heard)
        end = time.monotonic() + 1
        wait_until(lambda: _work(here, office) and time.monotonic() > end, "a second")
        assert (len(here.heard), len(office.heard)) == counts, "a loop"
    finally:
        site.stop()


def _work(*links: Link) -> bool:
    for link in links:
        link.wait(0.01)
    return True
