"""Presentation attack detection, tested with a tiny method: a chip of low contrast is an attack.

The method detects no real attack. The tests show that a method takes effect everywhere, and that every
path to a comparison or an enrollment passes through it.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from pictures import Pixels, frame, view
from PIL import Image
from samples import person

from edge_oneshot.config import Config, DecisionConfig, ModelConfig
from edge_oneshot.control.protocol import PendingRequest, answer_json, make_request
from edge_oneshot.doctor import probe
from edge_oneshot.errors import EnrollmentError
from edge_oneshot.events.build import track_event
from edge_oneshot.events.journal import Journal
from edge_oneshot.events.schema import load
from edge_oneshot.matching.track import Tracker
from edge_oneshot.recognition import compose
from edge_oneshot.recognition.enrollment import CaptureSession
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.requests import Requests
from edge_oneshot.types import Chip, DecisionKind, Event, Face, Frame, PadDecision, PadResult, Sample

CONFIG = Config(model=ModelConfig(threads=1))
EILEEN = person("eileen", "Eileen")
LIMIT = 42.0


class LowContrast:
    """An attack if the standard deviation of the chip's values is below LIMIT."""

    name = "low-contrast 1"

    def __init__(self) -> None:
        self.judged = 0

    def judge(self, frame: Frame, face: Face | None, chip: Chip) -> PadResult:
        self.judged += 1
        spread = float(chip.pixels.std())
        decision = PadDecision.ATTACK if spread < LIMIT else PadDecision.BONA_FIDE
        return PadResult(decision=decision, score=LIMIT - spread, method=self.name)


class Undecided(LowContrast):
    def judge(self, frame: Frame, face: Face | None, chip: Chip) -> PadResult:
        return PadResult()


Plug = Callable[[LowContrast], Pipeline]


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Plug:
    """plug(method): the shipped pipeline with this method."""

    def plugged(method: LowContrast) -> Pipeline:
        monkeypatch.setattr(compose, "find_pad", lambda name: method)
        return compose.build_pipeline(CONFIG)

    return plugged


@pytest.fixture
def enrolled(recognizer: Recognizer, collins: Pixels) -> Recognizer:
    """Without a method; Eileen is enrolled."""
    recognizer.enroll("Eileen", collins)
    return recognizer


@pytest.fixture
def guarded(plug: Plug, enrolled: Recognizer, make_recognizer: Callable[..., Recognizer]) -> Recognizer:
    """With LowContrast, on the same gallery."""
    return make_recognizer(enrolled.people.gallery.path, pipeline=plug(LowContrast()))


def faded(pixels: Pixels) -> Pixels:
    """Passes every quality gate, and has too little contrast for the method."""
    return (110 + 0.5 * (pixels.astype(np.float32) - 110)).astype(np.uint8)


def events_of(recognizer: Recognizer, pixels: list[Pixels], path: Path) -> tuple[list[Event], dict[str, Any]]:
    """The events of a visit of these pictures, and the record of its track."""
    decision = DecisionConfig(gone_after_s=0.5)
    tracker, journal = Tracker(decision, lambda a, b: True, recognizer.score), Journal(path, decision)
    now, ns, events = datetime.now(UTC), 0, []
    for i, picture in enumerate([*pixels, None]):
        ns = (i + 1) * 100_000_000
        if picture is None:
            results = tracker.expire(ns + 1_000_000_000)
        else:
            results = tracker.update(recognizer.observe(frame(picture, ns)), ns)
            journal.observe(tracker.seen_at(ns), now)
        events += [track_event(r, recognizer.people.names, "cam0", recognizer.encoder_id, ns, now) for r in results]
        for event in events:
            journal.add_event(event)
    (record,) = journal.report()["tracks"]
    journal.close()
    return events, record


def test_without_a_method_nothing_is_performed_and_a_faded_picture_matches(
    enrolled: Recognizer, collins: Pixels, tmp_path: Path
) -> None:
    (seen,) = enrolled.observe(frame(faded(collins)))
    assert seen.decision.kind is DecisionKind.MATCH and seen.sample.pad == PadResult()
    events, record = events_of(enrolled, [faded(view(collins, n)) for n in range(9)], tmp_path / "e.sqlite")
    assert [(e.event_type, e.body["pad"]) for e in events] == [("match", "not_performed"), ("gone", "not_performed")]
    assert record["pad"] == {"decision": "not_performed", "score": None, "method": None}
    assert enrolled.pipeline.pad_method == "not_performed"


def test_an_attack_is_never_compared_and_never_a_match(guarded: Recognizer, collins: Pixels, tmp_path: Path) -> None:
    (seen,) = guarded.observe(frame(faded(collins)))
    assert seen.sample.quality.good and seen.embedding is None
    assert (seen.decision.kind, seen.decision.candidate) == (DecisionKind.NOT_COMPARED, None)
    assert [f.code for f in seen.decision.faults] == ["attack"] and "low-contrast 1" in seen.decision.faults[0].message
    events, record = events_of(guarded, [faded(view(collins, n)) for n in range(9)], tmp_path / "e.sqlite")
    (rejected,) = events
    assert (rejected.event_type, rejected.body["faults"], rejected.body["pad"]) == ("rejected", ["attack"], "attack")
    assert record["refused"]["attack"]["frames"] == 9 and record["compared"] == 0
    assert (
        record["pad"]["decision"] == "attack"
        and record["pad"]["method"] == "low-contrast 1"
        and record["pad"]["score"] > 0
    )
    assert "every frame failed a gate" in record["why"]


