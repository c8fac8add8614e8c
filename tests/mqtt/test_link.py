"""The link against a real mosquitto: events, states and pictures."""

from __future__ import annotations

from dataclasses import replace

from jsonschema import Draft202012Validator
from link_parts import MakeLink, empty, until
from mosquitto import Mosquitto, Subscriber
from mqtt_parts import BODIES, QUICK, event, wait_until

from edge_oneshot.events import schema
from edge_oneshot.events.outbox import Outbox

EVENT = Draft202012Validator(schema.load("event-v1"))


def test_every_event_goes_to_its_topics_whole_and_in_order(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    link = make_link(broker.port)
    events = [event(kind) for kind in BODIES for _ in range(5)]
    with Subscriber(broker.port) as listener:
        link.start()
        for e in events:
            outbox.events.commit(e)
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
        assert [h.json["event_id"] for h in listener.on("/confirmed/alice")] == [
            e.event_id for e in events if e.event_type == "confirmed"
        ]
        assert [h.json["event_id"] for h in listener.on("/unknown")] == [
            e.event_id for e in events if e.event_type == "unknown"
        ]
        assert [h.json["event_id"] for h in listener.on("/denied")] == [
            e.event_id for e in events if e.event_type == "denied"
        ]
        assert {h.payload for h in listener.on("/match/alice")} <= {h.payload for h in heard}
        assert len(listener.heard) == len(events) + 20 + 1  # copies, and `online`: nothing else


def test_mqtt_5_properties_say_type_life_and_schema(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    with Subscriber(broker.port) as listener:
        link.start()
        outbox.events.commit(event())
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
        outbox.events.commit(event(kind))
    link.wake()
    empty(outbox)
    with Subscriber(broker.port) as latecomer:
        states = latecomer.wait("", 3)
        assert {(h.topic, h.payload, h.retain) for h in states} == {
            ("edge-oneshot/porch/availability", b"online", True),
            ("edge-oneshot/porch/presence", b'{"identities":[]}', True),
            ("edge-oneshot/porch/person/alice/state", b"ON", True),
        }
        outbox.events.commit(event("gone"))
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


def test_a_picture_is_sent_once_and_not_stored(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
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
        link.picture(b"not received")
        broker.start()
        until(link, "online")
        wait_until(lambda: listener.subscriptions == 2, "the listener to be back")
        link.picture(b"two")
        assert [h.payload for h in listener.wait("/snapshot", 2)] == [b"\xff\xd8 one", b"two"]
    with Subscriber(broker.port) as later:
        outbox.events.commit(event())
        link.wake()
        later.wait("/match/alice")
        assert not later.on("/snapshot")


def test_states_and_events_share_a_small_window(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    for _ in range(200):
        outbox.events.commit(event())
    link = make_link(broker.port)
    for n in range(100):
        link.set_state(link.topics.person_state(f"p{n}"), "OFF")
    with Subscriber(broker.port) as listener:
        link.start()
        listener.wait("/state", 100)
        listener.wait("/match/alice", 200)
    empty(outbox)
    assert link.status().refused_topics == {}
