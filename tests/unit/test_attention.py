"""Which faces of a frame are encoded. Invokes and tasks are counted; no time is measured."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from pictures import Pixels
from samples import embedding, face, random_unit, score, seen

from edge_oneshot.config import DecisionConfig
from edge_oneshot.matching.attention import ALIKE, BUDGET, OVERDUE_NS, RECHECK_NS, WHOLE, Task, signature
from edge_oneshot.matching.compare import not_compared
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.matching.track import ResultKind, Tracker
from edge_oneshot.types import Chip, Observation, Sample

STEP_NS = 100_000_000
DEFAULTS = DecisionConfig()


def chip_of(who: str) -> Chip:
    """A picture of its own for each name: coarse structure."""
    coarse = np.random.default_rng(sum(map(ord, who))).integers(0, 255, (14, 14, 3), dtype=np.uint8)
    return Chip(pixels=coarse.repeat(8, axis=0).repeat(8, axis=1), transform=np.eye(2, 3))


class Door:
    """A tracker whose frames are observed by its own plan. A face: (name of the picture, identity or "", x)."""

    def __init__(self, config: DecisionConfig = DEFAULTS) -> None:
        self.tracker = Tracker(config, lambda a, b: False, score, unlike=lambda a, b: False)
        self.now_ns = 0
        self.encoded: list[list[int]] = []  # of each frame, the places of the faces that were encoded

    def show(self, faces: Sequence[tuple[str, str, float]], **changed: float) -> list[tuple[ResultKind, str | None]]:
        self.now_ns += STEP_NS
        sightings = [seen(who, x) for _, who, x in faces]
        samples = [
            replace(s.sample, chip=chip_of(name), quality=replace(s.sample.quality, **changed))
            for s, (name, _, _) in zip(sightings, faces, strict=True)
        ]
        tasks = self.tracker.plan(samples, self.now_ns)
        self.encoded.append([i for i, task in enumerate(tasks) if task.encode])
        observations = [self._observe(*parts) for parts in zip(sightings, samples, tasks, strict=True)]
        return [(r.kind, r.identity_id) for r in self.tracker.update(observations, self.now_ns)]

    def _observe(self, sighting: Observation, sample: Sample, task: Task) -> Observation:
        if task.encode:
            return replace(sighting, sample=sample)
        return Observation(
            sample=sample, embedding=None, decision=not_compared((), Threshold(value=0.5, target_fmr=None))
        )

    def last(self, frames: int) -> int:
        """Faces that were encoded in the last frames."""
        return sum(len(e) for e in self.encoded[-frames:])


@pytest.mark.parametrize("who", ["alice", ""])
def test_a_decided_face_is_encoded_once_a_second(who: str) -> None:
    door = Door()
    results = [r for _ in range(10) for r in door.show([("a", who, 100)])]
    assert results == [(ResultKind.MATCH, "alice") if who else (ResultKind.UNKNOWN, None)]
    assert door.last(10) == (3 if who else 8)
    for _ in range(40):
        assert door.show([("a", who, 100)]) == []
    assert 40 * STEP_NS // RECHECK_NS - 1 <= door.last(40) <= 40 * STEP_NS // RECHECK_NS + 1
    assert door.tracker.present == ((["alice"], 0) if who else ([], 1))


def test_another_person_in_the_same_place_is_noticed_at_once() -> None:
    door = Door()
    for _ in range(12):
        door.show([("a", "alice", 100)])
    door.encoded.clear()
    results = [r for _ in range(8) for r in door.show([("b", "bob", 100)])]
    assert results == [(ResultKind.GONE, "alice"), (ResultKind.MATCH, "bob")]
    assert door.encoded == [[0]] * 8, "from the first frame on, until it is certain"


def test_a_person_whose_picture_is_the_same_is_noticed_within_a_second() -> None:
    """The re-check detects a change that no cheap cue shows."""
    door = Door()
    for _ in range(12):
        door.show([("a", "alice", 100)])
    results = [r for _ in range(18) for r in door.show([("a", "bob", 100)])]
    assert results == [(ResultKind.GONE, "alice"), (ResultKind.MATCH, "bob")]


@pytest.mark.parametrize(
    ("faces", "changed"),
    [
        pytest.param([("a", "alice", 145)], {}, id="its box jumps"),
        pytest.param([("a", "alice", 100), ("b", "", 230)], {}, id="another face comes near"),
        pytest.param([("a", "alice", 100)], {"inter_eye_px": 52.0}, id="it comes closer"),
        pytest.param([("a", "alice", 100)], {"yaw_deg": 20.0}, id="it turns"),
        pytest.param([("a", "alice", 100)], {"pitch_deg": -20.0}, id="it tilts"),
    ],
)
def test_a_decided_face_is_encoded_when(faces: list[tuple[str, str, float]], changed: dict[str, float]) -> None:
    door = Door()
    for _ in range(5):
        door.show([("a", "alice", 100)])
    assert door.encoded[-1] == []
    door.show(faces, **changed)
    assert 0 in door.encoded[-1]


def test_a_decided_face_that_was_out_of_sight_is_encoded() -> None:
    door = Door()
    for _ in range(5):
        door.show([("a", "alice", 100)])
    door.show([])
    door.show([("a", "alice", 100)])
    assert door.encoded[-3:] == [[], [], [0]]


def test_a_person_far_from_a_decided_one_leaves_that_one_alone() -> None:
    door = Door()
    for _ in range(5):
        door.show([("a", "alice", 100)])
    door.show([("a", "alice", 100), ("b", "", 400)])
    assert door.encoded[-1] == [1]


def test_ten_undecided_faces_take_turns() -> None:
    """No more than the budget in one frame, and each of them in one of four."""
    door, crowd = Door(), [(str(i), "", 200.0 * i) for i in range(10)]
    for _ in range(40):
        door.show(crowd)
    assert {len(e) for e in door.encoded[:24]} == {BUDGET}
    for start in range(20):
        times = Counter(i for e in door.encoded[start : start + 4] for i in e)
        assert set(times) == set(range(10))


def test_undecided_faces_go_before_changed_ones() -> None:
    """Nine decided people come near each other while a tenth arrives: that one is encoded in each frame."""
    door, crowd = Door(), [(str(i), f"p{i}", 170.0 * i) for i in range(9)]
    for _ in range(12):
        door.show(crowd)
    assert door.tracker.present[0] == [f"p{i}" for i in range(9)]
    near = [(name, who, x - 40.0 * (i % 2)) for i, (name, who, x) in enumerate(crowd)]
    for _ in range(3):
        door.show([*near, ("new", "", 3000.0)])
    assert all(9 in e and len(e) == BUDGET for e in door.encoded[-3:])


@pytest.mark.parametrize("undecided", [1, 3, 9])
def test_undecided_faces_do_not_keep_a_decided_one_from_its_re_check(undecided: int) -> None:
    door = Door(DecisionConfig(unknown_frames=500))
    people = [("a", "alice", 100.0), *((str(i), "", 300.0 + 200.0 * i) for i in range(undecided))]
    for _ in range(60):
        door.show(people)
    assert door.tracker.present == (["alice"], 0)
    places = [n for n, encoded in enumerate(door.encoded) if 0 in encoded]
    longest = max(b - a for a, b in itertools.pairwise([*places, 60]))
    assert longest * STEP_NS <= OVERDUE_NS + 4 * STEP_NS


def test_a_hesitating_match_is_encoded_in_each_frame() -> None:
    door = Door()
    for _ in range(4):
        door.show([("a", "alice", 100)])
    for _ in range(RECHECK_NS // STEP_NS):
        door.show([("a", "", 100)])
    door.encoded.clear()
    for _ in range(3):
        door.show([("a", "", 100)])
    assert door.encoded == [[0]] * 3


def test_the_pictures_of_two_people_are_not_alike(collins: Pixels, hopper: Pixels) -> None:
    """A face still resembles itself after a change of light and noise."""
    a, b = (np.ascontiguousarray(p[:112, :112]) for p in (collins[60:, 160:], hopper[60:, 200:]))
    random = np.random.default_rng(0)
    darker = np.clip(0.7 * a + random.normal(10, 6, a.shape), 0, 255).astype(np.uint8)
    own, again, other = (signature(Chip(pixels=p, transform=np.eye(2, 3))) for p in (a, darker, b))
    assert float(own @ again) > ALIKE > float(own @ other)


def test_no_picture_resembles_a_blank_one() -> None:
    blank = Chip(pixels=np.full((112, 112, 3), 90, np.uint8), transform=np.eye(2, 3))
    assert float(signature(blank) @ signature(chip_of("a"))) == 0.0
    assert face().box.width == 100.0


def test_unknown_is_not_reported_on_one_view_alone() -> None:
    """Whichever track the plan took a face for: the score that is published is that of both views."""
    tracker = Door().tracker
    results = []
    for n in range(1, DEFAULTS.unknown_frames + 3):
        results += tracker.update([replace(seen(""), one_view=True)], n * STEP_NS)
    assert results == []
    (result,) = tracker.update([seen("")], (n + 1) * STEP_NS)
    assert (result.kind, result.observation.one_view) == (ResultKind.UNKNOWN, False)


def test_a_whole_frame_has_both_views() -> None:
    """It has no box, so the plan cannot tell how often its track was compared."""
    sample = seen("", whole=embedding(random_unit(1, 8))).sample
    assert Door().tracker.plan([sample], STEP_NS) == [WHOLE]


def test_detections_that_flicker_take_no_turn_from_an_undecided_face() -> None:
    """Three false detections at other places in every frame are always new."""
    door = Door()
    results = []
    for n in range(20):
        flicker = [(f"x{n}{k}", "", 3000.0 + 5000 * k + 400 * n) for k in range(BUDGET)]
        results += door.show([("a", "alice", 100), *flicker])
    assert (ResultKind.MATCH, "alice") in results
    assert sum(0 in e for e in door.encoded) >= 3
