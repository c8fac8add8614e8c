"""From track results to payloads: every event that `fold` can make fits the shipped schema."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from mqtt_parts import ENCODER

from edge_oneshot.config import MqttConfig
from edge_oneshot.events import schema
from edge_oneshot.events.build import gallery_event, track_event
from edge_oneshot.events.clock import read_clock
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.matching.track import ResultKind, TrackResult
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.payloads import hand_over
from edge_oneshot.mqtt.publisher import StatePublisher
from edge_oneshot.mqtt.topics import Topics
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.types import (
    Candidate,
    Chip,
    Decision,
    DecisionKind,
    Event,
    Fault,
    Identity,
    Observation,
    Quality,
    Sample,
)

EVENT = Draft202012Validator(schema.load("event-v1"))
unit = st.floats(-1, 1, allow_nan=False)
KINDS = st.sampled_from(ResultKind)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Any:
    box = Outbox(tmp_path_factory.mktemp("sent") / "o.sqlite")

    def send(event: Event) -> dict[str, Any]:
        box.events.commit(event)
        stored = box.events.pending(0, 1)[0]
        box.events.delete([event.event_id])
        message: dict[str, Any] = json.loads(hand_over(stored, "porch", 10.0, read_clock()).payload)
        return message

    yield send
    box.close()


@st.composite
def results(draw: st.DrawFn, kinds: st.SearchStrategy[ResultKind] = KINDS) -> TrackResult:
    kind = draw(kinds)
    score, threshold = draw(unit), draw(unit)
    if kind is ResultKind.MATCH:
        score, threshold = max(score, threshold), min(score, threshold)
    unnamed = kind is not ResultKind.MATCH and draw(
        st.booleans()
    )  # an empty gallery, or a capture that was not compared
    decision = Decision(
        kind=DecisionKind.MATCH
        if kind is ResultKind.MATCH
        else draw(st.sampled_from([DecisionKind.NON_MATCH, DecisionKind.NOT_COMPARED])),
        threshold=threshold,
        target_fmr=draw(st.none() | st.floats(1e-7, 0.5)),
        candidate=None if unnamed else Candidate(identity_id="alice", score=score),
        runner_up=draw(st.none() | st.just(Candidate(identity_id="bob", score=score))),
        same_probability=None if unnamed else draw(st.none() | st.floats(0, 1)),
    )
    faults = tuple(
        Fault(code=c, message="why") for c in draw(st.lists(st.sampled_from(["too_small", "blurred"]), max_size=2))
    )
    quality = Quality(
        inter_eye_px=draw(st.floats(0, 500)),
        sharpness=draw(st.floats(0, 1e5)),
        luma=draw(st.floats(0, 255)),
        contrast=draw(st.floats(0, 128)),
        yaw_deg=draw(st.floats(-90, 90)),
        faults=faults,
    )
    chip = Chip(pixels=np.zeros((4, 4, 3), np.uint8), transform=np.zeros((2, 3)))
    observation = Observation(sample=Sample(face=None, chip=chip, quality=quality), embedding=None, decision=decision)
    first = time.monotonic_ns() - draw(st.integers(0, 10**10))
    named = kind is ResultKind.MATCH or (kind is ResultKind.GONE and draw(st.booleans()))
    return TrackResult(
        kind=kind,
        track=draw(st.integers(0, 10**6)),
        identity_id="alice" if named else None,
        observation=observation,
        frames=draw(st.integers(0, 1000)),
        first_ns=first,
        last_ns=first + draw(st.integers(0, 10**9)),
    )


@settings(max_examples=150, deadline=None)
@given(result=results(), name=st.text(min_size=1, max_size=20).filter(str.isprintable))
def test_every_event_fits_and_names_only_a_person_who_matched(sent: Any, result: TrackResult, name: str) -> None:
    message = sent(
        track_event(result, {"alice": name, "bob": "Bob"}, "cam0", ENCODER, time.monotonic_ns(), datetime.now(UTC))
    )
    EVENT.validate(message)
    if result.identity_id is None:
        assert not {"identity", "name"} & message.keys()
    assert not {"Bob", "bob"} & {v for k, v in message.items() if k != "name" and isinstance(v, str)}


@pytest.mark.parametrize("kind", ResultKind)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_only_a_match_and_an_unknown_age_from_their_capture(sent: Any, kind: ResultKind, data: st.DataObject) -> None:
    """`gone` and `rejected` are decided seconds after the last frame: a consumer that ignores late events must see them."""
    now_ns = time.monotonic_ns()
    result = replace(data.draw(results(st.just(kind))), first_ns=now_ns - 9 * 10**9, last_ns=now_ns - 5 * 10**9)
    message = sent(track_event(result, {"alice": "Alice"}, "cam0", ENCODER, now_ns, datetime.now(UTC)))
    assert message["late"] is (kind in (ResultKind.MATCH, ResultKind.UNKNOWN))


@pytest.mark.parametrize("event_type", ["enrolled", "forgotten"])
def test_changes_of_the_gallery_fit(sent: Any, event_type: str) -> None:
    event = gallery_event(
        event_type, Identity(identity_id="zoe", name="Zoë"), ENCODER, time.monotonic_ns(), datetime.now(UTC)
    )
    EVENT.validate(sent(event))


def test_the_schemas_are_shipped() -> None:
    assert '"events/schema/*.json"' in (Path(__file__).parents[2] / "pyproject.toml").read_text()


def test_a_person_removed_while_the_daemon_was_stopped_is_removed_at_the_broker(tmp_path: Path) -> None:
    topics = Topics("p", "d")
    for people in ({"alice": "Alice", "bob": "Bob"}, {"alice": "Alice"}):
        outbox = Outbox(tmp_path / "outbox.sqlite")
        link = MqttLink(MqttConfig(prefix="p"), "d", outbox)
        link.publish_with(StatePublisher(link))
        Reporter(outbox.events, link).people(people)
        link.stop()
        cleared = outbox.topics.to_empty()
        outbox.close()
    assert cleared == [topics.person_state("bob")]
