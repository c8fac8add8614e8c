"""The false match rate of one door, from the scores of its unknown visitors. Pure: counts in, rates out.

Each visit that ends unknown gives one score for each enrolled person. A histogram keeps how many scores fell into each bin,
over all visits; it holds no embedding and no name. The scores are censored: a visit that reaches the threshold ends as a
match and is not counted. So the rate at the threshold is an extrapolation of the scores below it.

Model. Above a score u, where p_u of the comparisons lie, strangers follow the tail of the card's cohort, stretched:

    P(score > x) = p_u exp(-h(D(m + (x - u) / b) - D(m))),   h(d) = (exp(g d) - 1) / g,   D(m) = -ln p_u

with D(x) = -ln FMR(x) of the cohort, b the stretch and g the curvature. A share r of the visits are enrolled people who were
missed. Their score against themselves follows the cohort's mated scores below the threshold, F(x)^k / F(threshold)^k; k < 1
stands for captures poorer than the cohort's. All four are unknown: the likelihood of the bins between u and the threshold is
evaluated on a grid of (b, g, r, k), with a prior around the cohort's own shape, and integrated. Scores of one visit depend on
each other, so the likelihood is raised to 1 / deff, where deff is the variance of the number of high scores in a visit over
its mean (the design effect, Kish 1965). Visits are not as many people: who comes is drawn again and again from VISITORS people,
which raises the variance of a mean over visits by the factor 1 + visits / VISITORS. benchmarks/door_rate.py measures how often
the interval holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.matching import cohort as rates
from edge_oneshot.model.card import CohortScores
from edge_oneshot.types import Float64Array

IntArray = NDArray[np.intp]
LOWEST, WIDTH, BINS = -0.2, 0.01, 120  # scores outside -0.2 to 1.0 are counted in the first or the last bin
EDGES: Float64Array = LOWEST + WIDTH * np.arange(BINS + 1, dtype=np.float64)
MIN_VISITS = 50
MIN_TAIL = 10  # comparisons between u and the threshold
MIN_BINS = 5
TAIL_SHARES = (0.04, 0.20)  # of the comparisons that are the tail: as few as give TAIL_COUNT, within these limits
TAIL_COUNT = 150.0
CLUMP_VISITS = 20
MODEL_SD = 0.15  # of ln(rate): the model is not exact
MAX_LOST = 0.8
MIN_DEFF = 1.5
VISITORS = 500.0  # unknown people who pass one door: nothing is kept by which to count them

STRETCH = np.exp(np.linspace(-0.8, 0.8, 25))
CURVATURE = np.linspace(-0.24, 0.24, 13)
MISSED = np.array([0.0, 0.005, 0.01, 0.02, 0.03, 0.045, 0.065, 0.09, 0.12, 0.16, 0.22, 0.3, 0.45])
POORER = np.array([0.35, 0.6, 1.0])
STRETCH_SD, CURVATURE_SD, MISSED_MEAN = 0.25, 0.08, 0.1
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
COVERAGE = 0.95


@dataclass(slots=True)
class Histogram:
    """Counts of the scores of visits that ended unknown. `cut`: the lowest threshold at which one was collected.

    counts: comparisons in each bin, (BINS,). squares: over visits, the sum of the squared number of comparisons in this
    bin or above. best: visits by their highest score.
    """

    visits: int = 0
    comparisons: int = 0
    cut: float = math.inf
    counts: Float64Array = field(default_factory=lambda: np.zeros(BINS))
    squares: Float64Array = field(default_factory=lambda: np.zeros(BINS))
    best: Float64Array = field(default_factory=lambda: np.zeros(BINS))

    def add(self, scores: Float64Array, threshold: float) -> None:
        """One visit. scores: one for each enrolled person, (N,), N >= 1. threshold: in force at that time."""
        one = np.bincount(bins_of(scores), minlength=BINS).astype(np.float64)
        self.visits += 1
        self.comparisons += len(scores)
        self.cut = min(self.cut, threshold)
        self.counts += one
        self.squares += above(one) ** 2
        self.best[bins_of(scores.max())] += 1

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(
            visits=self.visits + other.visits,
            comparisons=self.comparisons + other.comparisons,
            cut=min(self.cut, other.cut),
            counts=self.counts + other.counts,
            squares=self.squares + other.squares,
            best=self.best + other.best,
        )


def bins_of(scores: Float64Array) -> IntArray:
    """The bin of each score."""
    found: IntArray = np.clip(np.floor((np.asarray(scores) - LOWEST) / WIDTH + 1e-9), 0, BINS - 1).astype(np.intp)
    return found


def above(counts: Float64Array) -> Float64Array:
    """For each bin, the sum of it and of all higher ones."""
    found: Float64Array = np.cumsum(counts[::-1])[::-1]
    return found


class Fit:
    """The posterior of one histogram of which there is `enough`. cohort: the card's, with mated scores."""

    def __init__(self, h: Histogram, cohort: CohortScores) -> None:
        if not enough(h) or not cohort.fnmrs:
            raise ValueError(f"expected {MIN_VISITS} visits and mated scores of the cohort, got {h.visits} visits")
        u, cut = tail_bins(h)
        mean, variance = tail_moments(h, u)
        self.deff = max(MIN_DEFF, variance / mean) * (1 + h.visits / VISITORS)
        counts = h.counts[u:cut]
        self._u, n = EDGES[u], counts.sum()
        self._depth = Depths(cohort)
        share = n / h.comparisons
        self._m = self._depth.score_at(-math.log(share))
        survival = np.exp(-self._bent(EDGES[u : cut + 1]))  # (bins + 1, B, G)
        masses = (survival[:-1] - survival[1:]) / (1 - survival[-1])
        cdf = mated_cdf(cohort, EDGES[: cut + 1])[:, None] ** POORER  # (cut + 1, K)
        mated = np.diff(cdf / cdf[-1], axis=0)[u:]  # (bins, K)
        missed = MISSED[:, None] * h.visits * mated.sum(axis=0)  # (R, K) comparisons of the tail
        shares = np.clip(missed / n, 0, 0.999)
        # (bins, B, G, R, K)
        p = masses[..., None, None] * (1 - shares) + (mated / mated.sum(axis=0))[:, None, None, None, :] * shares
        log_likelihood = np.einsum("i,ibgrk->bgrk", counts, np.log(np.maximum(p, 1e-300))) / self.deff
        prior = (
            -0.5 * (np.log(STRETCH)[:, None, None, None] / STRETCH_SD) ** 2
            - 0.5 * (CURVATURE[:, None, None] / CURVATURE_SD) ** 2
            - MISSED[:, None] / MISSED_MEAN
            + np.log(np.gradient(MISSED))[:, None]
        )
        total = np.where(missed / n < 0.999, log_likelihood + prior, -np.inf)
        self._weights = np.exp(total - total.max())
        self._weights /= self._weights.sum()
        strangers = (n * (1 - shares)) / (1 - survival[-1])[..., None, None]  # comparisons above u, also those not seen
        seen = n * (1 - shares)
        self._rate_u = strangers / (h.comparisons - MISSED[:, None] * h.visits + strangers - seen)
        self._sd_u = np.sqrt(self.deff / np.maximum(seen, 1.0) + MODEL_SD**2)
        # Visitors differ: some score high against everybody (variance v of their rate, Gamma distributed, mean 1). Such a
        # visitor is more likely to match, and then is not counted. With F the rate of all visitors, f of those counted, and N
        # people, f = F / (1 + v N F).
        v = max(0.0, variance - mean) / mean**2
        lost = v * h.comparisons / h.visits * self._rate_u * survival[-1][..., None, None]
        self._rate_u = self._rate_u / (1 - np.minimum(lost, MAX_LOST))
        self.missed = float((self._weights.sum(axis=(0, 1, 3)) * MISSED).sum())
        self._matters = self._weights > 1e-5 * self._weights.max()  # the others move no quantile
        self.clump = clump(h)

    def _bent(self, scores: Float64Array) -> Float64Array:
        """-ln P(score > x | score > u), (len(scores), B, G)."""
        d = self._depth(self._m + (scores[:, None] - self._u) / STRETCH) - self._depth(np.array(self._m))
        g = np.where(CURVATURE == 0, 1e-9, CURVATURE)
        found: Float64Array = np.expm1(np.minimum(g * np.maximum(d, 0)[..., None], 50.0)) / g
        return found

    def fmr(self, score: float) -> tuple[float, float, float]:
        """(rate, low, high) of one comparison at a threshold: the posterior's median and its central COVERAGE interval."""
        log_rate = np.log(self._rate_u) - self._bent(np.array([score]))[0][..., None, None]
        sd = np.broadcast_to(self._sd_u, log_rate.shape)[self._matters]
        values = log_rate[self._matters][:, None] + sd[:, None] * NODES
        weights = self._weights[self._matters][:, None] * NODE_WEIGHTS
        order = np.argsort(values, axis=None)
        cumulative = np.cumsum(weights.ravel()[order])
        wanted = np.array([0.5, (1 - COVERAGE) / 2, (1 + COVERAGE) / 2]) * cumulative[-1]
        found = np.exp(values.ravel()[order][np.searchsorted(cumulative, wanted)])
        middle, low, high = (float(min(1.0, max(rates.MIN_RATE, v))) for v in found)
        return middle, low, high


