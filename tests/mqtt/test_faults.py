"""A real mosquitto behind a proxy that causes faults: nothing is lost, and a second copy is marked late."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fault_proxy import KINDS, FaultProxy, split
from mosquitto import Mosquitto, Subscriber
from mqtt_parts import QUICK, SetClock, event, wait_until

from edge_oneshot.events.clock import Moment, read_clock
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.connection import IN_FLIGHT
from edge_oneshot.types import Event

MakeLink = Callable[..., MqttLink]


def deliver(link: MqttLink, outbox: Outbox, first: Event) -> None:
    """Start, and deliver an event, so that the fault meets the acknowledgements that it is meant for."""
    outbox.events.commit(first)
    link.start()
    wait_until(
        lambda: link.status().state == "online" and outbox.events.status().depth == 0, "the first event to be delivered"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost(broker: Mosquitto, outbox: Outbox, make_link: MakeLink, kind: str) -> None:
    events = [event() for _ in range(60)]
    with FaultProxy(broker.port) as proxy, Subscriber(broker.port) as listener:
        link = make_link(proxy.port)
        deliver(link, outbox, events[0])
        proxy.fault = kind
        for e in events[1:40]:
            outbox.events.commit(e)
            link.wake()
        if kind != "slow":
            wait_until(
                lambda: outbox.events.status().depth == 0 or link.status().connects > 1 or link.status().error,
                "the fault to bite",
            )
        wait_until(lambda: proxy.hits, "the fault to do something")
        for e in events[40:]:
            outbox.events.commit(e)
            link.wake()
        proxy.fault = ""
        wait_until(lambda: outbox.events.status().depth == 0, f"an empty outbox, got {link.status()}")
        listener.wait("/event", len(events))
        counts = Counter(h.json["event_id"] for h in listener.on("/event"))
        late = {h.json["event_id"]: h.json["late"] for h in reversed(listener.on("/event"))}  # of the first copies
        first_seen = list(dict.fromkeys(h.json["event_id"] for h in listener.on("/event")))
        triggers = {h.json["event_id"] for h in listener.on("/match/alice")}
        assert sorted(first_seen) == [e.event_id for e in events] == sorted(triggers)  # all of them
        for which in (True, False):  # and in order, except that fresh ones may overtake late ones (UUIDv7 sorts)
            assert [i for i in first_seen if late[i] is which] == sorted(i for i in first_seen if late[i] is which)
        if kind == "cut_at_puback":
            assert max((counts + Counter(h.json["event_id"] + "m" for h in listener.on("/match/alice"))).values()) > 1
        link.stop()


def test_the_second_copy_after_a_long_cut_is_late(broker: Mosquitto, tmp_path: Path, make_link: MakeLink) -> None:
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", clock=clock)
    with FaultProxy(broker.port) as proxy, Subscriber(broker.port) as listener:
        link = make_link(proxy.port, box=box, clock=clock)
        deliver(link, box, clock.event(identity="bob"))
        proxy.fault, proxy.after_cut = "cut_at_puback", "refuse"  # no second copy before the clock has moved
        box.events.commit(clock.event())
        link.wake()
        wait_until(lambda: proxy.hits, "the cut")
        clock.forward = 2.5
        proxy.fault = ""
        wait_until(lambda: box.events.status().depth == 0, "the delivery")
        copies = [h.json for h in listener.wait("/match/alice", 2)]
        late = [c["late"] for c in copies]
        assert late == sorted(late) and not late[0] and late[-1], "the first copy is fresh, the last says late"
        assert len({c["event_id"] for c in copies}) == 1 and len({c["expires_at"] for c in copies}) == 1
        wait_until(lambda: listener.on("/event")[-1].json["late"] is True, "the last copy on `event` to say late, too")
        link.stop()
    box.close()


def test_a_fresh_event_does_not_wait_behind_a_backlog(broker: Mosquitto, tmp_path: Path, make_link: MakeLink) -> None:
    """After an outage a lock receives the present person at once, and the old events keep their order."""
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", clock=clock)
    old = [clock.event() for _ in range(400)]
    for e in old:
        box.events.commit(e)
    clock.forward = 3600.0
    first, second = clock.event(), clock.event()
    with FaultProxy(broker.port) as proxy, Subscriber(broker.port) as listener:
        proxy.fault = "refuse"
        link = make_link(proxy.port, box=box, clock=clock, limits=replace(QUICK, ack_timeout_s=60.0))
        link.start()
        wait_until(lambda: link.status().state == "unreachable", "the outage")
        box.events.commit(first)
        proxy.fault = "slow"  # so that most of the backlog still waits when the second one is committed
        listener.wait("/match/alice", 20)
        box.events.commit(second)
        link.wake()
        proxy.fault = ""
        heard = [h.json["event_id"] for h in listener.wait("/match/alice", len(old) + 2)]
        wait_until(lambda: box.events.status().depth == 0, "an empty outbox")
        link.stop()
    late = {h.json["event_id"]: h.json["late"] for h in listener.on("/match/alice")}
    assert [i for i in heard if late[i]] == [e.event_id for e in old], "the old ones in their order, once each"
    assert heard[0] == first.event_id and heard.index(second.event_id) < len(old) / 2
    box.close()


def test_an_event_that_becomes_late_overtakes_no_other(broker: Mosquitto, tmp_path: Path, make_link: MakeLink) -> None:
    clock = SetClock()

    def five_seconds_later() -> Moment:
        now = clock()
        return replace(now, boottime_ns=now.boottime_ns + 5 * 10**9, monotonic_ns=now.monotonic_ns + 5 * 10**9)

    box = Outbox(tmp_path / "o.sqlite", clock=clock)
    events = [clock.event() for _ in range(60)]
    for e in events[:-5]:
        box.events.commit(e)
    clock.forward = 3600.0
    events[-5:] = [
        clock.event() for _ in range(5)
    ]  # fresh when they are read from the outbox, and late when they are sent
    for e in events[-5:]:
        box.events.commit(e)
    with Subscriber(broker.port) as listener:
        link = make_link(broker.port, box=box, clock=five_seconds_later)
        link.start()
        assert [h.json["event_id"] for h in listener.wait("/event", 60)] == [e.event_id for e in events]
        link.stop()
    box.close()


def test_no_more_messages_wait_for_their_acknowledgement_than_promised(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    for _ in range(60):
        outbox.events.commit(event())  # two messages each
    with FaultProxy(broker.port) as proxy, Subscriber(broker.port) as listener:
        proxy.fault = "drop_pubacks"
        link = make_link(proxy.port, limits=replace(QUICK, ack_timeout_s=60.0))
        link.start()
        wait_until(lambda: proxy.hits >= IN_FLIGHT - 1, "the window to fill")
        threading.Event().wait(0.5)  # for more messages, if any
        assert IN_FLIGHT - 1 <= len(listener.heard) <= IN_FLIGHT
        link.stop()


def test_a_broker_of_3_1_1_gets_3_1_1(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    with FaultProxy(broker.port, v5="refuse") as proxy, Subscriber(broker.port) as listener:
        link = make_link(proxy.port)
        link.start()
        outbox.events.commit(event())
        link.wake()
        listener.wait("/match/alice")
        assert link.status().protocol == "3.1.1"
        link.stop()
        assert [h.payload for h in listener.wait("/availability", 2)] == [b"online", b"offline"]


def test_a_broker_that_disconnects_on_5_gets_3_1_1_after_a_while(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    with FaultProxy(broker.port, v5="hang up") as proxy:
        link = make_link(proxy.port)
        link.start()
        wait_until(lambda: link.status().state == "online", "online")
        assert link.status().protocol == "3.1.1"
        link.stop()


def test_protocol_5_alone_does_not_fall_back(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    with FaultProxy(broker.port, v5="refuse") as proxy:
        link = make_link(proxy.port, protocol="5")
        link.start()
        wait_until(lambda: link.status().state == "refused", "refused")
        link.stop()


def test_a_half_open_connection_is_noticed_by_the_missing_acknowledgement(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    with FaultProxy(broker.port) as proxy:
        link = make_link(proxy.port, limits=replace(QUICK, ack_timeout_s=0.3))
        link.start()
        wait_until(lambda: link.status().state == "online", "online")
        proxy.fault = "half_open"
        outbox.events.commit(event())
        link.wake()
        wait_until(lambda: "no PUBACK" in link.status().error or "no CONNACK" in link.status().error, "the cut")
        proxy.fault = ""
        wait_until(lambda: outbox.events.status().depth == 0, "the delivery")
        link.stop()


def test_the_proxy_splits_packets_wherever_the_bytes_break() -> None:
    stream = b"\xc0\x00" + b"\x30\x81\x01" + bytes(129) + b"\x40\x02\x00\x07"
    whole = [b"\xc0\x00", b"\x30\x81\x01" + bytes(129), b"\x40\x02\x00\x07"]
    for cut in range(len(stream) + 1):
        first, rest = split(stream[:cut])
        second, end = split(rest + stream[cut:])
        assert first + second == whole and end == b""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_run_of_the_fault_script(tmp_path: Path) -> None:
    """scripts/faults writes the report in benchmarks/; this is the same with fewer events and faults."""
    script = Path(__file__).parents[2] / "scripts" / "faults.py"
    options = [
        "--events",
        "150",
        "--faults",
        "10",
        "--rate",
        "60",
        "--kills",
        "1",
        "--out",
        tmp_path / "report.md",
        "--seed",
        "1",
    ]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| lost | 0 |" in (tmp_path / "report.md").read_text()


def test_the_real_clock_is_never_behind_the_events(outbox: Outbox) -> None:
    outbox.events.commit(event())
    age = outbox.events.pending(0, 1)[0].age_s(read_clock())
    assert age is not None and 0 <= age < 60
