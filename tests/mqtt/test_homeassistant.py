"""Discovery: entities from enrollment on, removed with the person, and sent again when Home Assistant starts."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mosquitto import Mosquitto, Subscriber
from mqtt_parts import event, wait_until

from edge_oneshot.config import MqttConfig
from edge_oneshot.control.protocol import make_request
from edge_oneshot.control.requests import Pause
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.commands import _is_fresh
from edge_oneshot.mqtt.entities import components
from edge_oneshot.mqtt.homeassistant import HomeAssistant
from edge_oneshot.mqtt.publisher import StatePublisher
from edge_oneshot.mqtt.subscriber import Subscriber as Client
from edge_oneshot.mqtt.topics import Topics
from edge_oneshot.service.reporter import Reporter

MakeLink = Callable[..., MqttLink]


@pytest.fixture
def publish(broker: Mosquitto) -> Iterator[Callable[[str, bytes], None]]:
    with Client(MqttConfig(host="127.0.0.1", port=broker.port), ["x"], lambda m: None, "ha") as client:

        def send(topic: str, payload: bytes) -> None:
            sent = client.publish(topic, payload, retain=False)
            wait_until(lambda: client.step(0.02) and sent.is_published(), "the acknowledgement")

        yield send


def kept(broker: Mosquitto, count: int) -> dict[str, Any]:
    """The retained discovery messages. One that is emptied meanwhile arrives empty and is left out."""
    with Subscriber(broker.port, "homeassistant/#") as latecomer:
        last = {h.topic: h for h in latecomer.wait("/config", count)}
    return {topic: h.json for topic, h in last.items() if h.payload}


def test_one_message_for_the_device_with_an_entity_and_a_trigger_for_each_person(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    link = make_link(broker.port)
    ha = HomeAssistant(link, outbox.notes, "device", "homeassistant", "Porch camera", "0.1.0")
    ha.announce({"alice": "Alice"})
    link.start()
    topic = "homeassistant/device/edge_oneshot_porch/config"
    message = kept(broker, 1)[topic]
    assert message["device"]["identifiers"] == ["edge_oneshot_porch"] and message["origin"]["name"] == "edge-oneshot"
    assert message["availability_topic"] == "edge-oneshot/porch/availability"
    cmps = message["components"]
    assert (
        cmps["person_alice"]["state_topic"] == "edge-oneshot/porch/person/alice/state"
        and cmps["person_alice"]["name"] == "Alice"
    )
    assert cmps["match_alice"] | {"value_template": ""} == {
        "platform": "device_automation",
        "automation_type": "trigger",
        "type": "match",
        "subtype": "Alice",
        "topic": "edge-oneshot/porch/match/alice",
        "payload": "act",
        "value_template": "",
    }
    assert all("platform" in c for c in cmps.values())
    unique = [c["unique_id"] for c in cmps.values() if "unique_id" in c]
    assert len(unique) == len(set(unique)) == len(cmps) - 2
    with Subscriber(broker.port, "homeassistant/#") as listener:
        listener.wait("/config")
        ha.announce({"zoe": "Zoë"})  # alice was removed
        cmps = listener.wait("/config", 2)[-1].json["components"]
    assert cmps["person_alice"] == {"platform": "binary_sensor"} and cmps["match_alice"] == {
        "platform": "device_automation"
    }
    assert cmps["person_zoe"]["name"] == "Zoë"


def test_one_message_per_entity_and_empty_ones_for_removed_people(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    link = make_link(broker.port)
    ha = HomeAssistant(link, outbox.notes, "component", "homeassistant", "Porch", "0.1.0")
    ha.announce({"alice": "Alice", "bob": "Bob"})
    link.start()
    first = kept(broker, 17)
    assert "homeassistant/binary_sensor/edge_oneshot_porch/person_alice/config" in first
    assert "homeassistant/device_automation/edge_oneshot_porch/match_bob/config" in first
    assert all(m["device"]["identifiers"] == ["edge_oneshot_porch"] for m in first.values())
    ha.announce({"bob": "Robert"})
    wait_until(lambda: len(kept(broker, 13)) == 13, "alice's four messages to be emptied")
    assert kept(broker, 13)["homeassistant/binary_sensor/edge_oneshot_porch/person_bob/config"]["name"] == "Robert"


def test_the_message_does_not_grow_with_everybody_who_was_ever_removed(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    link = make_link(broker.port)
    ha = HomeAssistant(link, outbox.notes, "device", "homeassistant", "Porch camera", "0.1.0")
    ha.announce({"alice": "Alice"})
    for number in range(300):
        ha.announce({"alice": "Alice", f"guest-{number}": "Guest"})
        ha.announce({"alice": "Alice"})
    link.start()
    (message,) = kept(broker, 1).values()
    assert len(json.dumps(message)) < 12_000
    assert message["components"]["person_guest-299"] == {"platform": "binary_sensor"}
    assert "person_alice" in message["components"] and "person_guest-0" not in message["components"]


def test_everybody_who_is_removed_at_once_is_named(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    ha = HomeAssistant(link, outbox.notes, "device", "homeassistant", "Porch camera", "0.1.0")
    many = {f"guest-{number}": f"Guest {number}" for number in range(100)}
    ha.announce({"alice": "Alice"} | many)
    ha.announce({"alice": "Alice"})
    link.start()
    found = {key: c for message in kept(broker, 13).values() for key, c in message["components"].items()}
    assert all(found[f"person_{who}"] == {"platform": "binary_sensor"} for who in many)


def test_all_is_sent_again_when_home_assistant_starts(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink, publish: Callable[[str, bytes], None]
) -> None:
    link = make_link(broker.port)
    HomeAssistant(link, outbox.notes, "device", "homeassistant", "Porch", "0.1.0").announce({})
    link.set_state(link.topics.presence, {"identities": []})
    with Subscriber(broker.port) as listener:
        link.start()
        listener.wait("/config")
        listener.wait("/presence")
        wait_until(
            lambda: "homeassistant/status (QoS 1)" in broker.log() or "homeassistant/status" in broker.log(),
            "the subscription",
        )
        publish("homeassistant/status", b"offline")
        publish("homeassistant/status", b"online")
        assert len(listener.wait("/config", 2)) == 2 and len(listener.wait("/presence", 2)) == 2


def test_a_renamed_person_keeps_the_entity() -> None:
    before, after = (
        components(Topics("edge-oneshot", "porch"), "edge_oneshot_porch", {"a": name}) for name in ("A", "B")
    )
    assert before["person_a"]["unique_id"] == after["person_a"]["unique_id"] and after["person_a"]["name"] == "B"


def test_the_example_acl_allows_the_discovery_messages(tmp_path: Path, make_broker: Callable[..., Mosquitto]) -> None:
    from mosquitto import passwords

    acl = tmp_path / "acl"
    acl.write_text((Path(__file__).parents[2] / "deploy" / "examples" / "edge-oneshot.acl").read_text())
    acl.chmod(0o600)
    (tmp_path / "p").write_text("p")
    broker = make_broker(
        f"acl_file {acl}\npassword_file {passwords(tmp_path / 'pw', porch='p')}", anonymous=False
    ).start()
    refused = []
    config = MqttConfig(host="127.0.0.1", port=broker.port, username="porch", password_file=str(tmp_path / "p"))
    with Client(config, ["homeassistant/status"], lambda m: None, "t") as client:
        for topic in (
            "homeassistant/device/edge_oneshot_porch/config",
            "homeassistant/sensor/edge_oneshot_porch/fps/config",
            "homeassistant/device/edge_oneshot_garden/config",
        ):
            sent = client.publish(topic, json.dumps({}).encode(), retain=False)
            wait_until(lambda s=sent: client.step(0.02) and s.is_published(), "the acknowledgement")
    refused = [line.split("'")[1] for line in broker.log().splitlines() if "Denied PUBLISH" in line]
    assert refused == ["homeassistant/device/edge_oneshot_garden/config"]


@pytest.mark.parametrize("mode", ["device", "component"])
def test_a_person_removed_while_the_daemon_was_away_is_removed_too(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink, mode: str
) -> None:
    for people in ({"alice": "Alice", "bob": "Bob"}, {"bob": "Bob"}):
        link = make_link(broker.port)
        ha = HomeAssistant(link, outbox.notes, mode, "homeassistant", "Porch", "0.1.0")
        for identity in people:
            link.set_state(link.topics.person_state(identity), "OFF")
        link.clear_others(f"{link.topics.base}/person/", [link.topics.person_state(i) for i in people])
        ha.announce(people)
        link.start()
        wait_until(lambda n=link: n.status().state == "online", "online")
        link.stop()
    with Subscriber(broker.port) as latecomer:
        latecomer.wait("/availability")
        latecomer.wait("/config")
        topics = [h.topic for h in latecomer.heard if "alice" in h.topic]
        assert topics == [] and len(latecomer.on("bob/state")) == 1
        if mode == "device":
            components_ = latecomer.on("/config")[0].json["components"]
            assert (
                components_["person_alice"] == {"platform": "binary_sensor"}
                and components_["person_bob"]["name"] == "Bob"
            )


def test_a_changed_mode_removes_the_messages_of_the_other(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    for mode in ("component", "device", "component"):
        link = make_link(broker.port)
        HomeAssistant(link, outbox.notes, mode, "homeassistant", "Porch", "0.1.0").announce({})
        link.start()
        wait_until(lambda n=link: n.status().state == "online", "online")
        link.stop()
        with Subscriber(broker.port, "homeassistant/#") as latecomer:
            latecomer.wait("/config", 1 if mode == "device" else 9)
            assert all(("/device/" in h.topic) == (mode == "device") for h in latecomer.heard)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        *(({}, "act"), ({"rate": "none"}, "ignore"), ({"rate": {"fmr": 1e-4}}, "act"), ({"late": True}, "ignore")),
        ({"event_type": "denied", "reason": "expired"}, "ignore"),
    ],
)
def test_a_trigger_acts_only_on_a_match_with_a_rate(change: dict[str, object], expected: str) -> None:
    """The template in Jinja, with Home Assistant's two time functions."""
    jinja2 = pytest.importorskip("jinja2")
    message = {"event_type": "match", "late": False, "clock": "synced", "expires_at": "2026-01-01T00:00:10Z"} | change
    names: dict[str, Any] = {
        "value_json": message,
        "trigger": SimpleNamespace(payload_json=message | {"identity": "alice"}),
        "utcnow": lambda: "2026-01-01T00:00:00Z",
        "as_timestamp": lambda t: datetime.fromisoformat(t).timestamp(),
    }
    found = components(Topics("x", "porch"), "node", {"alice": "Alice"})["match_alice"]
    assert jinja2.Template(found["value_template"]).render(**names) == expected
    door = (Path(__file__).parents[2] / "deploy" / "examples" / "home-assistant-door.yaml").read_text(encoding="utf-8")
    condition = door.split("value_template: >-")[1].split("actions:")[0]
    assert jinja2.Template(condition).render(**names).split() == [str(expected == "act")]