def enough(h: Histogram) -> bool:
    """Whether a rate can be stated: MIN_VISITS, and MIN_TAIL scores between u and the threshold."""
    if h.visits < MIN_VISITS:
        return False
    u, cut = tail_bins(h)
    return u >= 0 and h.counts[u:cut].sum() >= MIN_TAIL


def tail_bins(h: Histogram) -> tuple[int, int]:
    """(the bin at which the tail begins, the first bin that is not whole below the lowest threshold)."""
    cut = int(bins_of(np.array([h.cut]))[0])
    share = min(max(TAIL_COUNT / h.comparisons, TAIL_SHARES[0]), TAIL_SHARES[1])
    u = int(np.flatnonzero(above(h.counts) >= share * h.comparisons)[-1])
    return min(u, cut - MIN_BINS), cut


def tail_moments(h: Histogram, u: int) -> tuple[float, float]:
    """Mean and variance of a visit's number of comparisons in the tail."""
    mean = float(above(h.counts)[u] / h.visits)
    return mean, max(0.0, float(h.squares[u] / h.visits) - mean**2)


def clump(h: Histogram) -> float:
    """Comparisons above a high score for each visit with one: how far FPIR is below the number of people times FMR."""
    best = above(h.best)
    at = int(np.flatnonzero(best >= min(CLUMP_VISITS, h.visits))[-1])
    return max(1.0, float(above(h.counts)[at] / best[at]))


