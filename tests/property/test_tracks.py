"""Tracks hold their promises on any sequence of frames."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from samples import score, seen

from edge_oneshot.config import DecisionConfig
from edge_oneshot.matching.track import ResultKind, Tracker, TrackResult
from edge_oneshot.types import Observation

SIGHTING = st.tuples(
    st.sampled_from(["alice", "bob", "", None]), st.sampled_from([0.0, 30.0, 60.0, 100.0, 300.0, 330.0, 600.0])
)
FRAMES = st.lists(
    st.tuples(st.lists(SIGHTING, max_size=3), st.sampled_from([50, 100, 100, 100, 300, 2500])), max_size=60
)
CONFIG = st.builds(
    lambda k, more, u, g: DecisionConfig(confirm_frames=k, window_frames=k + more, unknown_frames=u, gone_after_s=g),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(1, 8),
    st.sampled_from([0.1, 0.5, 2.0]),
)


def observed(frames: list[tuple[list[tuple[str | None, float]], int]]) -> list[tuple[list[Observation], int]]:
    """The frames as observations. Each sighting has an embedding of its own, and another one at each call."""
    return [([seen(who, x) for who, x in sightings], step_ms) for sightings, step_ms in frames]


def play(
    config: DecisionConfig, frames: list[tuple[list[tuple[str | None, float]], int]]
) -> tuple[list[TrackResult], Tracker]:
    return replay(config, observed(frames))


def replay(config: DecisionConfig, frames: list[tuple[list[Observation], int]]) -> tuple[list[TrackResult], Tracker]:
    tracker, now_ns, found = Tracker(config, lambda a, b: False, score), 0, []
    for observations, step_ms in frames:
        now_ns += step_ms * 1_000_000
        found += tracker.update(observations, now_ns)
    found += tracker.expire(now_ns + 10**12)
    return found, tracker


@given(CONFIG, FRAMES)
def test_promises(config: DecisionConfig, frames: list[tuple[list[tuple[str | None, float]], int]]) -> None:
    found, tracker = play(config, frames)
    assert tracker.present == ([], 0)
    by_track: dict[int, list[TrackResult]] = defaultdict(list)
    for result in found:
        by_track[result.track].append(result)
    for results in by_track.values():
        verdicts = [f.kind for f in results]
        # one track tells: unknown at most once, a match at most once, then gone; or that it was rejected; nothing else
        assert verdicts in (
            [ResultKind.MATCH, ResultKind.GONE],
            [ResultKind.UNKNOWN, ResultKind.GONE],
            [ResultKind.UNKNOWN, ResultKind.MATCH, ResultKind.GONE],
            [ResultKind.REJECTED],
        ), verdicts
        named = {f.identity_id for f in results if f.identity_id is not None}
        assert len(named) <= 1
        assert (ResultKind.MATCH in verdicts) == bool(named)
        for result in results:
            assert result.first_ns <= result.last_ns
            if result.kind is ResultKind.MATCH:
                assert result.observation.decision.candidate is not None
                assert result.observation.decision.candidate.identity_id == result.identity_id
                assert result.frames >= config.confirm_frames


@given(CONFIG, FRAMES)
def test_nothing_is_told_of_people_who_never_matched(
    config: DecisionConfig, frames: list[tuple[list[tuple[str | None, float]], int]]
) -> None:
    shown = {who for sightings, _ in frames for who, _ in sightings if who}
    found, _ = play(config, frames)
    assert {f.identity_id for f in found} <= shown | {None}


@given(CONFIG, FRAMES)
def test_the_same_frames_give_the_same_findings(
    config: DecisionConfig, frames: list[tuple[list[tuple[str | None, float]], int]]
) -> None:
    shown = observed(frames)
    first, second = ([(f.kind, f.track, f.identity_id, f.frames) for f in replay(config, shown)[0]] for _ in range(2))
    assert first == second
