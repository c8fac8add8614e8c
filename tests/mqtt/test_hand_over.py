"""The payload of an event at the moment it is sent, which fits the shipped schemas."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from mqtt_parts import BODIES, ENCODER, SetClock, event

from edge_oneshot.config import MqttConfig
from edge_oneshot.events import schema
from edge_oneshot.events.clock import clock_synced, read_clock
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.events.stored import StoredEvent
from edge_oneshot.mqtt.commands import VERBS
from edge_oneshot.mqtt.connection import IN_FLIGHT
from edge_oneshot.mqtt.payloads import LATE_AFTER_S, HandOver, Health, Info, Presence, hand_over, message_expiry_s
from edge_oneshot.mqtt.shared import Limits
from edge_oneshot.mqtt.topics import Topics

EVENT = Draft202012Validator(schema.load("event-v1"))
STATE = schema.load("state-v1")


def state_validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({**STATE, "$ref": f"#/$defs/{name}"})


def handed(outbox: Outbox, clock: SetClock, **options: Any) -> tuple[HandOver, dict[str, Any]]:
    hand = hand_over(outbox.events.pending(0, 1)[0], "porch", 10.0, clock(), **options)
    return hand, json.loads(hand.payload)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def box(tmp_path: Any, clock: SetClock) -> Any:
    outbox = Outbox(tmp_path / "o.sqlite", clock=clock)
    yield outbox
    outbox.close()


def expires_in(message: dict[str, Any], clock: SetClock) -> float:
    return (datetime.fromisoformat(message["expires_at"]) - clock().wall).total_seconds()


def test_fresh_then_late_then_expired(box: Outbox, clock: SetClock) -> None:
    box.events.commit(clock.event())
    hand, message = handed(box, clock)
    assert message["late"] is False and message["clock"] == "synced" and message["signature"] is None
    assert expires_in(message, clock) == pytest.approx(10, abs=0.001)
    clock.forward = 1.9
    assert handed(box, clock)[1]["late"] is False
    clock.forward = 2.1
    hand, message = handed(box, clock)
    assert message["late"] is True and hand.expires_in_s == pytest.approx(7.9, abs=0.01)
    clock.forward = 12.0
    hand, message = handed(box, clock)
    assert hand.expires_in_s == 0 and expires_in(message, clock) == pytest.approx(-2, abs=0.001)


def test_a_wall_clock_that_steps_changes_neither_lateness_nor_the_time_left(box: Outbox, clock: SetClock) -> None:
    box.events.commit(clock.event())
    clock.forward, clock.wall = 1.0, -86400.0  # time synchronisation sets the clock back by a day
    message = handed(box, clock)[1]
    assert message["late"] is False and expires_in(message, clock) == pytest.approx(9, abs=0.001)


def test_sleep_counts(box: Outbox, clock: SetClock) -> None:
    box.events.commit(clock.event())
    clock.forward = clock.asleep = 3600.0  # the monotonic clock stopped meanwhile
    hand, message = handed(box, clock)
    assert message["late"] is True and hand.expires_in_s == 0


def test_after_a_reboot_it_is_late_and_expired_whatever_the_clocks_say(box: Outbox, clock: SetClock) -> None:
    box.events.commit(clock.event())
    clock.boot, clock.wall = "another", -3600.0  # no real-time clock: it starts an hour early
    hand, message = handed(box, clock)
    assert message["late"] is True and hand.expires_in_s == 0 and expires_in(message, clock) <= 0


def test_a_capture_in_the_future_is_late(box: Outbox, clock: SetClock) -> None:
    box.events.commit(replace(e := clock.event(), captured_ns=e.captured_ns + 10**9))
    assert handed(box, clock)[1]["late"] is True


def test_the_time_between_capture_and_commit_counts(box: Outbox, clock: SetClock) -> None:
    e = clock.event()
    clock.forward = 3.0
    box.events.commit(e)
    assert handed(box, clock)[1]["late"] is True


def test_unsynced_at_capture_stays_unsynced(box: Outbox, clock: SetClock) -> None:
    clock.synced = False
    box.events.commit(clock.event())
    assert handed(box, clock)[1]["clock"] == "unsynced"
    clock.synced = True
    assert handed(box, clock)[1]["clock"] == "unsynced"


def test_a_trigger_expires_at_the_broker_with_its_event_and_the_log_does_not() -> None:
    fresh, old = HandOver(payload=b"", late=False, expires_in_s=9.2), HandOver(payload=b"", late=True, expires_in_s=0.0)
    assert [message_expiry_s(h, trigger=True, max_age_s=86400) for h in (fresh, old)] == [10, 1]
    assert [message_expiry_s(h, trigger=False, max_age_s=86400) for h in (fresh, old)] == [86400, 86400]


def test_the_real_clock_reads() -> None:
    now = read_clock()
    assert now.boottime_ns >= now.monotonic_ns - 10**9 and now.wall.tzinfo is UTC
    assert now.synced is clock_synced()


@pytest.mark.parametrize("event_type", BODIES)
def test_every_event_type_fits_the_schema(box: Outbox, clock: SetClock, event_type: str) -> None:
    box.events.commit(clock.event(event_type))
    message = handed(box, clock)[1]
    EVENT.validate(message)
    for broken in (
        {**message, "surplus": 1},
        {k: v for k, v in message.items() if k != "late"},
        {**message, "schema": 2},
        {**message, "ts": "2026-09-30 14:03"},
        {**message, "event_type": "other"},
    ):
        with pytest.raises(ValidationError):
            EVENT.validate(broken)


@pytest.mark.parametrize("event_type", ["unknown", "rejected"])
def test_the_schema_refuses_a_name_without_a_match(box: Outbox, clock: SetClock, event_type: str) -> None:
    box.events.commit(clock.event(event_type))
    message = handed(box, clock)[1]
    for extra in ({"identity": "alice"}, {"name": "Alice"}):
        with pytest.raises(ValidationError):
            EVENT.validate({**message, **extra})


def test_the_states_fit_their_schemas() -> None:
    now = datetime(2026, 9, 30, 14, 3, 22, 481_999, tzinfo=UTC)
    presence = Presence(identities=("bob", "alice"), unknown=1, since=now, ts=now).message()
    assert presence["identities"] == ["alice", "bob"] and presence["ts"] == "2026-09-30T14:03:22.481Z"
    state_validator("presence").validate(presence)
    for measures in (None, 1):
        state_validator("health").validate(
            Health(
                state="running",
                fps=measures,
                stages_ms={"detect": (4.0, 9.5)},
                camera_age_s=measures,
                temperature_c=measures,
                throttled=measures,
                rss_bytes=measures,
                uptime_s=3.0,
                outbox_depth=0,
                outbox_oldest_age_s=measures,
                outbox_dropped=0,
                outbox_refused=0,
                outbox_fault="",
                refused_topics={},
                encoder_id=ENCODER,
                identities=1,
                templates=1,
                ts=now,
            ).message()
        )
    state_validator("info").validate(
        Info(
            version="0.1.0",
            encoder_id=ENCODER,
            target_fmr=1e-4,
            threshold=0.5,
            pad="not_performed",
            gallery_encrypted=False,
            signed_events=False,
            requests=False,
            ts=now,
        ).message()
    )
    with pytest.raises(ValidationError):
        state_validator("presence").validate({**presence, "identities": ["Alice"]})


def test_both_schemas_are_themselves_valid() -> None:
    for name in ("event-v1", "state-v1"):
        Draft202012Validator.check_schema(schema.load(name))


def test_a_row_from_another_boot_has_no_age() -> None:
    stored = StoredEvent(seq=1, event=event(boot="earlier"), captured_boottime_ns=5, clock_synced=True)
    assert stored.age_s(read_clock()) is None


@pytest.mark.parametrize(
    "slug", ["a/b", "+", "#", "", "Ä", "a b", "a\n", "\0", "A", "x" * 65, "alice/#", "..", None, 3]
)
def test_no_wildcard_gets_into_a_topic(slug: Any) -> None:
    topics = Topics("edge-oneshot", "porch")
    for make in (
        topics.match,
        topics.person_state,
        topics.person_seen,
        topics.person_match,
        topics.request,
        topics.response,
        lambda s: Topics(s, "porch"),
        lambda s: Topics("edge-oneshot", s),
    ):
        with pytest.raises(ValueError, match="expected 1 to 64"):
            make(slug)


def test_the_topics_are_those_of_the_contract() -> None:
    t = Topics("edge-oneshot", "porch")
    assert (t.availability, t.event, t.unknown, t.presence, t.health, t.info, t.snapshot) == tuple(
        f"edge-oneshot/porch/{leaf}"
        for leaf in ("availability", "event", "unknown", "presence", "health", "info", "snapshot")
    )
    assert t.match("alice") == "edge-oneshot/porch/match/alice"
    assert t.of_person("alice") == tuple(
        f"edge-oneshot/porch/person/alice/{part}" for part in ("state", "seen", "last_match")
    )
    assert (t.request("enroll"), t.response("enroll")) == (
        "edge-oneshot/porch/request/enroll",
        "edge-oneshot/porch/response/enroll",
    )
    assert [t.of_event(kind, "alice") for kind in ("match", "unknown", "gone")] == [
        (t.match("alice"), t.event),
        (t.unknown, t.event),
        (t.event,),
    ]


def test_milliseconds_are_truncated() -> None:
    moment = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) + timedelta(0)
    assert Presence(identities=(), unknown=0, since=moment, ts=moment).message()["ts"] == "2026-12-31T23:59:59.999Z"


def test_the_documents_say_what_the_code_does() -> None:
    """docs/reference/mqtt.md: its example fits the schema, and its numbers are those of the code."""
    text = (Path(__file__).parents[2] / "docs" / "reference" / "mqtt.md").read_text()
    example = json.loads(text.split("```json\n")[1].split("```")[0])
    EVENT.validate(example)
    assert list(example) == list(
        json.loads(
            hand_over(
                StoredEvent(seq=1, event=event(), captured_boottime_ns=0, clock_synced=True),
                "porch",
                10.0,
                read_clock(),
            ).payload
        )
    )
    limits, config = Limits(), MqttConfig()
    for words in (
        f"At most {IN_FLIGHT} messages",
        f"waits longer than {limits.ack_timeout_s:g} s",
        f"will delay = {limits.session_expiry_s} s",
        f"at most {limits.stop_s:g} s for the acknowledgement",
        f"back-off up to {limits.backoff_max_s:g} s",
        f"every {limits.refused_retry_s / 60:g} minutes",
        f"`mqtt.event_ttl_s` ({config.event_ttl_s:g} s)",
        f"`mqtt.outbox_max_events` ({config.outbox_max_events:,})",
        f"more than {LATE_AFTER_S:g} s after capture",
    ):
        assert words in " ".join(text.split()), words
    for verb in VERBS:
        assert f"`{verb}`" in text
