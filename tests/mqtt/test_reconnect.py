"""The link without a broker, after restarts of either side, and after a kill -9."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from link_parts import CONNACK, MakeLink, empty, publisher, until
from mosquitto import Mosquitto, Subscriber
from mqtt_parts import QUICK, SetClock, event, wait_until

from edge_oneshot.events.outbox import Outbox


def test_without_a_broker_the_daemon_continues_and_delivers_when_it_comes(
    make_broker: Callable[..., Mosquitto], outbox: Outbox, make_link: MakeLink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "edge_oneshot")
    broker = make_broker()
    link = make_link(broker.port)
    link.start()
    until(link, "unreachable")
    outbox.events.commit(event())
    link.wake()
    wait_until(lambda: sum("events wait in the outbox" in r.message for r in caplog.records) >= 3, "three attempts")
    levels = [r.levelname for r in caplog.records if "events wait in the outbox" in r.message]
    assert levels[0] == "WARNING" and set(levels[1:]) == {"DEBUG"}
    status = link.status()
    assert "refused" in status.error and status.outbox.depth == 1 and status.outbox.oldest_age_s is not None
    broker.start()
    until(link, "online")
    empty(outbox)
    assert link.status().error == "" and link.status().connects == 1


def test_a_restarted_broker_gets_every_state_again(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    link.set_state(link.topics.presence, {"identities": ["alice"]})
    link.start()
    until(link, "online")
    for number in range(3):
        broker.restart()  # without persistence: it has forgotten everything
        wait_until(lambda n=number: link.status().connects == n + 2, "the next connection")
        with Subscriber(broker.port) as listener:
            assert listener.wait("/availability")[-1].payload == b"online"
            assert listener.wait("/presence")[-1].json == {"identities": ["alice"]}


def test_events_of_an_outage_arrive_once_and_are_late(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    link.start()
    until(link, "online")
    broker.stop()
    until(link, "unreachable")
    old = [event(ago_s=3), event("gone", ago_s=3)]
    fresh = event("unknown")
    for e in (*old, fresh):
        outbox.events.commit(e)
    broker.start()
    with Subscriber(broker.port) as listener:
        outbox.events.commit(last := event("gone"))
        link.wake()
        wait_until(lambda: [h for h in listener.on("/event") if h.json["event_id"] == last.event_id], "the last event")
        late = {h.json["event_id"]: h.json["late"] for h in listener.on("/event")}
    assert late[last.event_id] is False and not any(late.get(e.event_id) is False for e in old)


def test_events_of_an_earlier_boot_are_late(broker: Mosquitto, tmp_path: Path, make_link: MakeLink) -> None:
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", clock=clock)
    box.events.commit(clock.event())
    clock.boot = "after-the-power-cut"
    link = make_link(broker.port, box=box, clock=clock)
    with Subscriber(broker.port) as listener:
        link.start()
        assert listener.wait("/match/alice")[0].json["late"] is True
    link.stop()
    box.close()


def test_the_will_is_published_when_the_process_is_killed(broker: Mosquitto, tmp_path: Path) -> None:
    child = publisher(
        broker.port,
        tmp_path / "o.sqlite",
        "link.start(); wait_until(lambda: link.status().state == 'online', 'online')",
    )
    with Subscriber(broker.port) as listener:
        assert listener.wait("/availability")[-1].payload == b"online"
        child.send_signal(signal.SIGKILL)
        child.wait()
        wait_until(lambda: listener.on("/availability")[-1].payload == b"offline", "the will")


def test_killed_between_commit_and_publish_the_next_process_delivers(
    make_broker: Callable[..., Mosquitto], tmp_path: Path, make_link: MakeLink
) -> None:
    broker = make_broker()  # not started, so nothing can be published
    child = publisher(
        broker.port, tmp_path / "o.sqlite", "link.start(); [outbox.events.commit(event()) for _ in range(20)]"
    )
    child.send_signal(signal.SIGKILL)
    child.wait()
    broker.start()
    box = Outbox(tmp_path / "o.sqlite")
    assert box.events.status().depth == 20
    link = make_link(broker.port, box=box)
    with Subscriber(broker.port) as listener:
        link.start()
        assert len({h.json["event_id"] for h in listener.wait("/match/alice", 20)}) == 20
    link.stop()
    empty(box)
    box.close()


def test_a_cleared_state_is_emptied_also_after_a_restart_in_between(
    make_broker: Callable[..., Mosquitto], tmp_path: Path, make_link: MakeLink
) -> None:
    broker = make_broker(f"persistence true\npersistence_location {tmp_path}/").start()
    for attempt in ("published", "cleared while the broker is away", "a new process"):
        box = Outbox(tmp_path / "o.sqlite")
        link = make_link(broker.port, box=box)
        if attempt == "published":
            link.set_state(link.topics.person_state("alice"), "ON")
            link.set_state(link.topics.person_state("bob"), "ON")
            link.start()
            until(link, "online")
            with Subscriber(broker.port) as listener:
                listener.wait("/state", 2)
            link.stop()
            broker.stop()
        elif attempt.startswith("cleared"):
            link.start()
            link.clear_state(link.topics.person_state("alice"))
            link.clear_state(link.topics.person_state("bob"))
            link.set_state(link.topics.person_state("bob"), "OFF")  # enrolled again
            link.stop()
            broker.start()
        else:
            link.start()
            wait_until(lambda b=box: b.topics.to_empty() == [], "the emptying to be acknowledged")
            link.stop()
        box.close()
    with Subscriber(broker.port) as listener:
        listener.wait("/availability")
        assert [h.topic for h in listener.on("/state")] == ["edge-oneshot/porch/person/bob/state"]


def test_stop_returns_when_the_broker_does_not_answer(outbox: Outbox, make_link: MakeLink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = make_link(server.getsockname()[1], limits=replace(QUICK, ack_timeout_s=600, stop_s=0.2))
        link.start()
        peer, _ = server.accept()
        peer.recv(1024)
        peer.sendall(CONNACK)  # and nothing else
        until(link, "online")
        link.stop()
        assert not link._thread.is_alive()
        peer.close()


def test_bytes_that_are_not_mqtt_do_not_end_the_link(outbox: Outbox, make_link: MakeLink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = make_link(server.getsockname()[1])
        link.start()
        for junk in (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            bytes(range(256)),
            b"\x20\x03\x00\xee\x00",
            b"\x20\xff\xff\xff\xff\xff",
        ):
            peer, _ = server.accept()
            peer.recv(1024)
            peer.sendall(junk)
            peer.close()
        server.accept()[0].close()
        assert link.status().state == "unreachable"
        link.stop()
