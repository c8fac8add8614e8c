"""Tracks: evidence over time, unknown, gone, rejected, a place taken over, crossings; whole frames, which have no place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from samples import embedding, random_unit, score, seen, unit, view_of

from edge_oneshot.config import DecisionConfig
from edge_oneshot.matching.track import ResultKind, Tracker, TrackResult
from edge_oneshot.types import Candidate, DecisionKind, Embedding, Observation, Withheld

STEP_NS = 100_000_000
CONFIG = DecisionConfig(confirm_frames=3, window_frames=5, unknown_frames=8, gone_after_s=1.0)


def same_direction(a: Embedding, b: Embedding) -> bool:
    return float(a.vector @ b.vector) > 0.5


class Scene:
    """Feeds frames 100 ms apart and keeps what was found."""

    def __init__(self, config: DecisionConfig = CONFIG) -> None:
        self.tracker = Tracker(config, same_direction, self.score)
        self.now_ns = 0
        self.found: list[TrackResult] = []

        self.enrolled_no_more: set[str] = set()

    def score(self, identity_id: str, probe: Embedding) -> float | None:
        return None if identity_id in self.enrolled_no_more else score(identity_id, probe)

    def forget(self, identity_id: str) -> None:
        self.enrolled_no_more.add(identity_id)
        self.tracker.forget(identity_id)

    def frames(self, *frames: Sequence[Observation]) -> list[tuple[ResultKind, str | None]]:
        """One entry a frame; returns what was found by these."""
        new: list[TrackResult] = []
        for observations in frames:
            self.now_ns += STEP_NS
            new += self.tracker.update(observations, self.now_ns)
        self.found += new
        return [(f.kind, f.identity_id) for f in new]

    def show(self, who: str | None, count: int, x: float = 100.0) -> list[tuple[ResultKind, str | None]]:
        return self.frames(*([seen(who, x)] for _ in range(count)))

    def nobody(self, count: int = 12) -> list[tuple[ResultKind, str | None]]:
        return self.frames(*([] for _ in range(count)))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_match_is_told_once_at_the_kth_agreeing_frame(scene: Scene) -> None:
    assert scene.show("alice", 2) == []
    assert scene.show("alice", 1) == [(ResultKind.MATCH, "alice")]
    assert scene.show("alice", 50) == []
    assert scene.nobody() == [(ResultKind.GONE, "alice")]
    match, gone = scene.found
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
    """A = a match with alice (0.8, others 0.2), . = a non-match, x = a frame too poor to compare, which counts for nothing."""
    found = [f for c in pattern for f in scene.show({"A": "alice", ".": "", "x": None}[c], 1)]
    assert found == ([(ResultKind.MATCH, "alice")] if matches else [])


def test_no_number_of_frames_replaces_one_over_the_threshold(scene: Scene) -> None:
    """Frames that differ, at 0.49 each, together exceed 0.5."""
    views = [view_of(unit(1, 0.8 * (-1) ** i), {"lookalike": 0.49}) for i in range(40)]
    scene.frames(*([replace(seen("", score=0.49), embedding=view)] for view in views))
    assert scene.found == []  # together over the threshold, alone never: neither
    assert scene.nobody() == [(ResultKind.REJECTED, None)]


def test_evidence_must_be_for_one_identity(scene: Scene) -> None:
    for who in ("alice", "bob", "alice", "bob", "alice", "bob"):
        scene.frames([seen(who, score=0.6)])
    assert scene.found == []
    assert scene.show("bob", 3) == [(ResultKind.MATCH, "bob")]


def test_the_finding_carries_the_best_observation_of_its_identity(scene: Scene) -> None:
    scene.frames([seen("alice", score=0.6)], [seen("bob", score=0.95)], [seen("alice", score=0.9)])
    scene.frames([seen("alice", score=0.7)])
    (match,) = scene.found
    assert match.observation.decision.candidate is not None
    assert (match.observation.decision.candidate.identity_id, match.observation.decision.score) == ("alice", 0.9)


def test_unknown_only_after_enough_good_frames_without_a_match(scene: Scene) -> None:
    assert scene.show(None, 20) == []
    assert scene.show("", 7) == []
    assert scene.show("", 1) == [(ResultKind.UNKNOWN, None)]
    assert scene.show("", 20) == []
    assert scene.nobody() == [(ResultKind.GONE, None)]


def test_a_lone_match_delays_unknown_but_does_not_prevent_it(scene: Scene) -> None:
    assert scene.show("", 7) == []
    assert scene.show("alice", 1) == []
    assert scene.show("", 7) == []
    assert scene.show("", 1) == [(ResultKind.UNKNOWN, None)]


def test_unknown_may_still_become_a_match_of_the_same_track(scene: Scene) -> None:
    scene.show("", 8)
    assert scene.show("alice", 3) == [(ResultKind.MATCH, "alice")]
    assert scene.nobody() == [(ResultKind.GONE, "alice")]
    assert len({f.track for f in scene.found}) == 1


def test_rejected_when_somebody_stayed_without_a_usable_face(scene: Scene) -> None:
    scene.show(None, 8)
    assert scene.nobody() == [(ResultKind.REJECTED, None)]
    assert [f.code for f in scene.found[0].observation.decision.faults] == ["blurred"]


def test_a_glimpse_is_told_in_no_way(scene: Scene) -> None:
    scene.show(None, 4)
    scene.show("alice", 2)
    assert scene.nobody(50) == []


def test_gone_only_after_the_time_and_also_without_frames(scene: Scene) -> None:
    scene.show("alice", 3)
    last = scene.now_ns
    assert scene.nobody(8) == []
    assert scene.show("alice", 1) == []  # back within the second: the same track
    last = scene.now_ns
    assert scene.tracker.expire(last + 999_999_999) == []
    assert [f.kind for f in scene.tracker.expire(last + 1_000_000_000)] == [ResultKind.GONE]
    assert scene.tracker.expire(last + 10**12) == []


def test_who_comes_back_is_matched_again(scene: Scene) -> None:
    scene.show("alice", 3)
    scene.nobody()
    assert scene.show("alice", 3) == [(ResultKind.MATCH, "alice")]
    first, _, second = scene.found
    assert second.track > first.track


def test_a_place_taken_by_somebody_else_ends_the_track(scene: Scene) -> None:
    scene.show("alice", 10)
    assert scene.show("bob", 7) == []
    assert scene.show("bob", 1) == [(ResultKind.GONE, "alice"), (ResultKind.MATCH, "bob")]
    assert scene.nobody() == [(ResultKind.GONE, "bob")]
    tracks = [f.track for f in scene.found]
    assert tracks[0] == tracks[1] != tracks[2] == tracks[3]


def test_a_place_taken_by_a_stranger_becomes_unknown(scene: Scene) -> None:
    scene.show("alice", 3)
    assert scene.show("", 8) == [(ResultKind.GONE, "alice"), (ResultKind.UNKNOWN, None)]
    assert scene.tracker.present == ([], 1)


def test_a_few_non_matches_do_not_end_a_match(scene: Scene) -> None:
    scene.show("alice", 3)
    for _ in range(5):
        assert scene.show("", 7) == []
        assert scene.show("alice", 1) == []
    assert scene.tracker.present == (["alice"], 0)


def test_two_people_side_by_side_are_two_tracks(scene: Scene) -> None:
    found = scene.frames(*([seen("alice", 0), seen("bob", 300)] for _ in range(5)))
    assert found == [(ResultKind.MATCH, "alice"), (ResultKind.MATCH, "bob")]
    assert scene.tracker.present == (["alice", "bob"], 0)
    assert len(scene.nobody()) == 2
    assert {f.identity_id for f in scene.found if f.kind is ResultKind.GONE} == {"alice", "bob"}


@pytest.mark.parametrize("poor", [0, 6, 14], ids=lambda n: f"{n} poor frames")
def test_two_people_who_pass_each_other_keep_their_names(scene: Scene, poor: int) -> None:
    """Their boxes coincide for a moment, and while they hide each other `poor` frames show no usable face."""
    for i in range(60):
        left, right = 10.0 * i, 600.0 - 10.0 * i
        hidden = abs(i - 30) < poor / 2
        frame = [seen(None if hidden else "alice", left), seen(None if hidden else "bob", right)]
        scene.frames(frame if i % 2 else frame[::-1])
    assert scene.tracker.present == (["alice", "bob"], 0)
    scene.nobody()
    by_track: dict[int, set[str | None]] = {}
    for result in scene.found:
        by_track.setdefault(result.track, set()).add(result.identity_id)
    assert all(len(ids) == 1 for ids in by_track.values())
    for who in ("alice", "bob"):
        told = [f.kind for f in scene.found if f.identity_id == who]
        assert told == [ResultKind.MATCH, ResultKind.GONE] * (len(told) // 2)
    if poor < 12:  # they never lost sight of each other's faces for longer than their boxes overlap
        assert len(scene.found) == 4


def test_two_people_who_hide_each_other_are_told_apart_again(scene: Scene) -> None:
    """Out of sight they change places, and come back too poor to be compared. Once their faces are good, nothing is told:
    each track goes where its person is."""
    scene.frames(*([seen("alice", 100), seen("bob", 180)] for _ in range(5)))
    scene.frames([], [], [])
    scene.frames(*([seen(None, 100), seen(None, 180)] for _ in range(3)))
    scene.frames(*([seen("bob", 100), seen("alice", 180)] for _ in range(12)))
    assert [(f.kind, f.identity_id) for f in scene.found] == [(ResultKind.MATCH, "alice"), (ResultKind.MATCH, "bob")]
    assert scene.tracker.present == (["alice", "bob"], 0)
    assert len(scene.nobody()) == 2


def test_moving_faces_keep_their_tracks(scene: Scene) -> None:
    for i in range(30):
        scene.frames([seen("alice", 10.0 * i), seen("bob", 900 - 10.0 * i)][:: 1 if i % 2 else -1])
    assert len(scene.found) == 2
    far = scene.frames(*([seen("", 2000)] for _ in range(8)))  # a jump across the picture is another track
    assert far == [(ResultKind.UNKNOWN, None)]


def test_who_is_forgotten_before_the_match_is_told_is_not_told_any_more(scene: Scene) -> None:
    """Two frames matched alice; a third, of whoever it is, must not complete a match with somebody who is enrolled no more."""
    scene.show("alice", 2)
    scene.forget("alice")
    assert scene.show("", 7) == []
    assert scene.show("", 1) == [(ResultKind.UNKNOWN, None)]


def test_a_match_is_told_at_a_frame_of_that_person(scene: Scene) -> None:
    """Two frames of alice are strong enough for three; the third shows somebody else."""

    def stood_in_the_way() -> Withheld | None:
        ((_, _, withheld),) = scene.tracker.seen_at(scene.now_ns)
        return withheld

    scene.show("alice", 2)
    assert scene.show("", 1) == [] and stood_in_the_way() is Withheld.NEWEST
    assert scene.show(None, 1) == [] and stood_in_the_way() is None  # said of one frame once
    assert scene.show("alice", 1) == [(ResultKind.MATCH, "alice")] and stood_in_the_way() is None


def at(threshold: float, value: float) -> Observation:
    """Alice at a score, decided by a threshold."""
    sighting = seen("", score=value)
    kind = DecisionKind.MATCH if value >= threshold else DecisionKind.NON_MATCH
    decision = replace(
        sighting.decision, threshold=threshold, kind=kind, candidate=Candidate(identity_id="alice", score=value)
    )
    return replace(sighting, embedding=view_of(unit(1, 0.1), {"alice": value}), decision=decision)


def test_a_raised_threshold_holds_for_the_frames_before_it(scene: Scene) -> None:
    assert scene.frames([at(0.5, 0.55)], [at(0.5, 0.55)], [at(0.6, 0.59)]) == []


def test_a_lowered_threshold_is_what_a_match_is_told_by(scene: Scene) -> None:
    """A reload, or somebody's removal under target_fpir: the best frame was a non-match when it was taken."""
    assert scene.frames([at(0.6, 0.55)], [at(0.6, 0.55)], [at(0.5, 0.52)]) == [(ResultKind.MATCH, "alice")]
    told = scene.found[0].observation.decision
    assert (told.score, told.threshold, told.kind) == (0.55, 0.5, DecisionKind.MATCH)
    assert told.margin is not None and told.margin > 0


