"""The cohort: exact counts, the fitted tail, and claims that hold for people outside the cohort."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
from decision_parts import COSINE, cohort, crowd, fitted

from edge_oneshot.errors import EdgeOneshotError, ModelError
from edge_oneshot.evaluation import identification
from edge_oneshot.evaluation.cohort_fit import fit, fit_tail, scores_at_rates
from edge_oneshot.evaluation.cohort_scores import EncodedCohort
from edge_oneshot.evaluation.gallery_rates import gallery_curves
from edge_oneshot.evaluation.metrics import effective_number, weighted_quantiles
from edge_oneshot.matching import cohort as rates
from edge_oneshot.matching.threshold import Target, threshold_for
from edge_oneshot.model.card import Tail
from edge_oneshot.model.card_reader import parse_cohort

EDGES = np.linspace(0.0, 1.0, 11)


def by_enumeration(score: np.ndarray, copies: list[int], size: int, at: float) -> list[float]:
    """The share of galleries in which each identity's probe is a false positive, by enumeration of all galleries."""
    people = [i for i, n in enumerate(copies) for _ in range(n)]
    found = []
    for probe in range(len(copies)):
        galleries = list(itertools.combinations([i for i in people if i != probe], size))
        found.append(float(np.mean([max(score[probe, j] for j in g) >= at for g in galleries])))
    return found


@pytest.mark.parametrize("copies", [[1] * 7, [2, 0, 1, 3, 1, 0, 1]], ids=["each once", "resampled"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_gallery_curves_equal_the_enumeration_of_all_galleries(copies: list[int], size: int) -> None:
    score = np.random.default_rng(3).random((7, 7)).astype(np.float32)
    found = gallery_curves(score, np.array(copies), EDGES, (size,))[0]
    for b in (0, 3, 5, 8, 9):
        np.testing.assert_allclose(found[:, b], by_enumeration(score, copies, size, EDGES[b]), atol=1e-6)


def test_the_effective_number_of_people() -> None:
    assert effective_number(np.ones(40)) == pytest.approx(40)
    assert effective_number(np.array([1000.0] + [1.0] * 39)) < 2, "one person dominates the rate"
    assert effective_number(np.zeros(3)) == 0


def test_a_rate_below_the_curve_has_no_score() -> None:
    at = scores_at_rates(np.array([0.5, 0.1, 0.01, 0.0]), np.array([0.0, 0.1, 0.2, 0.3]), (0.1, 0.03, 0.01, 0.001))
    assert at[0] == pytest.approx(0.1) and 0.1 < at[1] < 0.2 and at[2] == pytest.approx(0.2) and math.isnan(at[3])


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.2])
def test_the_tail_fit_recovers_the_distribution_and_resists_a_few_wrong_labels(shape: float) -> None:
    tail = Tail(from_score=0.4, rate=1.0, shape=shape, scale=0.05)
    drawn = np.sort([rates.tail_score(tail, u) for u in np.random.default_rng(5).random(20000)])
    end = float(drawn[-20])
    for scores in (drawn, np.concatenate([drawn[:-10], np.full(10, 0.99 if shape < 0 else 5.0)])):
        found_shape, found_scale = fit_tail(scores, np.full(scores.size, 1e-7), 0.4, end)
        assert found_shape == pytest.approx(shape, abs=0.04) and found_scale == pytest.approx(0.05, rel=0.06)


def test_quantiles_use_the_weights() -> None:
    assert weighted_quantiles(np.array([0.3, 0.1, 0.2]), np.array([0.2, 0.7, 0.1]), (0.5, 0.75, 0.99)) == [
        0.1,
        0.2,
        0.3,
    ]


def test_the_same_images_give_the_same_cohort() -> None:
    small = crowd(60, 2, seed=2)
    assert fit(small, COSINE, "p", rounds=3) == fit(small, COSINE, "p", rounds=3)


def test_too_few_people_are_refused() -> None:
    with pytest.raises(EdgeOneshotError, match=r"10 people.*at least 20"):
        fit(crowd(10, 2, seed=2), COSINE, "p")


def test_a_rate_counts_as_measured_only_with_many_people_behind_it() -> None:
    c, raw = cohort(), fitted()
    assert 2e-5 < c.measured_to_fmr < 2e-3, "500 people are 124,750 pairs, and 1e-5 of them is one pair"
    assert c.measured_to_fpir[-1] >= 10 * c.measured_to_fpir[0], (
        "large galleries reach the limit of counting at a higher FPIR"
    )
    for interval, row in zip(raw["gallery_ci95"][0], raw["gallery_scores"][0], strict=True):
        assert interval is None or interval[0] - 0.01 <= row <= interval[1] + 0.01


def test_every_pair_of_people_has_the_same_weight() -> None:
    e = crowd(25, 2, seed=3)  # the first three people have twenty times as many images
    scores, edges = EncodedCohort(e, COSINE), np.linspace(-1.001, 1.001, 2003)
    owners = np.array([p.person for p in e.images])
    names = np.unique(owners)
    shares = [
        float((e.vectors[owners == a] @ e.vectors[owners == b].T >= edges[1200]).mean())
        for a in names
        for b in names
        if a != b
    ]
    assert float(scores.pair_counts(edges)[1200:].sum()) == pytest.approx(np.mean(shares), abs=1e-9)
    _, weights, _, _ = scores.exceedances(float(edges[1200]))
    assert float(weights.sum()) == pytest.approx(np.mean(shares), rel=1e-6)