# ---- what sends requests, and when a person was seen


def rendered(template: str, **names: Any) -> Any:
    """A command template of Home Assistant, as JSON."""
    environment = pytest.importorskip("jinja2").Environment()
    environment.filters["to_json"] = lambda value: json.dumps(value, ensure_ascii=False)
    moments = {"utcnow": lambda: datetime.now(UTC), "now": datetime.now}
    return json.loads(environment.from_string(template).render(**moments, **names))


@pytest.mark.parametrize(
    ("key", "verb", "values"),
    [
        *(
            (key, verb, {})
            for key, verb in (("reload", "reload"), ("enroll_mode", "enroll"), ("enroll_cancel", "cancel"))
        ),
        ("enroll_person", "enroll", {"value": 'Zoë "O\'Hara"'}),
    ],
)
def test_what_a_button_sends_is_a_valid_fresh_request(key: str, verb: str, values: dict[str, str]) -> None:
    found = components(Topics("x", "porch"), "node", {}, requests=True)[key]
    assert found["command_topic"] == f"x/porch/request/{verb}"
    arguments = rendered(str(found["command_template"]), **values)
    assert _is_fresh(arguments.pop("ts"))
    request = make_request(verb, arguments)
    assert values.get("value", getattr(request, "name", None)) == getattr(request, "name", None)


