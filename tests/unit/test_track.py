"""One track: evidence over time, match, unknown, rejected and gone, and the threshold of a match."""

from __future__ import annotations

from dataclasses import replace

import pytest
from samples import poorly, seen, unit, view_of
from scene import STEP_NS, Scene

from edge_oneshot.config import DecisionConfig
from edge_oneshot.matching.track import ResultKind
from edge_oneshot.types import Candidate, DecisionKind, Observation, Withheld


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_match_is_reported_once_at_the_last_required_frame(scene: Scene) -> None:
    assert scene.show("alice", 2) == []
    assert scene.show("alice", 1) == [(ResultKind.MATCH, "alice")]
    assert scene.show("alice", 50) == []
    assert scene.nobody() == [(ResultKind.GONE, "alice")]
    match, gone = scene.results
    assert match.track == gone.track
    assert (match.frames, gone.frames) == (3, 53)
    assert (gone.first_ns, gone.last_ns) == (STEP_NS, 53 * STEP_NS)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("AAA", True),
        ("A.A", True),
        ("xAxAxA", True),
        ("AAx", False),
        ("A..", False),
        ("A.....A", False),
        ("A....AAAA", True),
    ],
)
def test_all_frames_together_must_reach_the_threshold(scene: Scene, pattern: str, matches: bool) -> None:
    """A: a match with alice (0.8, others 0.2); .: a non-match; x: a frame too poor to compare, which does not count."""
    found = [f for c in pattern for f in scene.show({"A": "alice", ".": "", "x": None}[c], 1)]
    assert found == ([(ResultKind.MATCH, "alice")] if matches else [])


def test_without_a_frame_at_the_threshold_there_is_no_match(scene: Scene) -> None:
    """Frames that differ, with a score of 0.49 each, have evidence over 0.5."""
    views = [view_of(unit(1, 0.8 * (-1) ** i), {"lookalike": 0.49}) for i in range(40)]
    scene.frames(*([replace(seen("", score=0.49), embedding=view)] for view in views))
    assert scene.results == []  # together over the threshold, alone never: neither match nor unknown
    assert scene.nobody() == [(ResultKind.REJECTED, None)]


def test_evidence_must_be_for_one_identity(scene: Scene) -> None:
    for who in ("alice", "bob", "alice", "bob", "alice", "bob"):
        scene.frames([seen(who, score=0.6)])
    assert scene.results == []
    assert scene.show("bob", 3) == [(ResultKind.MATCH, "bob")]


def test_a_match_has_the_best_observation_of_its_identity(scene: Scene) -> None:
    scene.frames([seen("alice", score=0.6)], [seen("bob", score=0.95)], [seen("alice", score=0.9)])
    scene.frames([seen("alice", score=0.7)])
    (match,) = scene.results
    assert match.observation.decision.candidate is not None
    assert (match.observation.decision.candidate.identity_id, match.observation.decision.score) == ("alice", 0.9)


def test_unknown_only_after_enough_good_frames_without_a_match(scene: Scene) -> None:
    assert scene.show(None, 20) == []
    assert scene.show("", 7) == []
    assert scene.show("", 1) == [(ResultKind.UNKNOWN, None)]
    assert scene.show("", 20) == []
    assert scene.nobody() == [(ResultKind.GONE, None)]


def test_unknown_needs_more_poor_frames_than_good_ones(scene: Scene) -> None:
    """A resident who comes nearer is seen poorly first, and is no stranger for that."""
    assert scene.frames(*([poorly("")] for _ in range(31))) == []
    assert scene.frames([poorly("")]) == [(ResultKind.UNKNOWN, None)]


def test_poor_frames_support_a_match(scene: Scene) -> None:
    assert scene.frames(*([poorly("")] for _ in range(20))) == []
    assert scene.frames(*([poorly("alice")] for _ in range(4))) == [(ResultKind.MATCH, "alice")]


def test_a_single_match_delays_unknown_but_does_not_prevent_it(scene: Scene) -> None:
    assert scene.show("", 7) == []
    assert scene.show("alice", 1) == []
    assert scene.show("", 7) == []
    assert scene.show("", 1) == [(ResultKind.UNKNOWN, None)]


