"""Tracks that continue: a quick step, a stranger elsewhere, and frames without a usable face."""

from __future__ import annotations

from samples import embedding, score, seen, unit

from edge_oneshot.config import DecisionConfig
from edge_oneshot.matching.track import ResultKind, Tracker, TrackResult
from edge_oneshot.types import Observation

STEP_NS = 100_000_000


def results_of(*frames: list[Observation]) -> tuple[list[tuple[ResultKind, str | None]], Tracker]:
    """The results of a tracker for frames 100 ms apart."""
    tracker = Tracker(DecisionConfig(gone_after_s=1.0), lambda a, b: float(a.vector @ b.vector) > 0.5, score)
    results: list[TrackResult] = []
    for i, frame in enumerate(frames):
        results += tracker.update(frame, (i + 1) * STEP_NS)
    return [(f.kind, f.identity_id) for f in results], tracker


def test_a_quick_step_is_neither_gone_nor_a_second_match() -> None:
    found, tracker = results_of(*[[seen("alice", 100)]] * 4, *[[seen("alice", 400)]] * 20)
    assert found == [(ResultKind.MATCH, "alice")]
    assert tracker.present == (["alice"], 0)


def test_a_stranger_elsewhere_does_not_take_over_a_match() -> None:
    found, _ = results_of(*[[seen("alice", 100)]] * 4, *[[seen("", 400)]] * 20)
    assert found == [(ResultKind.MATCH, "alice"), (ResultKind.UNKNOWN, None), (ResultKind.GONE, "alice")]


def test_whole_frames_that_stay_poor_are_rejected_and_leave_no_one_present() -> None:
    poor = seen(None, whole=embedding(unit(1, 0, 0)))
    found, tracker = results_of(*[[seen("cup", whole=embedding(unit(1, 0, 0)))]] * 4, *[[poor]] * 30, *[[]] * 12)
    assert found == [(ResultKind.MATCH, "cup"), (ResultKind.GONE, "cup"), (ResultKind.REJECTED, None)]
    assert tracker.present == ([], 0)
