"""Evidence over time: the mean score, and the increase for frames that differ."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import ENCODER, OTHERS, embedding, score, seen, unit, view_of

from edge_oneshot.config import DecisionConfig
from edge_oneshot.matching.evidence import CREDIT, FREE_VIEWS, MAX_VIEWS, MOST_VIEWS, RAISE, Evidence, independent_views
from edge_oneshot.matching.track import ResultKind, Tracker
from edge_oneshot.types import Embedding, Observation, Withheld


def frame(who: str, value: float, view: Embedding) -> Observation:
    return replace(seen(who, score=value), embedding=view_of(view.vector, {who: value}))


def best(evidence: Evidence) -> tuple[str, float]:
    found = evidence.candidate()
    assert found is not None
    return found[0], round(found[1], 5)


def fill(*frames: Observation, limit: int = 10, as_unit: bool = True) -> Evidence:
    evidence = Evidence(limit, score, unit=as_unit)
    for f in frames:
        evidence.add(f)
    return evidence


def worth(evidence: Evidence) -> float:
    return independent_views([o.embedding for o in evidence.newest(len(evidence)) if o.embedding is not None])


FRONT, SIDE = embedding(unit(1, 0, 0)), embedding(unit(0, 1, 0))


def test_without_a_comparison_there_is_no_evidence() -> None:
    assert Evidence(5, score, unit=True).candidate() is None


def test_the_evidence_of_one_frame_is_its_score() -> None:
    assert best(fill(frame("alice", 0.7, FRONT))) == ("alice", 0.7)


def test_the_same_picture_again_adds_nothing() -> None:
    """A photograph that does not move is one view, for any number of frames."""
    evidence = fill(*[frame("alice", 0.7, FRONT)] * 9)
    assert worth(evidence) == pytest.approx(1.0)
    assert best(evidence) == ("alice", 0.7)


def test_frames_that_differ_increase_the_evidence() -> None:
    views = [embedding(unit(1, x, 0)) for x in (-0.5, 0.0, 0.5)]
    evidence = fill(*(frame("alice", s, v) for s, v in zip((0.5, 0.6, 0.7), views, strict=True)))
    total = np.sum([v.vector for v in views], axis=0)
    views_worth = 9 / float(total @ total)
    assert 1.0 < views_worth < MAX_VIEWS
    assert worth(evidence) == pytest.approx(views_worth)
    assert best(evidence) == ("alice", round(0.6 * views_worth**CREDIT, 5))


def test_frames_too_different_to_show_one_person_are_only_averaged() -> None:
    both = fill(frame("alice", 0.9, FRONT), frame("alice", 0.5, embedding(unit(-0.5, 1, 0))))
    assert worth(both) == 1.0 and best(both) == ("alice", 0.7)
    right_angles = fill(frame("alice", 0.9, FRONT), frame("alice", 0.5, SIDE))
    assert worth(right_angles) == pytest.approx(MAX_VIEWS)


def test_the_threshold_of_a_track_rises_with_its_different_views_only() -> None:
    """A stranger who stays and moves is compared many times; a picture that stands still is not."""
    still = fill(*[frame("alice", 0.7, FRONT)] * 50)
    assert still.raised(ENCODER) == 0.0
    few = fill(*(frame("alice", 0.7, embedding(unit(*row))) for row in np.eye(8)[:FREE_VIEWS]))
    assert few.raised(ENCODER) == 0.0
    many = fill(*(frame("alice", 0.7, embedding(unit(*row))) for row in np.eye(192)))
    assert many.raised(ENCODER) == pytest.approx(RAISE * np.log(MOST_VIEWS / FREE_VIEWS))
    assert (
        fill(*(frame("alice", 0.7, embedding(unit(*row))) for row in np.eye(8)), as_unit=False).raised(ENCODER) == 0.0
    )


def test_a_stranger_just_above_the_threshold_matches_early_or_not_at_all() -> None:
    """The scores are those that match within three frames; after thirty other views they are too low."""
    alike = [frame("alice", 0.51, embedding(unit(1, *[0] * 40)))] * 4
    assert fill(*alike[:3]).judge(3).identity_id == "alice"
    before = [replace(seen(""), embedding=view_of(unit(0, *row), {})) for row in np.eye(40)[:30]]
    late = fill(*before, *alike, limit=4).judge(3)
    assert late.identity_id is None and not late.together


def test_embeddings_that_are_not_unit_vectors_are_only_averaged() -> None:
    evidence = fill(frame("alice", 0.9, FRONT), frame("alice", 0.5, SIDE), as_unit=False)
    assert best(evidence) == ("alice", 0.7)


def test_a_frame_of_another_person_counts_with_the_score_of_the_identity_in_it() -> None:
    evidence = fill(frame("alice", 0.8, FRONT), frame("bob", 0.6, FRONT), frame("alice", 0.8, FRONT))
    assert best(evidence) == ("alice", round((0.8 + OTHERS + 0.8) / 3, 5))
    assert {who: len(f) for who, f in evidence.matched().items()} == {"alice": 2, "bob": 1}
    newest = frame("alice", 0.8, FRONT)
    evidence.add(replace(newest, decision=replace(newest.decision, threshold=0.7)))
    assert set(evidence.matched()) == {"alice"}, "the threshold of the newest frame applies to all"


def test_the_candidate_is_that_of_the_newest_frame() -> None:
    assert best(fill(frame("alice", 0.8, FRONT), frame("alice", 0.8, FRONT), frame("bob", 0.6, FRONT)))[0] == "bob"


def test_a_removed_identity_has_no_evidence() -> None:
    evidence = Evidence(5, lambda who, probe: None, unit=True)
    evidence.add(frame("alice", 0.9, FRONT))
    assert evidence.candidate() is None


def test_old_frames_are_forgotten() -> None:
    evidence = fill(*[frame("alice", 0.9, FRONT)] * 5, *[frame("bob", 0.7, SIDE)] * 4, limit=4)
    assert best(evidence) == ("bob", 0.7)
    assert set(evidence.matched()) == {"bob"}


@pytest.mark.parametrize(
    ("shown", "matched", "withheld"),
    [
        ("aa", None, None),  # too few
        ("aaa", "alice", None),
        ("a..", None, None),  # together below the threshold
        ("aa.", None, Withheld.NEWEST),  # alice reaches it in two frames, and in all three together
        ("aa.a", "alice", None),
        ("abab", None, Withheld.DIVIDED),  # together both reach it
        ("aab", None, Withheld.DIVIDED),  # two in three is not more than two in three
        ("aaba", "alice", None),
        ("aaab", None, Withheld.NEWEST),
    ],
)
def test_the_reason_why_a_match_is_withheld(shown: str, matched: str | None, withheld: Withheld | None) -> None:
    """a, b: a match with alice or bob at 0.95; .: a frame without a match. All other scores are 0.2."""
    frames = {"a": frame("alice", 0.95, FRONT), "b": frame("bob", 0.95, FRONT), ".": frame("", 0.3, FRONT)}
    result = fill(*(frames[c] for c in shown)).judge(3)
    assert (result.identity_id, result.withheld) == (matched, withheld)
    assert len(result.frames) == (shown.count("a") if matched else 0)


def test_a_match_is_withheld_if_single_frames_match_another_identity() -> None:
    views = [
        view_of(unit(1, x, 0), {"lookalike": 0.49, "bob": bob}) for x, bob in ((-0.5, 0.6), (0.0, 0.1), (0.5, 0.1))
    ]
    first, *others = (replace(seen("", score=0.49), embedding=v) for v in views)
    result = fill(replace(first, decision=seen("bob", score=0.6).decision), *others).judge(3)
    assert (result.together, result.identity_id, result.withheld) == (True, None, Withheld.DIVIDED)


def test_the_benchmark_measures_the_shipped_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """benchmarks/evidence.py and the tracker of the daemon agree, also on visits longer than the window."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    benchmark = importlib.import_module("evidence")
    config, answers = DecisionConfig(), set()
    for seed in range(300):
        random = np.random.default_rng(seed)
        gallery = np.stack([unit(*v) for v in random.normal(size=(5, 6))])
        close = random.uniform(0.0, 2.0, size=14)[:, None]
        shown = np.stack([unit(*v) for v in random.normal(size=(14, 6)) + close * random.normal(size=6)])
        visit = benchmark.Visit(shown, gallery, 0.6)
        tracker = Tracker(config, lambda a, b: True, visit.score)
        found = [f for i, o in enumerate(visit.observations()) for f in tracker.update([o], i)]
        matched = [f.identity_id for f in found if f.kind is ResultKind.MATCH]
        expected = benchmark.evidence(visit)
        assert expected == (int(matched[0] or -1) if matched else None), seed
        answers.add(expected)
    assert len(answers) == 6  # no identity, and each of the five