def test_scores_rise_with_gallery_size_and_lower_rates_and_map_back_to_the_rates() -> None:
    c = cohort()
    sizes, wanted = [1, 1.5, 2, 3, 7, 10, 49, 100, 150, 200, 249, 400, 1000, 50000], [0.3, 0.1, 0.01, 1e-3, 1e-5, 1e-7]
    table = np.array([[rates.score_at_fpir(c, p, n)[0] for p in wanted] for n in sizes])
    assert (np.diff(table, axis=0) >= -1e-9).all() and (np.diff(table, axis=1) > 0).all() and (table < 1.5).all()
    for n in (1, 10, 150, 1000):
        for p in (0.1, 0.01, 1e-4):
            assert rates.fpir_at(c, rates.score_at_fpir(c, p, n)[0], n) == pytest.approx(p, rel=1e-3)
    for f in (0.2, 1e-2, 1e-3, 1e-5):
        assert rates.fmr_at(c, rates.score_at_fmr(c, f)[0]) == pytest.approx(f, rel=2e-2)
    assert rates.score_at_fpir(c, 0.1, 10)[1] is False and rates.score_at_fpir(c, 1e-6, 10)[1] is True
    assert rates.score_at_fpir(c, 0.1, 50000)[1] is True


def test_one_comparison_is_a_gallery_of_one() -> None:
    c = cohort()
    for rate in (0.1, 0.01, 1e-3):
        assert rates.score_at_fpir(c, rate, 1)[0] == pytest.approx(rates.score_at_fmr(c, rate)[0], abs=0.01)


@pytest.mark.parametrize("size", [10, 50, 200])
def test_the_claim_holds_for_people_outside_the_cohort(size: int) -> None:
    strangers = crowd(700, 2, seed=9)
    threshold = threshold_for(Target(fpir=0.05), None, cohort(), [1] * size)
    found = [
        identification.measure(strangers, identification.draw(strangers, COSINE, size, seed), threshold, 0.05)
        for seed in range(8)
    ]
    mean = float(np.mean([r.fpir for r in found]))
    assert 0.025 <= mean <= 0.1, mean
    assert all(r.ci95["fpir"].low <= r.fpir <= r.ci95["fpir"].high for r in found)


def test_several_templates_of_a_person_are_accounted_for() -> None:
    """The measured exponent predicts how often strangers match the best of three templates of 50 people."""
    c, other = cohort(), crowd(700, 4, seed=11)
    people = np.array([p.person for p in other.images])
    names = np.unique(people)
    picks = np.concatenate([np.flatnonzero(people == n)[:3] for n in names[:50]])
    probes = np.array([np.flatnonzero(people == n)[0] for n in names[50:]])
    best = (other.vectors[probes] @ other.vectors[picks].T).max(axis=1)
    threshold = threshold_for(Target(fpir=0.05), None, c, [3] * 50)
    assert 0.025 <= (best >= threshold.value).mean() <= 0.1
    assert threshold.value > threshold_for(Target(fpir=0.05), None, c, [1] * 50).value
    assert threshold.identities == 50


WRONG: list[tuple[str, Any, str]] = [
    ("fmrs", [], "fmr"),
    ("fmrs", [0.1, 0.2], "fmr_scores"),
    ("fmr_scores", "no", "fmr_scores"),
    ("measured_to_fmr", 0, "measured_to_fmr"),
    ("gallery_sizes", [1, 1], "gallery_sizes"),
    ("gallery_sizes", [1.5], "gallery_sizes"),
    ("fpirs", [0.1, 0.2], "fpirs"),
    ("gallery_scores", [], "gallery_scores"),
    ("gallery_scores", None, "gallery_scores"),
    ("measured_to_fpir", [0.1], "gallery_scores"),
    ("tail", None, "tail"),
    ("tail", {"kind": "normal"}, "tail.kind"),
    ("template_exponent", 2, "template_exponent"),
    ("identities", 1, "identities"),
    ("protocol", "", "protocol"),
    ("fnmr_scores", [0.1], "fnmr_scores"),
]


@pytest.mark.parametrize(("field", "value", "named"), WRONG, ids=lambda v: str(v)[:20])
def test_a_wrong_field_of_a_cohort_is_named(field: str, value: Any, named: str) -> None:
    parse_cohort(fitted(), "x.json")
    with pytest.raises(ModelError) as caught:
        parse_cohort({**copy.deepcopy(fitted()), field: value}, "x.json")
    assert "x.json" in caught.value.message and named in caught.value.message


def test_a_falling_row_is_refused() -> None:
    raw = copy.deepcopy(fitted())
    raw["gallery_scores"][2][1] = raw["gallery_scores"][2][0] - 0.1
    with pytest.raises(ModelError, match=r"gallery_scores\[2\]"):
        parse_cohort(raw, "x.json")
