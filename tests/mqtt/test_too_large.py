"""Messages that the broker does not take because of their size: everything else is delivered, and they are named."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from link_parts import MakeLink, empty, until
from mosquitto import Mosquitto, Subscriber
from mqtt_parts import QUICK, event, wait_until

from edge_oneshot.config import Config
from edge_oneshot.control.parts import OutboxState
from edge_oneshot.doctor.broker import check
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.homeassistant import HomeAssistant
from edge_oneshot.mqtt.link_state import LinkState
from edge_oneshot.mqtt.sender import Sent
from edge_oneshot.mqtt.sizes import Sizes

SIXTY = {f"person-{n:02}": f"Person {n:02} of the house at the end of the street" for n in range(60)}
LARGE = {"text": "x" * 30_000}


@pytest.mark.parametrize(
    ("config", "protocol"),
    [("max_packet_size 20000", "5"), ("max_packet_size 20000", "3.1.1"), ("message_size_limit 20000", "5")],
    ids=["announced", "cut", "refused"],
)
def test_a_state_that_does_not_fit_is_left_out_and_named(
    make_broker: Callable[..., Mosquitto],
    outbox: Outbox,
    make_link: MakeLink,
    caplog: pytest.LogCaptureFixture,
    config: str,
    protocol: str,
) -> None:
    """mosquitto announces the first limit with MQTT 5, and only cuts the connection with 3.1.1. paho gives up the
    connection on the acknowledgement with which mosquitto refuses a message beyond the second."""
    broker = make_broker(config).start()
    link = make_link(broker.port, protocol=protocol)
    link.set_state(link.topics.info, LARGE)
    link.set_state(link.topics.presence, {"identities": []})
    sent = [event("match"), event("gone")]
    for e in sent:
        outbox.events.commit(e)
    with Subscriber(broker.port) as listener:
        link.start()
        listener.wait("/presence")
        empty(outbox)
        assert {h.json["event_id"] for h in listener.on("/event")} == {e.event_id for e in sent}
        wait_until(lambda: link.status().refused_topics, "the report")
        assert not listener.on("/info")
        ((topic, why),) = link.status().refused_topics.items()
        assert topic == link.topics.info and "too large" in why and "30" in why
        connects = link.status().connects
        outbox.events.commit(event("match"))
        link.wake()
        empty(outbox)
        assert link.status().connects == connects and link.status().state == "online"
        named = [r for r in caplog.records if r.levelname == "ERROR" and link.topics.info in r.getMessage()]
        assert len(named) == 1 and "max_packet_size" in named[0].getMessage()
        assert "client_id" not in caplog.text
        link.set_state(link.topics.info, {"text": "small"})
        listener.wait("/info")
        wait_until(lambda: not link.status().refused_topics, "the end of the report")


def test_sixty_people_fit_a_small_broker(
    make_broker: Callable[..., Mosquitto], outbox: Outbox, make_link: MakeLink
) -> None:
    broker = make_broker("max_packet_size 20000").start()
    link = make_link(broker.port)
    home = HomeAssistant(link, outbox.notes, "device", "homeassistant", "Porch", "0.1.0")
    home.announce(SIXTY)
    with Subscriber(broker.port) as listener:
        link.start()
        until(link, "online")
        wait_until(
            lambda: (
                {key for h in listener.on("/config") for key in h.json["components"]}
                >= {f"person_{i}" for i in SIXTY} | {f"match_{i}" for i in SIXTY} | {"event", "state"}
            ),
            "an entity and a trigger for each person",
        )
        assert not link.status().refused_topics
        parts = {h.topic: h.json for h in listener.on("/config")}
        assert all(m["device"]["identifiers"] == ["edge_oneshot_porch"] for m in parts.values())
        assert "homeassistant/device/edge_oneshot_porch/config" in parts
        assert all(len(h.payload) < 10_000 for h in listener.on("/config"))


def test_a_component_never_moves_to_another_message(outbox: Outbox, make_link: MakeLink) -> None:
    """Home Assistant would remove the entity, with what its owner has set, and make a new one."""

    def parts(people: dict[str, str]) -> dict[str, str]:
        link = make_link(1)
        HomeAssistant(link, outbox.notes, "device", "homeassistant", "Porch", "0.1.0").announce(people)
        link._states.send_all()
        found = {}
        while (state := link._states.next_unsent()) is not None:
            found |= {
                key: state[0]
                for key in SIXTY
                if f'"person_{key}":{{"platform":"binary_sensor","name"'.encode() in state[1]
            }
        return found

    before = parts(SIXTY)
    fewer = {key: name for key, name in SIXTY.items() if key not in ("person-00", "person-30")}
    after = parts(fewer | {"zoe": "Zoë"})
    assert len(set(before.values())) > 3
    assert after == {key: topic for key, topic in before.items() if key in fewer}


def test_an_event_that_does_not_fit_is_kept_and_does_not_stop_the_others(
    make_broker: Callable[..., Mosquitto], outbox: Outbox, make_link: MakeLink
) -> None:
    broker = make_broker("max_packet_size 2000").start()
    link = make_link(broker.port, limits=replace(QUICK, refused_retry_s=60.0))
    large = event("gone", name="x" * 3000)
    outbox.events.commit(large)
    outbox.events.commit(event("match"))
    with Subscriber(broker.port) as listener:
        link.start()
        listener.wait("/match/alice")
        wait_until(lambda: outbox.events.status().depth == 1, "the other event to be delivered")
        assert link.status().refused_events == 1
        assert "too large" in link.status().refused_topics[f"an event on {link.topics.event}"]


def test_an_answer_that_does_not_fit_is_replaced_by_an_error(
    make_broker: Callable[..., Mosquitto], make_link: MakeLink
) -> None:
    broker = make_broker("max_packet_size 2000").start()
    link = make_link(broker.port)
    with Subscriber(broker.port) as listener:
        link.start()
        until(link, "online")
        link.reply(link.topics.response("list"), {"status": "ok", "data": ["x" * 3000], "transaction": "t-1"})
        answer = listener.wait("/response/list")[0].json
        assert answer["status"] == "error" and answer["transaction"] == "t-1" and "too large" in answer["error"]


def test_a_lost_network_makes_no_message_too_large() -> None:
    """A message is suspected if it was alone in flight, three times in a row, and was sent just before."""

    def sent(topic: str, ago_s: float = 0.0) -> Sent:
        return Sent(topic=topic, payload=b"", at=time.monotonic() - ago_s, size=100)

    sizes = Sizes(LinkState(), soon_s=5.0, retry_s=3600.0)
    for _ in range(9):
        sizes.lost([sent("a", ago_s=6.0)], too_large=False)
        sizes.lost([sent("a"), sent("b")], too_large=False)
    sizes.lost([sent("a")], too_large=False)
    sizes.lost([sent("a")], too_large=False)
    assert sizes.fits("a", "a", 100)
    sizes.acknowledged("a")
    sizes.lost([sent("a")], too_large=False)
    assert sizes.fits("a", "a", 100)
    sizes.lost([sent("b")], too_large=True)
    assert not sizes.fits("b", "b", 100) and sizes.fits("b", "b", 99)


def test_what_does_not_fit_is_tried_again_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    state = LinkState()
    sizes = Sizes(state, soon_s=1e9, retry_s=0.0)
    large = Sent(topic="a", payload=b"", at=0.0, size=100)
    sizes.lost([large], too_large=True)
    assert sizes.fits("a", "a", 100)
    sizes = Sizes(state, soon_s=1e9, retry_s=3600.0)
    sizes.lost([large], too_large=True)
    assert not sizes.fits("a", "a", 100)


def test_doctor_names_what_the_broker_does_not_take() -> None:
    outbox = OutboxState(depth=0, oldest_age_s=None, dropped=0, refused=0, fault="")
    state: Any = SimpleNamespace(broker="online", outbox=outbox, refused_topics=("p/d/info: too large: 9 bytes",))
    finding = check(Config(), state)
    assert finding.status == "warning" and "p/d/info: too large: 9 bytes" in finding.message
    state.refused_topics = ()
    assert check(Config(), state).status == "ok"
