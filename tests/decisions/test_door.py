"""A door's own false match rate: does the interval hold, and what must not move the threshold."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from door_parts import histogram, stranger_scores, true_fmr, visits

from edge_oneshot.matching import door
from edge_oneshot.matching.cohort import score_at_fmr
from edge_oneshot.matching.door import Fit, Histogram, wanted_raise
from edge_oneshot.model.bundle import Bundle
from edge_oneshot.model.card import CohortScores


@pytest.fixture(scope="module")
def cohort(encoder_bundle: Bundle) -> CohortScores:
    found = encoder_bundle.encoder.cohort
    assert found is not None
    return found


def fit(
    cohort: CohortScores, people: int, count: int, claim: float, seed: int, shift: float, missed: float
) -> tuple[Fit, float]:
    threshold = score_at_fmr(cohort, claim)[0]
    scores = visits(cohort, people, count, threshold=threshold, shift=shift, missed=missed, seed=seed)
    return Fit(histogram(scores, threshold), cohort), threshold


def test_the_interval_holds_the_rate_of_simulated_doors(cohort: CohortScores) -> None:
    """40 doors: 3 to 30 people, 100 to 1,000 visits, scores 0 to 0.1 higher than the cohort's, 0 to 10 % missed residents."""
    rng = np.random.default_rng(1)
    held, missed_by = 0, []
    for seed in range(40):
        people, count = int(rng.integers(3, 31)), int(rng.integers(100, 1001))
        claim, shift, missed = float(rng.choice([1e-2, 1e-3, 1e-4])), rng.uniform(0, 0.1), rng.uniform(0, 0.1)
        found, threshold = fit(cohort, people, count, claim, seed, shift, missed)
        rate, low, high = found.fmr(threshold)
        assert 0 < low <= rate <= high <= 1
        held += low <= true_fmr(cohort, threshold, shift) <= high
        missed_by.append(found.missed - missed)
    assert held >= 36
    assert abs(np.mean(missed_by)) < 0.05


def test_a_rate_ten_times_the_claim_is_found_and_raises_the_threshold(cohort: CohortScores) -> None:
    found, threshold = fit(cohort, 10, 1000, 1e-3, 3, 0.1, 0.03)
    rate, low, high = found.fmr(threshold)
    assert true_fmr(cohort, threshold, 0.1) > 8e-3
    assert low > 1e-3 and high < 0.1 and high / low < 15
    raised = wanted_raise(found, threshold, 1e-3)
    assert 0.01 <= raised <= door.MAX_RAISE
    assert found.fmr(threshold + raised)[0] < rate


def test_the_raise_is_bounded(cohort: CohortScores) -> None:
    found, threshold = fit(cohort, 10, 500, 1e-4, 3, 0.25, 0.0)
    assert found.fmr(threshold + door.MAX_RAISE)[1] > 1e-4
    assert wanted_raise(found, threshold, 1e-4) == door.MAX_RAISE == 0.05


@pytest.mark.parametrize("missed", [0.0, 0.05, 0.1])
def test_missed_residents_do_not_raise_the_threshold(cohort: CohortScores, missed: float) -> None:
    for seed in range(8):
        found, threshold = fit(cohort, 5, 600, 1e-3, seed, 0.0, missed)
        assert wanted_raise(found, threshold, 1e-3) == 0.0


