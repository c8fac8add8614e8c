"""Presentation attack detection, tested with a real tiny method: a chip of low contrast is an attack.

The method is useless otherwise. It shows that a method is applied everywhere, and that no path avoids it.
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
from edge_oneshot.control.protocol import Request
from edge_oneshot.doctor import probe
from edge_oneshot.errors import EnrollmentError
from edge_oneshot.events.build import fold
from edge_oneshot.events.journal import Journal
from edge_oneshot.events.schema import load
from edge_oneshot.gallery.people import People
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import References
from edge_oneshot.matching.track import Tracker
from edge_oneshot.recognition.enrollment import CaptureSession, enroll_from_frame
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.service import compose
from edge_oneshot.service.requests import Handler
from edge_oneshot.types import Chip, DecisionKind, Event, Face, Frame, PadDecision, PadResult, Sample

CONFIG = Config(model=ModelConfig(threads=1))
EILEEN = person("eileen", "Eileen")
LIMIT = 42.0


class LowContrast:
    """An attack if the standard deviation of the chip's values is below LIMIT."""

    name = "low-contrast 1"

    def __init__(self) -> None:
        self.asked = 0

    def judge(self, frame: Frame, face: Face | None, chip: Chip) -> PadResult:
        self.asked += 1
        spread = float(chip.pixels.std())
        decision = PadDecision.ATTACK if spread < LIMIT else PadDecision.BONA_FIDE
        return PadResult(decision=decision, score=LIMIT - spread, method=self.name)


class Undecided(LowContrast):
    def judge(self, frame: Frame, face: Face | None, chip: Chip) -> PadResult:
        return PadResult()


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[[LowContrast], Pipeline]:
    """The shipped pipeline with a method."""

    def plugged(method: LowContrast) -> Pipeline:
        monkeypatch.setattr(compose, "find_pad", lambda name: method)
        return compose.build_pipeline(CONFIG)

    return plugged


@pytest.fixture
def guarded(plug: Callable[[LowContrast], Pipeline]) -> Pipeline:
    return plug(LowContrast())


@pytest.fixture
def enrolled(pipeline: Pipeline, collins: Pixels) -> References:
    nobody = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    template = enroll_from_frame(pipeline, frame(collins), EILEEN, nobody).template
    return References(nobody.comparator, nobody.encoder_id, [template])


def faded(pixels: Pixels) -> Pixels:
    """Good enough for every quality gate, but with too little contrast for the method."""
    return (110 + 0.5 * (pixels.astype(np.float32) - 110)).astype(np.uint8)


def events_of(
    pipeline: Pipeline, references: References, pixels: list[Pixels], path: Path
) -> tuple[list[Event], dict[str, Any]]:
    """The events of a visit with these pictures, and the record of its first track."""
    decision = DecisionConfig(gone_after_s=0.5)
    tracker, journal = Tracker(decision, lambda a, b: True, references.score), Journal(path, decision)
    now, ns, told = datetime.now(UTC), 0, []
    for i, picture in enumerate([*pixels, None]):
        ns = (i + 1) * 100_000_000
        if picture is None:
            results = tracker.expire(ns + 1_000_000_000)
        else:
            results = tracker.update(pipeline.observe(frame(picture, ns), references), ns)
            journal.observe(tracker.seen_at(ns), now)
        told += [fold(f, {"eileen": "Eileen"}, "cam0", pipeline.encoder.encoder_id, ns, now) for f in results]
        for event in told:
            journal.told(event)
    (record,) = journal.report()["tracks"]
    journal.close()
    return told, record


def test_without_a_method_nothing_is_performed_and_a_faded_picture_matches(
    pipeline: Pipeline, enrolled: References, collins: Pixels, tmp_path: Path
) -> None:
    (seen,) = pipeline.observe(frame(faded(collins)), enrolled)
    assert seen.decision.kind is DecisionKind.MATCH and seen.sample.pad == PadResult()
    told, record = events_of(pipeline, enrolled, [faded(view(collins, n)) for n in range(9)], tmp_path / "e.sqlite")
    assert [(e.event_type, e.body["pad"]) for e in told] == [("match", "not_performed"), ("gone", "not_performed")]
    assert record["pad"] == {"decision": "not_performed", "score": None, "method": None}
    assert pipeline.pad_method == "not_performed"


def test_an_attack_is_never_compared_and_never_a_match(
    guarded: Pipeline, enrolled: References, collins: Pixels, tmp_path: Path
) -> None:
    (seen,) = guarded.observe(frame(faded(collins)), enrolled)
    assert seen.sample.quality.good and seen.embedding is None
    assert (seen.decision.kind, seen.decision.candidate) == (DecisionKind.NOT_COMPARED, None)
    assert [f.code for f in seen.decision.faults] == ["attack"] and "low-contrast 1" in seen.decision.faults[0].message
    told, record = events_of(guarded, enrolled, [faded(view(collins, n)) for n in range(9)], tmp_path / "e.sqlite")
    (rejected,) = told
    assert (rejected.event_type, rejected.body["faults"], rejected.body["pad"]) == ("rejected", ["attack"], "attack")
    assert record["refused"]["attack"]["frames"] == 9 and record["compared"] == 0
    assert (
        record["pad"]["decision"] == "attack"
        and record["pad"]["method"] == "low-contrast 1"
        and record["pad"]["score"] > 0
    )
    assert "every frame was refused" in record["why"]


