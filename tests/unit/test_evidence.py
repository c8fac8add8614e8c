"""Evidence over time: the mean score, and what frames that differ add to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from samples import embedding, seen, unit

from edge_oneshot.matching.evidence import CREDIT, MAX_VIEWS, Evidence
from edge_oneshot.types import Embedding, Observation


def frame(who: str, score: float, view: Embedding) -> Observation:
    return replace(seen(who, score=score), embedding=view)


def best(evidence: Evidence) -> tuple[str, float]:
    found = evidence.best()
    assert found is not None
    return found[0], round(found[1], 5)


def fill(*frames: Observation, limit: int = 10, as_unit: bool = True) -> Evidence:
    evidence = Evidence(limit, unit=as_unit)
    for f in frames:
        evidence.add(f)
    return evidence


FRONT, SIDE = embedding(unit(1, 0, 0)), embedding(unit(0, 1, 0))


def test_nobody_compared_gives_no_evidence() -> None:
    assert Evidence(5, unit=True).best() is None


def test_one_frame_is_its_own_evidence() -> None:
    assert best(fill(frame("alice", 0.7, FRONT))) == ("alice", 0.7)


def test_the_same_picture_again_adds_nothing() -> None:
    """A photograph held still is one view, however long it is held."""
    evidence = fill(*[frame("alice", 0.7, FRONT)] * 9)
    assert evidence.independent_views() == pytest.approx(1.0)
    assert best(evidence) == ("alice", 0.7)


def test_differing_frames_add_by_what_they_differ() -> None:
    views = [embedding(unit(1, x, 0)) for x in (-0.5, 0.0, 0.5)]
    evidence = fill(*(frame("alice", s, v) for s, v in zip((0.5, 0.6, 0.7), views, strict=True)))
    total = np.sum([v.vector for v in views], axis=0)
    views_worth = 9 / float(total @ total)
    assert 1.0 < views_worth < MAX_VIEWS
    assert evidence.independent_views() == pytest.approx(views_worth)
    assert best(evidence) == ("alice", round(0.6 * views_worth**CREDIT, 5))


def test_a_track_of_mixed_people_gets_no_more_than_one_person_can() -> None:
    opposite = embedding(unit(-1, 0, 0))
    assert fill(frame("alice", 0.7, FRONT), frame("alice", 0.7, opposite)).independent_views() == MAX_VIEWS


def test_frames_that_cannot_be_weighed_only_average() -> None:
    evidence = fill(frame("alice", 0.9, FRONT), frame("alice", 0.5, SIDE), as_unit=False)
    assert best(evidence) == ("alice", 0.7)


def test_who_is_not_among_the_best_two_is_counted_as_the_second() -> None:
    """seen() has a runner-up at 0.2: that is the most alice can have had where bob was first."""
    evidence = fill(frame("alice", 0.8, FRONT), frame("bob", 0.6, FRONT), frame("alice", 0.8, FRONT))
    assert best(evidence) == ("alice", 0.6)
    assert {who: len(f) for who, f in evidence.matched(0.5).items()} == {"alice": 2, "bob": 1}
    assert set(evidence.matched(0.7)) == {"alice"}


def test_old_frames_are_forgotten() -> None:
    evidence = fill(*[frame("alice", 0.9, FRONT)] * 5, *[frame("bob", 0.7, SIDE)] * 4, limit=4)
    assert best(evidence) == ("bob", 0.7)
    assert set(evidence.matched(0.5)) == {"bob"}
