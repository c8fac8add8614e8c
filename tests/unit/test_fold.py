"""Track results -> events: every event fits its schema, and nothing below the threshold carries a name."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from samples import ENCODER, person, seen

from edge_oneshot.events.build import gallery_event, track_event
from edge_oneshot.events.clock import read_clock
from edge_oneshot.events.schema import load
from edge_oneshot.events.stored import StoredEvent
from edge_oneshot.matching.track import ResultKind, TrackResult
from edge_oneshot.mqtt.payloads import hand_over
from edge_oneshot.types import Event, Observation, Rate

NOW_NS, NOW = 10_000_000_000, datetime(2026, 9, 30, 14, 0, 0, tzinfo=UTC)
NAMES = {"alice": "Alice Übermut", "lookalike": "Look Alike", "runner-up": "Runner Up"}
MATCH = {
    "score",
    "same_probability",
    "threshold",
    "target_fmr",
    "target_fpir",
    "rate",
    "margin",
    "runner_up_score",
    "quality",
}
ALWAYS = {"frames", "track", "camera", "pad", "encoder_id"}


def event(kind: ResultKind, observation: Observation, identity_id: str | None = None) -> Event:
    result = TrackResult(
        kind=kind,
        track=7,
        identity_id=identity_id,
        observation=observation,
        frames=4,
        first_ns=NOW_NS - 5_250_000_000,
        last_ns=NOW_NS - 250_000_000,
    )
    return track_event(result, NAMES, "cam0", ENCODER, NOW_NS, NOW)


CASES: dict[str, tuple[Event, set[str]]] = {
    "match": (event(ResultKind.MATCH, seen("alice"), "alice"), {"identity", "name"} | MATCH | ALWAYS),
    "unknown": (event(ResultKind.UNKNOWN, seen("")), MATCH | ALWAYS),
    "rejected": (event(ResultKind.REJECTED, seen(None)), {"faults", "seconds"} | ALWAYS),
    "gone": (event(ResultKind.GONE, seen("alice"), "alice"), {"identity", "name", "seconds"} | ALWAYS),
    "gone unknown": (event(ResultKind.GONE, seen("")), {"seconds"} | ALWAYS),
    "enrolled": (gallery_event("enrolled", person("alice"), ENCODER, NOW_NS, NOW), {"identity", "name", "encoder_id"}),
    "forgotten": (
        gallery_event("forgotten", person("alice"), ENCODER, NOW_NS, NOW),
        {"identity", "name", "encoder_id"},
    ),
}


def sent(e: Event) -> dict[str, Any]:
    stored = StoredEvent(seq=1, event=e, captured_boottime_ns=e.captured_ns, clock_synced=True)
    message: dict[str, Any] = json.loads(hand_over(stored, "porch", 10.0, read_clock()).payload)
    return message


@pytest.mark.parametrize("case", CASES)
def test_an_event_has_its_fields_and_fits_the_schema(case: str) -> None:
    made, fields = CASES[case]
    assert made.event_type == case.split()[0]
    assert set(made.body) == fields
    jsonschema.validate(sent(made), load("event-v1"))


@pytest.mark.parametrize("case", ["unknown", "rejected", "gone unknown"])
def test_nothing_below_the_threshold_carries_a_name(case: str) -> None:
    text = json.dumps(sent(CASES[case][0]), ensure_ascii=False)
    for identity_id, name in NAMES.items():
        assert identity_id not in text and name not in text


def test_a_match_names_its_person_only() -> None:
    text = json.dumps(sent(CASES["match"][0]), ensure_ascii=False)
    assert "Alice Übermut" in text
    assert "runner-up" not in text and "Runner Up" not in text and "lookalike" not in text


def test_the_numbers_of_a_match() -> None:
    body = CASES["match"][0].body
    assert body["score"] == 0.8 and body["threshold"] == 0.5 and body["margin"] == 0.3
    assert body["runner_up_score"] == 0.2 and body["same_probability"] == 0.99 and body["target_fmr"] == 1e-4
    assert body["pad"] == "not_performed"


def test_an_event_states_the_rate_with_its_strangers_or_that_there_is_none() -> None:
    observation = seen("alice")
    rate = Rate(against="matched", group="black", fmr=1e-4, everybody_fmr=2.5e-6)
    stated = {"against": "matched", "group": "black", "fmr": 1e-4, "fpir": None, "everybody_fmr": 2.5e-6}
    for given, expected in ((rate, stated), (None, "none")):
        made = event(
            ResultKind.MATCH, replace(observation, decision=replace(observation.decision, rate=given)), "alice"
        )
        assert made.body["rate"] == expected
        jsonschema.validate(sent(made), load("event-v1"))
    wrong = sent(made) | {"rate": {**stated, "against": "nobody"}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, load("event-v1"))


def test_times_are_those_of_the_capture() -> None:
    for kind, captured_ns in (("match", NOW_NS - 250_000_000), ("gone", NOW_NS)):  # `gone` ages from its decision
        made = CASES[kind][0]
        assert made.ts == NOW - timedelta(milliseconds=250)
        assert made.captured_ns == captured_ns
    assert CASES["gone"][0].body["seconds"] == 5.0


def test_a_person_removed_meanwhile_still_has_an_id() -> None:
    made = event(ResultKind.GONE, seen("bob"), "bob")
    assert (made.body["identity"], made.body["name"]) == ("bob", "bob")


def test_every_event_has_an_id_of_its_own() -> None:
    assert len({event(ResultKind.MATCH, seen("alice"), "alice").event_id for _ in range(100)}) == 100