def test_a_stranger_who_resembles_several_does_not_lend_a_person_their_score(scene: Scene) -> None:
    """In a large gallery a stranger's best two may score 0.48; whoever is neither of them did not score that."""
    stranger = replace(
        seen("", score=0.49), embedding=view_of(random_unit(10**6, 8), {"bob": 0.49, "eve": 0.48, "alice": 0.0})
    )
    assert scene.frames([stranger], [stranger], [seen("alice", score=0.68)]) == []
    assert scene.show("alice", 3) == [(ResultKind.MATCH, "alice")]


def test_unknown_is_told_by_a_frame_that_did_not_match(scene: Scene) -> None:
    scene.show("alice", 1)
    scene.show("", 8)
    (told,) = scene.found
    assert told.kind is ResultKind.UNKNOWN and told.observation.decision.kind is DecisionKind.NON_MATCH


def test_forgetting_ends_a_track_without_a_word(scene: Scene) -> None:
    scene.show("alice", 5)
    scene.forget("alice")
    assert scene.tracker.present == ([], 0)
    assert scene.nobody() == []


def test_a_forgotten_person_who_stays_becomes_unknown(scene: Scene) -> None:
    scene.show("alice", 5)
    scene.forget("alice")
    assert scene.show("", 8) == [(ResultKind.UNKNOWN, None)]


def test_whole_frames_are_tracked_by_likeness() -> None:
    scene = Scene()
    axis, other = embedding(unit(1, 0)), embedding(unit(0, 1))
    assert scene.frames(*([seen("part-a", whole=axis)] for _ in range(3))) == [(ResultKind.MATCH, "part-a")]
    assert scene.frames(*([seen("part-b", whole=other)] for _ in range(3))) == [(ResultKind.MATCH, "part-b")]
    assert scene.tracker.present == (["part-a", "part-b"], 0)
    assert scene.frames(*([] for _ in range(12))) == [(ResultKind.GONE, "part-a"), (ResultKind.GONE, "part-b")]


def test_one_frame_is_enough_when_so_configured() -> None:
    scene = Scene(DecisionConfig(confirm_frames=1, window_frames=1, unknown_frames=1, gone_after_s=0.1))
    assert scene.show("alice", 1) == [(ResultKind.MATCH, "alice")]
    assert scene.show("", 1, x=500) == [(ResultKind.GONE, "alice"), (ResultKind.UNKNOWN, None)]