class Depths:
    """D(x) = -ln FMR(x) of a cohort, on a table of scores."""

    def __init__(self, cohort: CohortScores) -> None:
        self._scores = np.arange(-1.0, 1.6, 0.005)
        values = np.array([-math.log(min(1.0, rates.fmr_at(cohort, float(s)))) for s in self._scores])
        self._depths = np.maximum.accumulate(values)

    def __call__(self, scores: Float64Array) -> Float64Array:
        found: Float64Array = np.interp(scores, self._scores, self._depths)
        return found

    def score_at(self, depth: float) -> float:
        return float(np.interp(depth, self._depths, self._scores))


def mated_cdf(cohort: CohortScores, scores: Float64Array) -> Float64Array:
    """The share of mated comparisons below each score; 0 at a score of 0, linear in its logarithm above the lowest measured."""
    known = np.exp(np.interp(scores, cohort.fnmr_scores, np.log(cohort.fnmrs)))
    first = cohort.fnmr_scores[0]
    low = cohort.fnmrs[0] * np.clip(scores / first if first > 0 else 1.0, 1e-3, 1.0)
    return np.where(scores < first, low, known)


MAX_RAISE, STEP = 0.05, 0.005


def wanted_raise(fit: Fit, threshold: float, claim: float) -> float:
    """The least raise of a threshold at which the door's rate is not known to exceed the claim, 0 to MAX_RAISE in STEPs."""
    for step in range(round(MAX_RAISE / STEP)):
        if fit.fmr(threshold + step * STEP)[1] <= claim:
            return round(step * STEP, 4)
    return MAX_RAISE