def test_the_switch_pauses_and_shows_the_state() -> None:
    switch = components(Topics("x", "porch"), "node", {}, requests=True)["recognition"]
    for payload, paused in ((switch["payload_off"], True), (switch["payload_on"], False)):
        assert make_request("pause", json.loads(str(payload))) == Pause(paused=paused)
    jinja2 = pytest.importorskip("jinja2")
    for state, shown in (("paused", switch["state_off"]), ("running", switch["state_on"])):
        assert jinja2.Template(switch["value_template"]).render(value_json={"state": state}) == shown


def test_without_requests_over_mqtt_nothing_sends_one(broker: Mosquitto) -> None:
    found = components(Topics("x", "porch"), "node", {"alice": "Alice"})
    assert not any("command_topic" in c for c in found.values())


def test_the_last_face_is_an_image_where_faces_are_published() -> None:
    topics = Topics("x", "porch")
    assert "last_face" not in components(topics, "node", {})
    face = components(topics, "node", {}, pictures=True)["last_face"]
    assert (face["platform"], face["image_topic"]) == ("image", "x/porch/snapshot")


def test_the_enrollment_shows_hint_result_and_fault() -> None:
    jinja2 = pytest.importorskip("jinja2")
    template = str(components(Topics("x", "porch"), "node", {}, requests=True)["enrollment"]["value_template"])
    shown = [
        jinja2.Template(template).render(value_json=answer)
        for answer in (
            {"status": "progress", "data": {"progress": "Come closer."}},
            {"status": "ok", "data": {"name": "Zoë"}},
            {"status": "error", "error": "x" * 400},
        )
    ]
    assert shown == ["Come closer.", "Enrolled Zoë", "x" * 250]