def test_a_bona_fide_person_is_reported_as_such(
    guarded: Pipeline, enrolled: References, collins: Pixels, tmp_path: Path
) -> None:
    told, record = events_of(guarded, enrolled, [view(collins, n) for n in range(9)], tmp_path / "e.sqlite")
    assert [(e.event_type, e.body["pad"]) for e in told] == [("match", "bona_fide"), ("gone", "bona_fide")]
    assert record["pad"]["decision"] == "bona_fide"
    assert guarded.pad_method == "low-contrast 1" and "pad" in guarded.stopwatch.seconds


def test_one_attack_among_good_frames_is_kept_in_the_record(
    guarded: Pipeline, enrolled: References, collins: Pixels, tmp_path: Path
) -> None:
    pictures = [view(collins, n) for n in range(9)]
    pictures[4] = faded(pictures[4])
    told, record = events_of(guarded, enrolled, pictures, tmp_path / "e.sqlite")
    assert told[0].event_type == "match" and record["compared"] == 8
    assert record["pad"]["decision"] == "attack" and record["refused"]["attack"]["frames"] == 1


def test_every_event_fits_the_schema(guarded: Pipeline, enrolled: References, collins: Pixels, tmp_path: Path) -> None:
    pads = load("event-v1")["$defs"]["pad"]
    for decision in PadDecision:
        jsonschema.validate(decision.value, pads)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate("probably", pads)


def test_a_poor_frame_does_not_reach_the_method(plug: Callable[[LowContrast], Pipeline], hopper: Pixels) -> None:
    method = LowContrast()
    guarded = plug(method)
    (sample,) = guarded.samples(frame((hopper * 0.1).astype(np.uint8)))
    assert "too_dark" in {f.code for f in sample.faults} and sample.pad == PadResult() and method.asked == 0
    guarded.samples(frame(hopper))
    assert method.asked == 1


def test_an_attack_is_neither_enrolled_nor_identified(guarded: Pipeline, collins: Pixels, tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery.sqlite")
    handler = Handler(
        guarded, People(gallery, guarded.encoder.card, guarded.encoder.encoder_id), lambda event: None, dict
    )

    def ask(verb: str, pixels: Pixels) -> dict[str, Any]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        request = Request(
            verb=verb, arguments={"name": "Eileen", "image": base64.b64encode(buffer.getvalue()).decode()}
        )
        handler.start(request)
        answer: dict[str, Any] = request.answers.get_nowait()
        return answer

    refused = ask("enroll", faded(collins))
    assert refused["kind"] == "EnrollmentError" and "show your own face" in refused["faults"][0]
    assert gallery.identities() == []
    assert ask("enroll", collins)["status"] == "ok"
    assert ask("identify", faded(collins))["kind"] == "AcquisitionError"
    assert ask("verify", faded(collins))["kind"] == "AcquisitionError"
    assert ask("identify", view(collins, 3))["data"]["pad"] == "bona_fide"
    gallery.close()


def test_an_attack_in_front_of_the_camera_is_not_enrolled_and_the_person_gets_the_reason(
    guarded: Pipeline, collins: Pixels
) -> None:
    nobody = References(guarded.encoder.card.comparator, guarded.encoder.encoder_id, ())
    session = CaptureSession(guarded, EILEEN, nobody, prompt_ns=0, timeout_s=5.0)
    for i in range(12):
        assert session.offer(frame(faded(collins), 1 + i * 100_000_000)) is None
    assert "show your own face" in session.progress
    with pytest.raises(EnrollmentError) as caught:
        session.finish_if_due(6_000_000_000)
    assert "show your own face" in caught.value.faults[0]


def test_a_method_without_a_decision_is_an_error(plug: Callable[[LowContrast], Pipeline], collins: Pixels) -> None:
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
def test_a_result_needs_its_method_and_score(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="PadResult"):
        PadResult(**fields)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], dict[str, dict[str, str]]]]:
    yield lambda: {f["check"]: f for f in map(json.loads, capsys.readouterr().out.splitlines())}


def test_doctor_reports_a_method_if_there_is_one(
    plug: Callable[[LowContrast], Pipeline], said: Callable[[], dict[str, dict[str, str]]]
) -> None:
    probe.models(CONFIG)
    assert "attacks" not in said()  # the doctor then reports that PAD is not performed (tests/unit/test_doctor.py)
    plug(LowContrast())
    probe.models(CONFIG)
    assert said()["attacks"]["message"] == "presentation attack detection: performed by low-contrast 1"


def test_a_sample_without_a_result_is_not_performed(pipeline: Pipeline, collins: Pixels) -> None:
    (sample,) = pipeline.samples(frame(collins))
    assert Sample(face=sample.face, chip=sample.chip, quality=sample.quality).pad.decision is PadDecision.NOT_PERFORMED