def test_without_the_mixture_missed_residents_would_raise_it(
    cohort: CohortScores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MISSED", np.array([0.0, 1e-9]))
    found, threshold = fit(cohort, 5, 600, 1e-3, 0, 0.0, 0.1)
    assert wanted_raise(found, threshold, 1e-3) > 0.0


def test_too_few_visits_give_no_rate(cohort: CohortScores) -> None:
    threshold = score_at_fmr(cohort, 1e-3)[0]
    scores = visits(cohort, 10, 200, threshold=threshold, shift=0.0, missed=0.0, seed=0)
    assert not door.enough(Histogram())
    assert not door.enough(histogram(scores[: door.MIN_VISITS - 1], threshold))
    with pytest.raises(ValueError, match="expected 50 visits"):
        Fit(histogram(scores[:20], threshold), cohort)
    assert door.enough(histogram(scores[: door.MIN_VISITS], threshold))


def test_fewer_visits_give_a_wider_interval(cohort: CohortScores) -> None:
    widths = []
    for count in (60, 250, 2000):
        found, threshold = fit(cohort, 10, count, 1e-3, 5, 0.02, 0.02)
        _, low, high = found.fmr(threshold)
        widths.append(high / low)
    assert widths[0] > 1.5 * widths[1] > 1.5 * widths[2]


def test_the_interval_holds_where_few_people_come_again_and_again(
    cohort: CohortScores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,000 visits of 250 people: their rate differs from that of all people, and the visits do not show by how much."""
    threshold, people, held, narrow = score_at_fmr(cohort, 1e-3)[0], 30, 0, 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        pool = stranger_scores(cohort, (250, people), rng, 0.02)
        truth = float((pool >= threshold).mean())
        seen = pool[rng.integers(250, size=2000)]
        h = histogram(seen[seen.max(axis=1) < threshold], threshold)
        _, low, high = Fit(h, cohort).fmr(threshold)
        held += low <= truth <= high
        with monkeypatch.context() as m:
            m.setattr(door, "VISITORS", 1e9)
            _, low, high = Fit(h, cohort).fmr(threshold)
            narrow += low <= truth <= high
    assert held >= 11 > narrow


def test_visitors_who_score_high_with_everybody_widen_the_interval(cohort: CohortScores) -> None:
    """The scores of one visit depend on each other, so 20 scores of a visit are not 20 trials."""
    threshold = score_at_fmr(cohort, 1e-3)[0]
    scores = visits(cohort, 20, 400, threshold=threshold, shift=0.0, missed=0.0, seed=2)
    shuffled = Fit(histogram(scores, threshold), cohort)
    together = Fit(
        histogram(np.sort(scores.ravel())[np.argsort(np.arange(scores.size))].reshape(scores.shape), threshold), cohort
    )
    assert together.deff > 3 * shuffled.deff
    a, b = shuffled.fmr(threshold), together.fmr(threshold)
    assert b[2] / b[1] > 1.5 * a[2] / a[1]


def test_scores_above_the_lowest_threshold_are_not_used(cohort: CohortScores) -> None:
    threshold = score_at_fmr(cohort, 1e-3)[0]
    scores = visits(cohort, 10, 500, threshold=threshold, shift=0.0, missed=0.0, seed=2)
    h = histogram(scores, threshold)
    before = Fit(h, cohort).fmr(threshold)
    h.counts[door.bins_of(np.array([threshold + 0.02]))] += 3  # of a track that was never sure enough
    after = Fit(h, cohort).fmr(threshold)
    assert after == pytest.approx(before, rel=0.05)


def test_a_histogram_counts_visits_and_comparisons() -> None:
    h = Histogram()
    h.add(np.array([0.1, 0.35, 0.352]), 0.5)
    h.add(np.array([-5.0, 5.0]), 0.45)
    assert (h.visits, h.comparisons, h.cut) == (2, 5, 0.45)
    assert h.counts.sum() == 5 and h.best.sum() == 2 and (h.counts[0], h.counts[-1]) == (1, 1)
    assert h.squares[0] == 3**2 + 2**2 and h.squares[door.bins_of(np.array([0.35]))[0]] == 2**2 + 1
    both = h + h
    assert (both.visits, both.comparisons, both.cut) == (4, 10, 0.45) and (both.squares == 2 * h.squares).all()


def test_the_benchmark_simulates_doors_and_goes_on_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On made-up strangers: unit vectors with a common part, as a camera or a group makes them."""
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    door_rate = importlib.import_module("door_rate")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1200, 64)) + np.repeat([[0.0], [2.0]], 600, axis=0) * np.eye(64)[0]
    population = door_rate.Population(
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        kind=np.repeat(["female x", "male x"], 600),
        mated=np.clip(rng.normal(0.7, 0.15, 2000), 0, 1),
    )
    monkeypatch.setattr(door_rate, "load", lambda *_: population)
    out = tmp_path / "doors.jsonl"
    for doors in ("3", "5"):
        monkeypatch.setattr(sys, "argv", ["door_rate.py", "--doors", doors, "--out", str(out)])
        assert door_rate.main() == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["seed"] for r in rows] == [0, 1, 2, 3, 4]
    assert all(r["low"] is None or 0 < r["low"] <= r["fmr"] <= r["high"] for r in rows)
    assert "5 doors" in capsys.readouterr().out