def test_a_live_person_is_published_as_bona_fide(guarded: Recognizer, collins: Pixels, tmp_path: Path) -> None:
    events, record = events_of(guarded, [view(collins, n) for n in range(9)], tmp_path / "e.sqlite")
    assert [(e.event_type, e.body["pad"]) for e in events] == [("match", "bona_fide"), ("gone", "bona_fide")]
    assert record["pad"]["decision"] == "bona_fide"
    assert guarded.pipeline.pad_method == "low-contrast 1" and "pad" in guarded.pipeline.stage_seconds


def test_one_attack_among_good_frames_stays_in_the_record(guarded: Recognizer, collins: Pixels, tmp_path: Path) -> None:
    pictures = [view(collins, n) for n in range(9)]
    pictures[4] = faded(pictures[4])
    events, record = events_of(guarded, pictures, tmp_path / "e.sqlite")
    assert events[0].event_type == "match" and record["compared"] == 8
    assert record["pad"]["decision"] == "attack" and record["refused"]["attack"]["frames"] == 1


def test_the_event_schema_knows_every_pad_decision() -> None:
    pads = load("event-v1")["$defs"]["pad"]
    for decision in PadDecision:
        jsonschema.validate(decision.value, pads)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate("probably", pads)


def test_the_method_does_not_judge_a_poor_frame(plug: Plug, hopper: Pixels) -> None:
    method = LowContrast()
    pipeline = plug(method)
    (sample,) = pipeline.samples(frame((hopper * 0.04).astype(np.uint8)))
    assert "too_dark" in {f.code for f in sample.faults} and sample.pad == PadResult() and method.judged == 0
    pipeline.samples(frame(hopper))
    assert method.judged == 1


def test_an_attack_is_neither_enrolled_nor_identified(
    plug: Plug, make_recognizer: Callable[..., Recognizer], collins: Pixels
) -> None:
    recognizer = make_recognizer(pipeline=plug(LowContrast()))
    requests = Requests(recognizer, lambda event: None)

    def ask(verb: str, pixels: Pixels) -> dict[str, Any]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        arguments = {"name": "Eileen", "image": base64.b64encode(buffer.getvalue()).decode()}
        if verb == "identify":
            del arguments["name"]
        pending = PendingRequest(make_request(verb, arguments))
        requests.start(pending)
        return answer_json(pending.answers.get_nowait())

    refused = ask("enroll", faded(collins))
    assert refused["kind"] == "EnrollmentError" and "show your own face" in refused["faults"][0]
    assert recognizer.people.gallery.identities() == []
    assert ask("enroll", collins)["status"] == "ok"
    assert ask("identify", faded(collins))["kind"] == "AcquisitionError"
    assert ask("verify", faded(collins))["kind"] == "AcquisitionError"
    assert ask("identify", view(collins, 3))["data"]["pad"] == "bona_fide"


def test_an_attack_before_the_camera_is_not_enrolled_and_the_person_sees_why(
    guarded: Recognizer, collins: Pixels
) -> None:
    threshold = guarded.threshold.value
    session = CaptureSession(guarded.pipeline, EILEEN, guarded.references, threshold, prompt_ns=0, timeout_s=5.0)
    for i in range(12):
        assert session.offer(frame(faded(collins), 1 + i * 100_000_000)) is None
    assert "show your own face" in session.progress
    with pytest.raises(EnrollmentError) as caught:
        session.finish_if_due(6_000_000_000)
    assert "show your own face" in caught.value.faults[0]


def test_a_method_that_reaches_no_decision_is_an_error(plug: Plug, collins: Pixels) -> None:
    with pytest.raises(ValueError, match="low-contrast 1: expected bona_fide or attack"):
        plug(Undecided()).samples(frame(collins))


@pytest.mark.parametrize(
    "fields",
    [
        {"decision": PadDecision.ATTACK},
        {"decision": PadDecision.BONA_FIDE, "score": 0.1},
        {"score": 0.1},
        {"decision": PadDecision.BONA_FIDE, "score": float("nan"), "method": "m"},
        {"method": "m"},
    ],
)
def test_a_result_without_method_or_score_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="PadResult"):
        PadResult(**fields)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], dict[str, dict[str, str]]]]:
    yield lambda: {f["check"]: f for f in map(json.loads, capsys.readouterr().out.splitlines())}


def test_the_doctor_names_the_method_if_there_is_one(
    plug: Plug, printed: Callable[[], dict[str, dict[str, str]]]
) -> None:
    probe.models(CONFIG)
    assert "attacks" not in printed()  # the doctor itself reports that none is performed (tests/unit/test_doctor.py)
    plug(LowContrast())
    probe.models(CONFIG)
    assert printed()["attacks"]["message"] == "presentation attack detection: performed by low-contrast 1"


def test_a_sample_without_a_result_is_not_performed(pipeline: Pipeline, collins: Pixels) -> None:
    (sample,) = pipeline.samples(frame(collins))
    assert Sample(face=sample.face, chip=sample.chip, quality=sample.quality).pad.decision is PadDecision.NOT_PERFORMED