def test_a_person_has_the_times_of_the_last_sight_and_the_last_match(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    link = make_link(broker.port)
    link.publish_with(StatePublisher(link))
    reporter = Reporter(outbox.events, link)
    link.start()
    reporter.people({"alice": "Alice", "bob": "Bob"})
    reporter.presence(["alice"], 0)
    matched = event("match", identity="alice")
    reporter.event(matched)
    with Subscriber(broker.port, "edge-oneshot/porch/person/#") as listener:
        (seen,) = listener.wait("/alice/seen")
        (last,) = listener.wait("/alice/last_match")
        assert datetime.fromisoformat(seen.payload.decode()) <= datetime.now(UTC)
        assert datetime.fromisoformat(last.payload.decode()) - matched.ts < timedelta(milliseconds=1)
        assert not listener.on("/bob/seen") and not listener.on("/bob/last_match")
        reporter.presence([], 0)  # leaving counts as seen
        assert listener.wait("/alice/seen", 2)[-1].payload >= seen.payload
        reporter.people({"bob": "Bob"})
        for part in ("seen", "last_match"):
            wait_until(lambda p=part: listener.on(f"/alice/{p}")[-1].payload == b"", "the emptied topic")


# ---- blueprints

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


def blueprint(name: str) -> str:
    return (EXAMPLES / f"home-assistant-blueprint-{name}.yaml").read_text(encoding="utf-8")


def condition_of(text: str, after: str) -> str:
    """The folded template behind the text `after`, without its indentation."""
    lines = text.split(after)[1].split("value_template: >-\n")[1].splitlines()
    depth = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(itertools.takewhile(lambda line: line.startswith(" " * depth), lines))


@pytest.mark.parametrize("name", ["notify", "door"])
def test_each_input_of_a_blueprint_is_declared_and_used(name: str) -> None:
    text = blueprint(name)
    declared = re.findall(r"^    (\w+):$", text.split("  input:\n")[1].split("\nmode:")[0], re.MULTILINE)
    assert declared and set(declared) == set(re.findall(r"!input (\w+)", text))


@pytest.mark.parametrize(
    ("change", "opens"),
    [
        ({}, True),
        ({"late": True}, False),
        ({"clock": "unsynced"}, False),
        ({"identity": "bob"}, False),
        ({"event_type": "match"}, False),
        ({"rate": "none"}, False),
        ({"expires_at": "2025-12-31T23:59:59Z"}, False),
    ],
)
def test_the_door_of_the_blueprint_opens_on_a_fresh_confirmed_match_alone(
    change: dict[str, object], opens: bool
) -> None:
    jinja2 = pytest.importorskip("jinja2")
    message = {"event_type": "confirmed", "identity": "alice", "late": False, "clock": "synced"}
    message |= {"expires_at": "2026-01-01T00:00:10Z", "rate": {"fmr": 1e-4}} | change
    found = jinja2.Template(condition_of(blueprint("door"), "id: confirmed\n          - condition: template")).render(
        trigger=SimpleNamespace(payload_json=message),
        identity="alice",
        utcnow=lambda: "2026-01-01T00:00:00Z",
        as_timestamp=lambda moment: datetime.fromisoformat(moment).timestamp(),
    )
    assert found.split() == [str(opens)]


@pytest.mark.parametrize(
    ("message", "people", "unknown", "told"),
    [
        ({"event_type": "match", "identity": "alice"}, "", False, True),
        ({"event_type": "match", "identity": "alice"}, "bob, alice", False, True),
        ({"event_type": "match", "identity": "alice"}, "bob", True, False),
        ({"event_type": "unknown"}, "bob", True, True),
        ({"event_type": "unknown"}, "", False, False),
        ({"event_type": "gone", "identity": "alice"}, "", True, False),
        ({"event_type": "match", "identity": "alice", "late": True}, "", False, False),
    ],
)
def test_the_notification_of_the_blueprint_is_for_whom_it_says(
    message: dict[str, object], people: str, unknown: bool, told: bool
) -> None:
    jinja2 = pytest.importorskip("jinja2")
    found = jinja2.Template(condition_of(blueprint("notify"), "conditions:")).render(
        trigger=SimpleNamespace(payload_json={"late": False} | message), people=people, unknown=unknown
    )
    assert found.split() == [str(told)]
