"""The link against a real mosquitto: states, events, refusals, restarts, the will."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from mosquitto import Mosquitto, Subscriber, passwords
from mqtt_parts import BODIES, QUICK, SetClock, event, wait_until

from edge_oneshot.errors import ConfigError
from edge_oneshot.events import schema
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink

MakeLink = Callable[..., MqttLink]
EVENT = Draft202012Validator(schema.load("event-v1"))
CONNACK = b"\x20\x03\x00\x00\x00"  # MQTT 5: accepted


def until(link: MqttLink, state: str) -> None:
    wait_until(lambda: link.status().state == state, f"state {state}, got {link.status()}")


def empty(outbox: Outbox) -> None:
    wait_until(lambda: outbox.status().depth == 0, f"an empty outbox, got {outbox.status()}")


def test_every_event_goes_to_its_topics_whole_and_in_order(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    link = make_link(broker.port)
    events = [event(kind) for kind in BODIES for _ in range(5)]
    with Subscriber(broker.port) as listener:
        link.start()
        for e in events:
            outbox.commit(e)
            link.wake()
        heard = listener.wait("/event", len(events))
        empty(outbox)
        assert [h.json["event_id"] for h in heard] == [e.event_id for e in events]
        for h in heard:
            EVENT.validate(h.json)
            assert h.json["late"] is False and h.json["device"] == "porch"
        assert [h.json["event_id"] for h in listener.on("/match/alice")] == [
            e.event_id for e in events if e.event_type == "match"
        ]
        assert [h.json["event_id"] for h in listener.on("/unknown")] == [
            e.event_id for e in events if e.event_type == "unknown"
        ]
        assert {h.payload for h in listener.on("/match/alice")} <= {h.payload for h in heard}
        assert len(listener.heard) == len(events) + 10 + 1  # copies, and `online`: nothing else


def test_mqtt_5_properties_say_type_life_and_schema(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    with Subscriber(broker.port) as listener:
        link.start()
        outbox.commit(event())
        link.wake()
        trigger, log = listener.wait("/match/alice")[0].properties, listener.wait("/event")[0].properties
    for properties in (trigger, log):
        assert properties["ContentType"] == "application/json" and properties["UserProperty"] == [("schema", "1")]
        assert properties["PayloadFormatIndicator"] == 1
    assert 1 <= trigger["MessageExpiryInterval"] <= 10 < log["MessageExpiryInterval"] <= 86400


def test_events_are_never_retained_and_states_are(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    link.set_state(link.topics.presence, {"identities": []})
    link.start()
    link.set_state(link.topics.person_state("alice"), "ON")
    for kind in BODIES:
        outbox.commit(event(kind))
    link.wake()
    empty(outbox)
    with Subscriber(broker.port) as latecomer:
        states = latecomer.wait("", 3)
        assert {(h.topic, h.payload, h.retain) for h in states} == {
            ("edge-oneshot/porch/availability", b"online", True),
            ("edge-oneshot/porch/presence", b'{"identities":[]}', True),
            ("edge-oneshot/porch/person/alice/state", b"ON", True),
        }
        outbox.commit(event("gone"))
        link.wake()
        latecomer.wait("/event")
        assert len(latecomer.heard) == 4  # and no older event came before it


def test_online_is_first_and_offline_last_on_a_clean_stop(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    link = make_link(broker.port, limits=replace(QUICK, stop_s=30.0))
    with Subscriber(broker.port) as listener:
        link.set_state(link.topics.presence, {"identities": []})
        link.start()
        until(link, "online")
        link.set_state(link.topics.presence, {"identities": ["alice"]})
        link.stop()
        assert link.status().state == "stopped"
        heard = listener.wait("", 3)
        assert heard[0].payload == b"online" and heard[-1].payload == b"offline"
        assert [h.json for h in listener.on("/presence")][-1] == {"identities": ["alice"]}
    with Subscriber(broker.port) as latecomer:
        assert latecomer.wait("/availability")[0].payload == b"offline"
    assert "not_authorised" not in broker.log()


def test_without_a_broker_the_daemon_goes_on_and_delivers_when_it_comes(
    make_broker: Callable[..., Mosquitto], outbox: Outbox, make_link: MakeLink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "edge_oneshot")
    broker = make_broker()
    link = make_link(broker.port)
    link.start()
    until(link, "unreachable")
    outbox.commit(event())
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


def test_a_restarted_broker_is_told_every_state_again(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
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


def test_events_of_an_outage_arrive_once_and_say_late(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    link.start()
    until(link, "online")
    broker.stop()
    until(link, "unreachable")
    old = [event(ago_s=3), event("gone", ago_s=3)]
    fresh = event("unknown")
    for e in (*old, fresh):
        outbox.commit(e)
    broker.start()
    with Subscriber(broker.port) as listener:
        outbox.commit(last := event("gone"))
        link.wake()
        wait_until(lambda: [h for h in listener.on("/event") if h.json["event_id"] == last.event_id], "the last event")
        late = {h.json["event_id"]: h.json["late"] for h in listener.on("/event")}
    assert late[last.event_id] is False and not any(late.get(e.event_id) is False for e in old)


def test_events_of_an_earlier_boot_are_late(broker: Mosquitto, tmp_path: Path, make_link: MakeLink) -> None:
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", clock=clock)
    box.commit(clock.event())
    clock.boot = "after-the-power-cut"
    link = make_link(broker.port, box=box, clock=clock)
    with Subscriber(broker.port) as listener:
        link.start()
        assert listener.wait("/match/alice")[0].json["late"] is True
    link.stop()
    box.close()


def test_a_wrong_password_is_said_once_and_backs_off_to_the_maximum(
    make_broker: Callable[..., Mosquitto],
    tmp_path: Path,
    outbox: Outbox,
    make_link: MakeLink,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = tmp_path / "password"
    secret.write_text("hunter-2-wrong\n")
    broker = make_broker(f"password_file {passwords(tmp_path / 'pw', daemon='right')}", anonymous=False).start()
    limits = replace(QUICK, backoff_base_s=1e-3, backoff_max_s=0.5)
    link = make_link(broker.port, username="daemon", password_file=str(secret), limits=limits)
    link.start()
    until(link, "refused")
    assert "Not authorized" in link.status().error or "Bad user name or password" in link.status().error
    outbox.commit(event())
    wait_until(
        lambda: broker.log().count("New client connected") + broker.log().count("not authorised") >= 3, "three attempts"
    )
    said = [r for r in caplog.records if "needs a change by you" in r.message]
    assert len(said) == 1 and said[0].levelname == "ERROR"
    assert "hunter-2" not in caplog.text and "hunter-2" not in repr(link.status())
    secret.write_text("right\n")  # read again at each attempt
    until(link, "online")
    empty(outbox)


def test_the_password_may_be_a_systemd_credential(
    make_broker: Callable[..., Mosquitto], tmp_path: Path, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "mqtt-password").write_text("right")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    broker = make_broker(f"password_file {passwords(tmp_path / 'pw', daemon='right')}", anonymous=False).start()
    link = make_link(broker.port, username="daemon", password_file="mqtt-password")
    link.start()
    until(link, "online")


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "No such file"), ("", "got nothing"), ("\nsecond line", "got nothing")]
)
def test_an_unusable_password_file_is_a_configuration_error(
    tmp_path: Path, make_link: MakeLink, content: str | None, expected: str
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=expected):
        make_link(1, username="daemon", password_file=str(path)).start()


def test_a_publish_that_the_acl_refuses_is_kept_told_and_tried_again(
    make_broker: Callable[..., Mosquitto],
    tmp_path: Path,
    outbox: Outbox,
    make_link: MakeLink,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """MQTT 5: mosquitto answers the QoS 1 publish with a PUBACK of reason 0x87."""
    acl, secret = tmp_path / "acl", tmp_path / "password"
    admin = "user admin\ntopic readwrite #\n"
    acl.write_text(
        f"user daemon\ntopic write edge-oneshot/porch/availability\ntopic write edge-oneshot/porch/event\n{admin}"
    )
    acl.chmod(0o600)
    secret.write_text("right")
    users = passwords(tmp_path / "pw", daemon="right", admin="a")
    broker = make_broker(f"acl_file {acl}\npassword_file {users}", anonymous=False).start()
    link = make_link(broker.port, username="daemon", password_file=str(secret))
    with Subscriber(broker.port, username="admin", password="a") as listener:
        link.start()
        refused, taken = event("match"), event("gone")
        outbox.commit(refused)
        outbox.commit(taken)
        link.wake()
        wait_until(lambda: link.status().refused_events == 1, "the refusal")
        wait_until(lambda: outbox.status().depth == 1, "the event behind it to be delivered all the same")
        assert link.status().refused_topics == {"edge-oneshot/porch/match/alice": "Not authorized"}
        assert [r.levelname for r in caplog.records if "does not take edge-oneshot/porch/match/alice" in r.message] == [
            "ERROR"
        ]
        assert not listener.on("/match/alice")
        acl.write_text(f"user daemon\ntopic readwrite edge-oneshot/#\n{admin}")
        broker.reload()
        assert listener.wait("/match/alice")[0].json["event_id"] == refused.event_id
        empty(outbox)
        wait_until(lambda: link.status().refused_topics == {}, "the end of the refusal")
        # The log topic had its copy at the first attempt; the second one repeats only what was refused.
        assert [h.json["event_id"] for h in listener.on("/event")].count(refused.event_id) == 1


def test_the_will_says_offline_when_the_process_is_killed(broker: Mosquitto, tmp_path: Path) -> None:
    child = _publisher(
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
    broker = make_broker()  # not there yet, so nothing can be published
    child = _publisher(broker.port, tmp_path / "o.sqlite", "link.start(); [outbox.commit(event()) for _ in range(20)]")
    child.send_signal(signal.SIGKILL)
    child.wait()
    broker.start()
    box = Outbox(tmp_path / "o.sqlite")
    assert box.status().depth == 20
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
    for attempt in ("told", "cleared while the broker is away", "a new process"):
        box = Outbox(tmp_path / "o.sqlite")
        link = make_link(broker.port, box=box)
        if attempt == "told":
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
            link.set_state(link.topics.person_state("bob"), "OFF")  # enrolled anew
            link.stop()
            broker.start()
        else:
            link.start()
            wait_until(lambda b=box: b.clears() == [], "the emptying to be acknowledged")
            link.stop()
        box.close()
    with Subscriber(broker.port) as listener:
        listener.wait("/availability")
        assert [h.topic for h in listener.on("/state")] == ["edge-oneshot/porch/person/bob/state"]


def test_two_clients_with_one_id_slow_down_and_say_what_it_may_be(
    broker: Mosquitto, outbox: Outbox, tmp_path: Path, make_link: MakeLink
) -> None:
    """mosquitto 2.0.11 just hangs up on the older one."""
    limits = replace(QUICK, stable_s=60.0)
    other = Outbox(tmp_path / "other.sqlite")
    links = [make_link(broker.port, limits=limits), make_link(broker.port, limits=limits, box=other)]
    for link in links:
        link.start()
    wait_until(
        lambda: any("another client use this mqtt.client_id" in link.status().error for link in links), "the suspicion"
    )
    for link in links:
        link.stop()
    other.close()


def test_session_taken_over_is_permanent_where_the_broker_says_it(outbox: Outbox, make_link: MakeLink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = make_link(server.getsockname()[1])
        link.start()
        peer, _ = server.accept()
        peer.recv(1024)
        peer.sendall(CONNACK + b"\xe0\x01\x8e")
        until(link, "refused")
        assert "Session taken over; another client uses this mqtt.client_id" in link.status().error
        link.stop()
        peer.close()


def test_bytes_that_are_no_mqtt_do_not_end_the_link(outbox: Outbox, make_link: MakeLink) -> None:
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


def test_stop_returns_when_the_broker_does_not_answer(outbox: Outbox, make_link: MakeLink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = make_link(server.getsockname()[1], limits=replace(QUICK, ack_timeout_s=600, stop_s=0.2))
        link.start()
        peer, _ = server.accept()
        peer.recv(1024)
        peer.sendall(CONNACK)  # and not a word more
        until(link, "online")
        link.stop()
        assert not link._thread.is_alive()
        peer.close()


def _publisher(port: int, path: Path, then: str) -> subprocess.Popen[bytes]:
    """A process with a link of its own; returns once it has done `then`."""
    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from mqtt_parts import QUICK, event, wait_until
from edge_oneshot.config import MqttConfig
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink
outbox = Outbox(Path({str(path)!r}))
link = MqttLink(MqttConfig(host="127.0.0.1", port={port}), "porch", outbox, limits=QUICK)
{then}
print("done", flush=True)
time.sleep(600)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"done\n"
    child.stdout.close()
    return child


def test_a_picture_is_sent_once_and_kept_nowhere(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port, event_ttl_s=4.5)
    link.picture(b"before the link")
    with Subscriber(broker.port) as listener:
        link.start()
        until(link, "online")
        link.picture(b"\xff\xd8 one")
        heard = listener.wait("/snapshot")
        assert [h.payload for h in heard] == [b"\xff\xd8 one"]
        assert (heard[0].qos, heard[0].retain, heard[0].properties["ContentType"]) == (0, False, "image/jpeg")
        assert heard[0].properties["MessageExpiryInterval"] in (4, 5)
        broker.stop()
        until(link, "unreachable")
        link.picture(b"nobody hears it")
        broker.start()
        until(link, "online")
        wait_until(lambda: listener.subscriptions == 2, "the listener to be back")
        link.picture(b"two")
        assert [h.payload for h in listener.wait("/snapshot", 2)] == [b"\xff\xd8 one", b"two"]
    with Subscriber(broker.port) as later:
        outbox.commit(event())
        link.wake()
        later.wait("/match/alice")
        assert not later.on("/snapshot")


def test_states_and_events_share_a_small_window(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    for _ in range(200):
        outbox.commit(event())
    link = make_link(broker.port)
    for n in range(100):
        link.set_state(link.topics.person_state(f"p{n}"), "OFF")
    with Subscriber(broker.port) as listener:
        link.start()
        listener.wait("/state", 100)
        listener.wait("/match/alice", 200)
    empty(outbox)
    assert link.status().refused_topics == {}
