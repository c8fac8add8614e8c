"""The fleet's link and its slices with a real mosquitto: retained records arrive whole, live ones at once, after any restart."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mosquitto import Mosquitto

from edge_oneshot.config import MqttConfig
from edge_oneshot.fleet.link import Link, LinkTimes
from edge_oneshot.fleet.slices import ALL, Slices

BASE = "edge-oneshot/fleet/gym"
QUICK = LinkTimes(base=0.05, max=0.2, refused=0.2, connack=2.0, ack=5.0)


class Party:
    """A link and everything that it has heard."""

    def __init__(self, broker: Mosquitto, name: str, protocol: str = "5") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.slices = Slices(BASE, random.Random(1))
        self.fetched: dict[str, set[str]] = {}
        config = MqttConfig(host="127.0.0.1", port=broker.port, protocol=protocol)
        self.link = Link(config, name, self._take, times=QUICK)

    def _take(self, topic: str, payload: bytes) -> None:
        self.heard.append((topic, payload))
        self.slices.arrived(topic, time.monotonic())

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"{what}: {self.link.fault}"
            self.link.wait(0.02)
            self.fetched.update(self.slices.step(self.link, time.monotonic()))

    def online(self) -> None:
        self.until(lambda: self.link.online, "online")

    def publish(self, records: dict[str, bytes]) -> None:
        waiting = list(records.items())
        wanted = len(waiting) + len(self.link.acknowledged)
        while waiting:
            while waiting and self.link.room > 0:
                self.link.publish(*waiting.pop())
            self.link.wait(0.02)
        self.until(lambda: len(self.link.acknowledged) >= wanted, "acknowledgements")


@pytest.fixture
def party() -> Iterator[Callable[..., Party]]:
    made: list[Party] = []

    def make(broker: Mosquitto, name: str, protocol: str = "5") -> Party:
        made.append(Party(broker, name, protocol))
        return made[-1]

    yield make
    for each in made:
        each.link.close()


Make = Callable[..., Party]


def records(count: int) -> dict[str, bytes]:
    return {f"{BASE}/person/{n % 256:02x}/{n:032x}": b"%d" % n for n in range(count)}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_all_slices_arrive_although_the_broker_queues_a_thousand_messages_only(
    broker: Mosquitto, party: Make, protocol: str
) -> None:
    desk, door = party(broker, "desk"), party(broker, "door", protocol)
    desk.online()
    stored = records(2000)
    desk.publish(stored)
    door.online()
    door.slices.want(ALL)
    door.until(lambda: door.slices.idle, "all slices")
    assert dict(door.heard) == stored
    assert set().union(*door.fetched.values()) == set(stored) and set(door.fetched) == set(ALL)


def test_without_slices_the_broker_drops_most_of_them(broker: Mosquitto, party: Make) -> None:
    """Why there are slices. If this fails, mosquitto has no such limit any more."""
    desk, door = party(broker, "desk"), party(broker, "door")
    desk.online()
    desk.publish(records(2000))
    door.online()
    door.link.subscribe(f"{BASE}/#")
    door.until(lambda: len(door.heard) > 900, "the first thousand")
    end = time.monotonic() + 1.0
    door.until(lambda: time.monotonic() > end, "a second")
    assert len(door.heard) < 1500


def test_a_live_subscription_brings_what_is_new_and_nothing_that_is_stored(broker: Mosquitto, party: Make) -> None:
    desk, door = party(broker, "desk"), party(broker, "door")
    desk.online()
    desk.publish(records(50))
    door.online()
    door.link.subscribe(f"{BASE}/person/+/+", retained=False)
    door.until(lambda: door.link.granted, "the subscription")
    desk.publish({f"{BASE}/person/00/new": b"1"})
    door.until(lambda: door.heard, "the new record")
    assert door.heard == [(f"{BASE}/person/00/new", b"1")]


def test_it_reconnects_after_a_kill_of_the_broker_and_knows_that_it_is_a_new_session(
    broker: Mosquitto, party: Make
) -> None:
    door = party(broker, "door")
    door.online()
    broker.kill()
    door.until(lambda: not door.link.online, "offline")
    assert door.link.room == 0 and door.link.fault
    broker.start()
    door.online()
    assert door.link.session == 2 and not door.link.granted


def test_a_refused_record_is_named(make_broker: Callable[..., Mosquitto], party: Make, tmp_path: Path) -> None:
    (tmp_path / "acl").write_text(f"topic read {BASE}/state/#\ntopic write {BASE}/state/door\n")
    (tmp_path / "acl").chmod(0o600)
    door = party(make_broker(f"acl_file {tmp_path}/acl").start(), "door")
    door.online()
    door.link.publish(f"{BASE}/person/00/x", b"1")
    door.link.publish(f"{BASE}/state/door", b"1")
    door.until(lambda: door.link.acknowledged and door.link.refused, "both answers")
    assert door.link.acknowledged == [(f"{BASE}/state/door", b"1")]
    assert list(door.link.refused) == [f"{BASE}/person/00/x"]
