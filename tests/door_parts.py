"""Visits of strangers and of missed residents, drawn from the cohort of the shipped card."""

from __future__ import annotations

import numpy as np

from edge_oneshot.matching import cohort as rates
from edge_oneshot.matching.door import Depths, Histogram, mated_cdf
from edge_oneshot.model.card import CohortScores
from edge_oneshot.types import Float64Array


def stranger_scores(
    cohort: CohortScores, shape: tuple[int, ...], rng: np.random.Generator, shift: float
) -> Float64Array:
    """Scores of strangers who all score `shift` higher than the cohort."""
    table = np.linspace(-0.3, 0.9, 2401)
    found: Float64Array = np.interp(rng.exponential(size=shape), Depths(cohort)(table), table) + shift
    return found


def missed_scores(cohort: CohortScores, count: int, rng: np.random.Generator, threshold: float) -> Float64Array:
    """Scores of enrolled people below the threshold, as often as the cohort has them."""
    table = np.linspace(0.0, threshold, 500)
    cdf = mated_cdf(cohort, table)
    found: Float64Array = np.interp(rng.uniform(cdf[0], cdf[-1], size=count), cdf, table)
    return found


def true_fmr(cohort: CohortScores, threshold: float, shift: float) -> float:
    return rates.fmr_at(cohort, threshold - shift)


def visits(
    cohort: CohortScores, people: int, count: int, *, threshold: float, shift: float, missed: float, seed: int
) -> Float64Array:
    """float64 (visits, people): the scores of the visits of a door that end unknown. missed: share of enrolled people."""
    rng = np.random.default_rng(seed)
    scores = stranger_scores(cohort, (count, people), rng, shift)
    residents = np.flatnonzero(rng.random(count) < missed)
    scores[residents, rng.integers(people, size=len(residents))] = missed_scores(cohort, len(residents), rng, threshold)
    unknown: Float64Array = scores[scores.max(axis=1) < threshold]
    return unknown


def histogram(scores: Float64Array, threshold: float) -> Histogram:
    h = Histogram()
    for row in scores:
        h.add(row, threshold)
    return h
