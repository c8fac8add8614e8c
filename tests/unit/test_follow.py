"""What the shipped networks compute of a person who stays: invokes are counted, no time is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import Pixels, frame, view

from edge_oneshot.config import Config, DecisionConfig
from edge_oneshot.matching.attention import WHOLE, Task
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.recognition.glance import CLEAR
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.types import DecisionKind, Observation

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

    def show(self, pixels: Pixels) -> list[Observation]:
        self.now_ns += STEP_NS
        seen = self.recognizer.follow(frame(pixels, self.now_ns), self.tracker)
        self.results = self.tracker.update(seen, self.now_ns)
        return seen


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
    for pixels in standing(collins, 20):
        visit.show(pixels)
        assert visit.results == []
    assert 1 <= visit.encoder.taken() <= 2


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
