"""What the shipped networks compute of a person who stays: invokes are counted, no time is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import Pixels, empty_scene, frame, view
from PIL import Image

from edge_oneshot.config import Config, DecisionConfig
from edge_oneshot.matching.attention import WHOLE, Task
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.recognition.glance import CLEAR
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.types import Chip, DecisionKind, Face, Frame, Observation, PadDecision, PadResult, Sample
from edge_oneshot.vision.gates import Gates
from edge_oneshot.vision.schedule import Schedule
from edge_oneshot.vision.steady import Steady
from edge_oneshot.vision.still import LOOK_NS

STEP_NS = 100_000_000


class Invokes:
    """Counts the invokes of one network until the test ends."""

    def __init__(self, runtime: Runtime, patch: pytest.MonkeyPatch) -> None:
        self.count, self._invoke = 0, runtime.invoke
        patch.setattr(runtime, "invoke", self)

    def __call__(self, value: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        self.count += 1
        return self._invoke(value)

    def taken(self) -> int:
        """Since the last call."""
        count, self.count = self.count, 0
        return count


class Visit:
    """Frames 100 ms apart through recognizer and tracker."""

    def __init__(self, recognizer: Recognizer, patch: pytest.MonkeyPatch) -> None:
        self.recognizer, self.now_ns = recognizer, 10**9
        self.tracker = build_tracker(Config(decision=DecisionConfig()), recognizer)
        self.encoder = Invokes(recognizer.pipeline.encoder.runtime, patch)
        locator = recognizer.pipeline.locator
        assert locator is not None
        self.finder, self.refiner = Invokes(locator.finder.runtime, patch), Invokes(locator.refiner.runtime, patch)

    def show(self, pixels: Pixels) -> list[Observation]:
        self.now_ns += STEP_NS
        seen = self.recognizer.follow(frame(pixels, self.now_ns), self.tracker)
        self.results = self.tracker.update(seen, self.now_ns)
        return seen


def with_block(pixels: Pixels, side: int) -> Pixels:
    changed = pixels.copy()
    changed[-side:, :side] = 255 - changed[-side:, :side]
    return changed


def standing(portrait: Pixels, frames: int) -> list[Pixels]:
    """A person who stands still; the noise of the sensor differs."""
    random, still = np.random.default_rng(7), view(portrait, 0).astype(np.float32)
    return [np.clip(still + random.normal(0, 2, still.shape), 0, 255).astype(np.uint8) for _ in range(frames)]


@pytest.fixture
def visit(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> Visit:
    return Visit(recognizer, monkeypatch)


@pytest.mark.parametrize("enrolled", [True, False])
def test_a_decided_person_who_stays_costs_one_invoke_a_second(
    visit: Visit, collins: Pixels, hopper: Pixels, enrolled: bool
) -> None:
    """One view of the face is enough for the re-check."""
    visit.recognizer.enroll("Somebody", collins if enrolled else hopper)
    visit.encoder.taken()
    kinds = []
    for pixels in standing(collins, 10):
        visit.show(pixels)
        kinds += [r.kind.value for r in visit.results]
    assert kinds == ["match" if enrolled else "unknown"]
    # a match: three faces with both views. unknown: one view is clear in all frames but the one whose score is published
    assert visit.encoder.taken() == (6 if enrolled else 9)
    visit.finder.taken(), visit.refiner.taken()
    for pixels in standing(collins, 20):
        visit.show(pixels)
        assert visit.results == []
    assert 1 <= visit.encoder.taken() <= 2
    assert visit.finder.taken() == visit.refiner.taken() <= 6, (
        "nothing moves: two searches a second, and one for a re-check"
    )


def test_a_re_check_looks_at_one_face_and_not_at_the_others(visit: Visit, collins: Pixels) -> None:
    """Three people stand still: the re-checks, three a second in turn, cause no search of the frame and no look at the others."""
    scene = empty_scene((640, 480))
    head = np.asarray(Image.fromarray(collins[:230, 110:340]).resize((200, 200)))
    for x in (6, 219, 432):
        scene[120:320, x : x + 200] = head
    for _ in range(30):  # until all are reported as unknown, and their re-checks have spread
        visit.show(scene)
    assert visit.tracker.present == ([], 3)
    visit.encoder.taken(), visit.finder.taken(), visit.refiner.taken()
    for _ in range(20):
        visit.show(scene)
    assert 5 <= (checks := visit.encoder.taken()) <= 6
    searches = visit.finder.taken()
    assert searches <= 5 and visit.refiner.taken() <= 3 * searches + checks


def test_the_published_score_is_that_of_both_views(visit: Visit, collins: Pixels, hopper: Pixels) -> None:
    visit.recognizer.enroll("Grace", hopper)
    for pixels in standing(collins, 8):
        (seen,) = visit.show(pixels)
    (result,) = visit.results
    assert (result.kind.value, result.observation.one_view) == ("unknown", False)
    again = visit.recognizer.pipeline.encode(seen.sample)
    assert result.observation.decision.score == visit.recognizer.score("grace", again)


@pytest.mark.parametrize("who", [None, "eileen"])
def test_one_view_decides_as_both_do(recognizer: Recognizer, collins: Pixels, hopper: Pixels, who: str | None) -> None:
    recognizer.enroll("Eileen", collins)
    (stranger,) = recognizer.pipeline.samples(frame(view(hopper, 1)))
    (known,) = recognizer.pipeline.samples(frame(view(collins, 1)))
    task = Task(True, brief=True, identity_id=who)
    brief, whole = (recognizer._observe(stranger, t) for t in (task, WHOLE))
    assert (brief.one_view, whole.one_view) == (True, False)
    assert brief.decision.kind is whole.decision.kind is DecisionKind.NON_MATCH
    brief, whole = (recognizer._observe(known, t) for t in (task, WHOLE))
    assert brief.one_view == (who is not None), "a match of whom nothing is known yet has both views"
    assert brief.decision.kind is whole.decision.kind is DecisionKind.MATCH
    assert whole.decision.margin is not None and whole.decision.margin > CLEAR


def test_an_unclear_score_has_both_views(
    make_recognizer: Callable[..., Recognizer], collins: Pixels, hopper: Pixels
) -> None:
    recognizer = make_recognizer(threshold=0.05)
    recognizer.enroll("Eileen", collins)
    (stranger,) = recognizer.pipeline.samples(frame(view(hopper, 1)))
    brief, whole = (recognizer._observe(stranger, t) for t in (Task(True, brief=True), WHOLE))
    assert not brief.one_view
    assert brief.decision == whole.decision


def decided(visit: Visit, collins: Pixels) -> Pixels:
    """An enrolled person was reported, and has been searched for in the last frame. Returns that frame."""
    visit.recognizer.enroll("Eileen", collins)
    still = view(collins, 0)
    for _ in range(5):
        visit.show(still)
    assert visit.tracker.present == (["eileen"], 0)
    visit.now_ns += LOOK_NS
    visit.show(still)
    visit.finder.taken(), visit.refiner.taken(), visit.encoder.taken()
    return still


def test_an_empty_still_scene_is_searched_twice_a_second(visit: Visit) -> None:
    random, wall = np.random.default_rng(3), empty_scene().astype(np.float32)
    for _ in range(50):
        visit.show(np.clip(wall + random.normal(0, 3, wall.shape), 0, 255).astype(np.uint8))
    assert visit.finder.taken() == 10


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: np.roll(p, 60, axis=1), id="a step"),
        pytest.param(lambda p: (p * 0.8).astype(np.uint8), id="a lamp"),
        pytest.param(lambda p: with_block(p, 8), id="something small in a corner"),
    ],
)
def test_a_change_is_searched_at_once(visit: Visit, collins: Pixels, change: Callable[[Pixels], Pixels]) -> None:
    still = decided(visit, collins)
    visit.show(still)
    assert visit.finder.taken() == 0
    visit.show(change(still))
    assert visit.finder.taken() == 1


def test_a_face_that_moves_in_its_place_is_followed_by_the_refiner(visit: Visit, collins: Pixels) -> None:
    still = decided(visit, collins)
    before = visit.recognizer.pipeline.samples(frame(still, visit.now_ns))[0].face
    visit.finder.taken(), visit.refiner.taken()
    (x0, y0), (x1, y1) = (int(before.box.x0), int(before.box.y0)), (int(before.box.x1), int(before.box.y1))
    moved = still.copy()
    moved[y0 + 2 : y1 + 2, x0 + 3 : x1 + 3] = still[y0:y1, x0:x1]
    (seen,) = visit.show(moved)
    assert (visit.finder.taken(), visit.refiner.taken(), visit.encoder.taken()) == (0, 1, 0)
    assert seen.sample.face is not None
    shift = np.mean(seen.sample.face.landmarks[:2] - before.landmarks[:2], axis=0)
    assert shift == pytest.approx((3.0, 2.0), abs=1.0)


def test_nobody_rests_while_a_face_is_undecided(visit: Visit, collins: Pixels) -> None:
    """Frames of an undecided person are pictures of their own, not copies of one."""
    still = view(collins, 0)
    chips = [visit.show(still)[0].sample for _ in range(3)]
    assert visit.finder.taken() == 3
    assert len({id(c) for c in chips}) == 3


def test_new_gates_are_applied_to_the_next_frame(visit: Visit, collins: Pixels) -> None:
    still, pipeline = decided(visit, collins), visit.recognizer.pipeline
    before = pipeline.gates
    try:
        pipeline.gates = Gates(probe=replace(before.probe, min_luma=250.0))
        (seen,) = visit.show(still)
    finally:
        pipeline.gates = before
    assert [f.code for f in seen.decision.faults] == ["too_dark"]


def test_tiles_are_searched_as_often_while_the_scene_rests() -> None:
    nothing = np.zeros((12, 16), dtype=np.bool_)
    watched, rested = Schedule((640, 480)), Schedule((640, 480))
    found = [watched.next(nothing, []) for _ in range(320)]
    resting = [rested.next(nothing, []) if n % 5 == 0 else rested.rest() for n in range(320)]
    assert sum(w is not None for w in found) == 20
    assert sum(w is not None for w in resting) in (19, 20), "the last one may still be due"


def test_a_cut_to_another_person_is_reported_as_soon_as_before(visit: Visit, collins: Pixels, hopper: Pixels) -> None:
    """Frame by frame the second person would be reported after three frames, too."""
    visit.recognizer.enroll("Grace", hopper)
    decided(visit, collins)
    results = []
    for pixels in standing(hopper, 3):
        visit.show(pixels)
        results += [(r.kind.value, r.identity_id) for r in visit.results]
    assert ("match", "grace") in results


def test_no_frame_is_skipped_with_attack_detection(
    visit: Visit, collins: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method may depend on each frame."""

    class Genuine:
        name, frames = "genuine", 0

        def judge(self, frame: Frame, face: Face | None, chip: Chip) -> PadResult:
            self.frames += 1
            return PadResult(decision=PadDecision.BONA_FIDE, score=1.0, method=self.name)

    method = Genuine()
    monkeypatch.setattr(visit.recognizer.pipeline, "pad", method)
    still = decided(visit, collins)
    judged = method.frames
    for _ in range(4):
        visit.show(still)
    assert method.frames == judged + 4


def test_a_dark_face_keeps_its_mean_over_a_rest(visit: Visit, collins: Pixels) -> None:
    """A still scene is searched twice a second, and another face may be measured meanwhile."""
    steady, random = Steady(), np.random.default_rng(1)
    dark = (view(collins, 0) * 0.1).astype(np.float32)

    def shown(ms: int) -> tuple[Sample, Frame]:
        noisy = np.clip(dark + random.normal(0, 6, dark.shape), 0, 255).astype(np.uint8)
        (sample,) = visit.recognizer.pipeline.all_samples(frame(noisy, 10**9 + ms * 10**6))
        return sample, frame(noisy, 10**9 + ms * 10**6)

    first, at = shown(0)
    steady([first], at)
    _, at = shown(100)
    steady([], at)
    second, at = shown(620)
    (seen,) = steady([second], at)
    assert seen is not second and not np.array_equal(seen.chip.pixels, second.chip.pixels)
