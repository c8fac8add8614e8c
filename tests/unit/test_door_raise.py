"""The door as the daemon uses it: which visits count, when the threshold rises and falls, and what is published."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from door_parts import visits
from example_messages import response_of
from jsonschema import Draft202012Validator
from pictures import Pixels, empty_scene, frame, view

from edge_oneshot.config import CameraConfig, Config, DecisionConfig, DeviceConfig
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.requests import Check, ResetDoor
from edge_oneshot.events import schema
from edge_oneshot.events.clock import read_clock
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.door import DoorRecord
from edge_oneshot.matching import door as matching
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.matching.track import ResultKind, TrackResult
from edge_oneshot.mqtt.payloads import hand_over
from edge_oneshot.recognition.enrollment import enroll_from_frame
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.door import MIN_GAP_NS, Door
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.types import (
    Chip,
    Decision,
    DecisionKind,
    Embedding,
    Event,
    Float64Array,
    Identity,
    Observation,
    Quality,
    Sample,
    Template,
)

PEOPLE, DAY = 6, 740_000
GOOD = Quality(inter_eye_px=40.0, sharpness=99.0, yaw_deg=0.0, luma=120.0, contrast=40.0)
NOTHING_SEEN = Observation(
    sample=Sample(face=None, chip=Chip(pixels=np.zeros((112, 112, 3), np.uint8), transform=np.eye(2, 3)), quality=GOOD),
    embedding=None,
    decision=Decision(kind=DecisionKind.NON_MATCH, threshold=0.5, target_fmr=None),
)


class Bench:
    """A recognizer of people with orthogonal templates, so that a visit with any wanted scores can be made, and its door."""

    def __init__(self, recognizer: Recognizer, folder: Path, fmr: float = 1e-3, *, door_raise: bool = True) -> None:
        self.recognizer, self.path = recognizer, folder / "door.sqlite"
        # against everybody, whom come() draws: a threshold against matched strangers has a reserve that depends on the card
        recognizer.rule = replace(recognizer.rule, target=Target(fmr=fmr), strangers="everybody")
        self.size = recognizer.pipeline.encoder.card.dimension
        for i in range(PEOPLE):
            identity = Identity(identity_id=f"p{i}", name=f"P{i}")
            template = Template(
                template_id=f"t{i}",
                identity_id=identity.identity_id,
                embedding=self.embedding(np.eye(PEOPLE)[i]),
                quality=GOOD,
                created_at=datetime.now(UTC),
            )
            recognizer.people.add(identity, [template])
        self.base = recognizer.threshold.value
        self.config = DecisionConfig(door_raise=door_raise)
        self.record = DoorRecord(self.path, "sha256:a")
        self.door = Door(self.record, recognizer, self.config, "cam0")
        self.now_ns = 0

    def embedding(self, scores: Float64Array) -> Embedding:
        """A unit vector with these scores against the people."""
        vector = np.zeros(self.size)
        vector[:PEOPLE] = scores
        vector[PEOPLE] = np.sqrt(max(0.0, 1 - float(scores @ scores)))
        return Embedding(vector=vector.astype(np.float32), encoder_id=self.recognizer.encoder_id)

    def result(self, scores: Float64Array, gap_ns: int = MIN_GAP_NS) -> TrackResult:
        self.now_ns += gap_ns
        return TrackResult(
            kind=ResultKind.GONE,
            track=1,
            identity_id=None,
            observation=NOTHING_SEEN,
            frames=9,
            first_ns=self.now_ns,
            last_ns=self.now_ns,
            visit=self.embedding(scores),
        )

    def come(self, count: int, shift: float, *, missed: float = 0.0, seed: int = 0, day: int = DAY) -> list[Event]:
        """Strangers who score `shift` above the cohort, 15 a day; the changes of the threshold."""
        cohort = self.recognizer.rule.cohort
        assert cohort is not None
        scores = visits(cohort, PEOPLE, count, threshold=self.base, shift=shift, missed=missed, seed=seed)
        changes = []
        for i, row in enumerate(scores):
            assert self.door.visit(self.result(row), day + i // 15)
            if i % 15 == 14:
                changes.append(self.door.follow(day + i // 15))
        return [c for c in changes if c is not None]


@pytest.fixture
def bench(make_recognizer: Callable[..., Recognizer], tmp_path: Path) -> Iterator[Bench]:
    made = Bench(make_recognizer(), tmp_path)
    yield made
    made.record.close()


def test_strangers_as_the_cohort_raise_nothing_and_the_claim_is_in_the_interval(bench: Bench) -> None:
    assert bench.come(300, 0.0, missed=0.05) == []
    report = bench.door.report()
    assert report is not None and report.fmr_low is not None and report.fmr_high is not None
    assert report.fmr_low < 1e-3 < report.fmr_high and not report.above
    assert report.fpir is not None and report.fmr is not None and 0.99 <= report.fpir / report.fmr <= 1.01 * PEOPLE
    assert bench.recognizer.threshold.value == bench.base


def test_a_door_with_similar_strangers_raises_the_threshold(bench: Bench) -> None:
    changes = bench.come(400, 0.12)
    assert changes, "the threshold did not rise"
    threshold = bench.recognizer.threshold
    assert 0 < threshold.raised <= 0.05 and threshold.value == pytest.approx(bench.base + threshold.raised)
    assert threshold.target_fmr == 1e-3
    # every comparison with this gallery uses it, also one with a single person
    assert bench.recognizer.rule([1]).value == threshold.value
    report = bench.door.report()
    assert report is not None and report.raised == threshold.raised and (report.missed or 0) < 0.3


def test_the_raise_survives_a_restart_and_another_rule(bench: Bench) -> None:
    bench.come(400, 0.12)
    raised = bench.recognizer.threshold.raised
    bench.record.close()
    bench.recognizer.rule = replace(bench.recognizer.rule, raised=0.0)
    again = DoorRecord(bench.path, "sha256:a")
    door = Door(again, bench.recognizer, bench.config, "cam0")
    assert bench.recognizer.threshold.raised == raised > 0
    bench.recognizer.rule = replace(bench.recognizer.rule, raised=0.0)  # as a reload sets it
    door.reconfigure(bench.config)
    assert bench.recognizer.threshold.raised == raised
    door.reconfigure(replace(bench.config, door_raise=False))
    assert bench.recognizer.threshold.value == pytest.approx(bench.base)
    again.close()


def test_the_raise_falls_by_one_step_a_day_when_the_evidence_is_gone(bench: Bench) -> None:
    bench.record.set_raise(0.02, DAY)
    bench.door.reconfigure(bench.config)
    seen = []
    for day in (DAY, DAY, DAY + 1, DAY + 1, DAY + 2, DAY + 9, DAY + 10, DAY + 11):
        bench.door.follow(day)
        seen.append(round(bench.recognizer.threshold.raised, 4))
    assert seen == [0.02, 0.02, 0.015, 0.015, 0.01, 0.005, 0.0, 0.0]
    Door(bench.record, bench.recognizer, bench.config, "cam0").follow(DAY + 11)
    assert bench.recognizer.threshold.value == pytest.approx(bench.base)


def test_restarts_do_not_speed_up_the_fall(bench: Bench) -> None:
    bench.record.set_raise(0.02, DAY)
    for _ in range(5):
        Door(bench.record, bench.recognizer, bench.config, "cam0").follow(DAY + 1)
    assert bench.recognizer.threshold.raised == 0.015


def test_a_visitor_who_comes_often_cannot_lower_the_threshold(bench: Bench) -> None:
    """1,000 visits with the lowest scores in ten days: never below the card's, and most of the raise stays."""
    bench.come(600, 0.15)
    raised = bench.recognizer.threshold.raised
    counted = 0
    for i in range(1000):
        counted += bench.door.visit(bench.result(np.full(PEOPLE, -0.1)), DAY + 70 + i // 100)
        bench.door.follow(DAY + 70 + i // 100)
    assert counted <= 10 * (1.5 * 15 + 5 + 1)
    assert (
        raised >= 0.02
        and bench.base < bench.recognizer.threshold.value
        and bench.recognizer.threshold.raised >= raised - 0.02
    )


def test_people_without_a_rate_are_not_measured(bench: Bench) -> None:
    """Children resemble each other: the rate of the others is stated, and their own high scores raise nothing."""
    rng = np.random.default_rng(0)
    for i in range(200):
        row = np.append(rng.normal(0.05, 0.1, PEOPLE - 2), (0.5, 0.45))
        bench.recognizer.people.no_rate = frozenset({"p4", "p5"})
        assert bench.door.visit(bench.result(row), DAY + i // 15)
    total = bench.record.total()
    assert (total.visits, total.comparisons) == (200, 200 * (PEOPLE - 2))
    assert total.counts[matching.bins_of(np.array([0.44]))[0] :].sum() == 0
    bench.recognizer.people.no_rate = frozenset(bench.recognizer.people.names)
    assert not bench.door.visit(bench.result(np.full(PEOPLE, 0.1)), DAY + 20)
    report = bench.door.report()
    assert report is not None and report.fmr is None


def test_a_visit_of_another_encoder_is_not_counted(bench: Bench) -> None:
    result = bench.result(np.full(PEOPLE, 0.1))
    assert result.visit is not None
    foreign = replace(result, visit=replace(result.visit, encoder_id="sha256:" + "0" * 64))
    assert not bench.door.visit(foreign, DAY)
    assert bench.door.visit(result, DAY)


def test_a_person_whose_track_is_lost_and_found_counts_once(bench: Bench) -> None:
    row = np.full(PEOPLE, 0.1)
    assert bench.door.visit(bench.result(row), DAY)
    assert not bench.door.visit(bench.result(row, MIN_GAP_NS - 1), DAY)
    assert bench.door.visit(bench.result(row, 1), DAY)


def test_the_counted_score_is_that_of_the_evidence(bench: Bench) -> None:
    """A track of 2 different views: mean score m = pooled / sqrt(2), evidence m * 2 ** 0.25."""
    row = np.array([0.5, 0.0, 0.0, 0.0, 0.0, 0.0])
    bench.door.visit(replace(bench.result(row), views=2.0), DAY)
    at = matching.bins_of(np.array([0.5 / np.sqrt(2) * 2**0.25]))[0]
    assert bench.record.total().best[at] == 1
    bench.door.visit(replace(bench.result(row), views=4.0), DAY)  # too different for one person: averaged
    assert bench.record.total().best[matching.bins_of(np.array([0.5 / 2]))[0]] == 1


def test_no_rate_below_the_least_number_of_visits(bench: Bench) -> None:
    assert bench.come(matching.MIN_VISITS - 1, 0.0) == []
    report = bench.door.report()
    assert report is not None and (report.fmr, report.fpir, report.missed, report.above) == (None, None, None, False)
    assert report.visits < report.needed == matching.MIN_VISITS


def test_a_threshold_set_by_hand_is_measured_and_never_raised(bench: Bench) -> None:
    bench.recognizer.rule = Rule(target=Target(score=bench.base), thresholds=None, cohort=bench.recognizer.rule.cohort)
    assert bench.come(400, 0.12) == []
    report = bench.door.report()
    assert report is not None and report.fmr is not None and report.fmr > 2e-3
    assert bench.recognizer.threshold.value == bench.base


def test_switched_off_it_measures_and_does_not_raise(
    make_recognizer: Callable[..., Recognizer], tmp_path: Path
) -> None:
    bench = Bench(make_recognizer(), tmp_path, door_raise=False)
    assert bench.come(400, 0.12) == []
    report = bench.door.report()
    assert report is not None and report.above and bench.recognizer.threshold.value == bench.base
    bench.record.close()


def test_a_rate_against_the_gallery_is_compared_with_the_gallerys(
    make_recognizer: Callable[..., Recognizer], tmp_path: Path
) -> None:
    bench = Bench(make_recognizer(), tmp_path)
    bench.recognizer.rule = replace(bench.recognizer.rule, target=Target(fpir=0.005))
    bench.base = bench.recognizer.threshold.value
    assert bench.come(400, 0.12)
    report = bench.door.report()
    assert report is not None and report.fpir is not None and report.fpir_low is not None and report.fpir_low > 1e-3
    bench.record.close()


def test_the_event_of_a_change_fits_the_schema(bench: Bench, tmp_path: Path) -> None:
    event = bench.come(100, 0.15)[0]
    box = Outbox(tmp_path / "outbox.sqlite")
    box.events.commit(event)
    message = json.loads(hand_over(box.events.pending(0, 1)[0], "porch", 10.0, read_clock()).payload)
    box.close()
    Draft202012Validator(schema.load("event-v1")).validate(message)
    assert message["event_type"] == "threshold_changed" and message["from"] < message["to"]
    assert message["fmr_low"] <= message["fmr"] <= message["fmr_high"] and message["visits"] > 50


# ---- in the daemon


@pytest.fixture
def daemon(make_recognizer: Callable[..., Recognizer], tmp_path: Path) -> Iterator[Daemon]:
    config = Config(device=DeviceConfig(slug="front", state_dir=str(tmp_path)), camera=CameraConfig(uri="folder:x"))
    recognizer = make_recognizer(config.gallery_path)
    record = DoorRecord(config.door_path, recognizer.encoder_id)
    door = Door(record, recognizer, config.decision, "cam0")
    yield Daemon(config, recognizer, build_tracker(config, recognizer), Reporter(), door=door)
    record.close()


def show(daemon: Daemon, pixels: list[Pixels], start_ns: int) -> list[str]:
    events = []
    for i, p in enumerate(pixels):
        now_ns = start_ns + i * 100_000_000
        events += [e.event_type for e in daemon.step(frame(p, now_ns), now_ns)]
    return events


def test_the_visit_of_an_unknown_person_is_counted_when_it_ends(
    daemon: Daemon, hopper: Pixels, collins: Pixels
) -> None:
    recognizer, start_ns = daemon.recognizer, time.monotonic_ns()
    made = enroll_from_frame(
        recognizer.pipeline, frame(collins), Identity(identity_id="eileen", name="Eileen"), recognizer.references
    )
    recognizer.store(made)
    strangers = [view(hopper, i) for i in range(12)]
    assert show(daemon, strangers, start_ns) == ["unknown"]
    report = daemon.status().door
    assert report is not None and report.visits == 0
    assert show(daemon, [empty_scene()] * 30, start_ns + 1_200_000_000) == ["gone"]
    report = daemon.status().door
    assert report is not None and (report.visits, report.days, report.fmr) == (1, 1, None)
    # an enrolled person who is recognized is not counted
    assert show(daemon, [view(collins, i) for i in range(12)], start_ns + 90_000_000_000) == ["match"]
    show(daemon, [empty_scene()] * 30, start_ns + 92_000_000_000)
    checked = PendingRequest(Check())
    daemon.requests.start(checked)
    assert response_of(checked).door.visits == 1
    Draft202012Validator({**schema.load("state-v1"), "$ref": "#/$defs/health"}).validate(daemon.health().message())
    reset = PendingRequest(ResetDoor())
    daemon.requests.start(reset)
    assert response_of(reset).visits == 1
    after = daemon.health().door
    assert after is not None and after["visits"] == 0


def test_a_reset_takes_the_raise_back_and_reports_it(daemon: Daemon) -> None:
    assert daemon.door is not None
    base = daemon.recognizer.threshold.value
    daemon.door._record.set_raise(0.03, 1)
    daemon.door.reconfigure(daemon.config.decision)
    assert daemon.recognizer.threshold.value == pytest.approx(base + 0.03)
    reset = PendingRequest(ResetDoor())
    daemon.requests.start(reset)
    assert response_of(reset).threshold == pytest.approx(base, abs=1e-4)
    assert daemon.reporter.events == 1