def test_unknown_may_still_become_a_match_of_the_same_track(scene: Scene) -> None:
    scene.show("", 8)
    assert scene.show("alice", 3) == [(ResultKind.MATCH, "alice")]
    assert scene.nobody() == [(ResultKind.GONE, "alice")]
    assert len({f.track for f in scene.results}) == 1


def test_a_person_without_a_usable_face_is_rejected(scene: Scene) -> None:
    scene.show(None, 8)
    assert scene.nobody() == [(ResultKind.REJECTED, None)]
    assert [f.code for f in scene.results[0].observation.decision.faults] == ["blurred"]


def test_a_track_of_few_frames_has_no_result(scene: Scene) -> None:
    scene.show(None, 4)
    scene.show("alice", 2)
    assert scene.nobody(50) == []


def test_gone_only_after_its_time_and_also_without_frames(scene: Scene) -> None:
    scene.show("alice", 3)
    last = scene.now_ns
    assert scene.nobody(8) == []
    assert scene.show("alice", 1) == []  # back within the second: the same track
    last = scene.now_ns
    assert scene.tracker.expire(last + 999_999_999) == []
    assert [f.kind for f in scene.tracker.expire(last + 1_000_000_000)] == [ResultKind.GONE]
    assert scene.tracker.expire(last + 10**12) == []


def test_a_person_who_comes_back_is_matched_again(scene: Scene) -> None:
    scene.show("alice", 3)
    scene.nobody()
    assert scene.show("alice", 3) == [(ResultKind.MATCH, "alice")]
    first, _, second = scene.results
    assert second.track > first.track


def test_a_match_is_reported_at_a_frame_of_that_person(scene: Scene) -> None:
    """Two frames of alice have enough evidence for three; the third shows another person."""

    def withheld_now() -> Withheld | None:
        ((_, _, withheld),) = scene.tracker.seen_at(scene.now_ns)
        return withheld

    scene.show("alice", 2)
    assert scene.show("", 1) == [] and withheld_now() is Withheld.NEWEST
    assert scene.show(None, 1) == [] and withheld_now() is None  # it is stated only for the frame that it belongs to
    assert scene.show("alice", 1) == [(ResultKind.MATCH, "alice")] and withheld_now() is None


def at(threshold: float, value: float) -> Observation:
    """Alice with a score, decided with a threshold."""
    sighting = seen("", score=value)
    kind = DecisionKind.MATCH if value >= threshold else DecisionKind.NON_MATCH
    decision = replace(
        sighting.decision, threshold=threshold, kind=kind, candidate=Candidate(identity_id="alice", score=value)
    )
    return replace(sighting, embedding=view_of(unit(1, 0.1), {"alice": value}), decision=decision)


def test_a_raised_threshold_applies_to_earlier_frames(scene: Scene) -> None:
    assert scene.frames([at(0.5, 0.55)], [at(0.5, 0.55)], [at(0.6, 0.59)]) == []


def test_a_match_is_reported_with_a_lowered_threshold(scene: Scene) -> None:
    """A reload, or a removal with target_fpir: the best frame was a non-match when it was captured."""
    assert scene.frames([at(0.6, 0.55)], [at(0.6, 0.55)], [at(0.5, 0.52)]) == [(ResultKind.MATCH, "alice")]
    decision = scene.results[0].observation.decision
    assert (decision.score, decision.threshold, decision.kind) == (0.55, 0.5, DecisionKind.MATCH)
    assert decision.margin is not None and decision.margin > 0


def test_unknown_is_reported_with_a_frame_that_did_not_match(scene: Scene) -> None:
    scene.show("alice", 1)
    scene.show("", 8)
    (result,) = scene.results
    assert result.kind is ResultKind.UNKNOWN and result.observation.decision.kind is DecisionKind.NON_MATCH


def test_one_frame_is_enough_if_so_configured() -> None:
    scene = Scene(DecisionConfig(confirm_frames=1, window_frames=1, unknown_frames=1, gone_after_s=0.1))
    assert scene.show("alice", 1) == [(ResultKind.MATCH, "alice")]
    assert scene.show("", 1, x=500) == [(ResultKind.GONE, "alice"), (ResultKind.UNKNOWN, None)]
