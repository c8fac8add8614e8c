"""Error rates and thresholds from the scores of a cohort (card.CohortScores), for a gallery of any size.

The scores were measured on people who are in no gallery. Beyond the measured range a generalized Pareto tail continues
them (Pickands 1975; Coles 2001, chapter 4), and every result states whether it is extrapolated.

FMR is the rate for a comparison of a probe with one template; FPIR(N) is the rate for a probe against a gallery of N
identities (ISO/IEC 19795-1). Pure: no numpy arrays, no I/O.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from edge_oneshot.model.card import CohortScores, Tail

MIN_RATE = 1e-12


def effective_size(templates: Iterable[int], exponent: float) -> float:
    """The number of one-template identities that match a stranger as often as this gallery.

    templates: number of comparable templates of each identity. The best of k templates matches a stranger about
    k ** exponent times as often as one template.
    """
    return math.fsum(math.pow(k, exponent) for k in templates if k > 0)


def score_at_fmr(cohort: CohortScores, fmr: float) -> tuple[float, bool]:
    """(score, extrapolated) for a false match rate per comparison, 0 < fmr < 1."""
    if fmr < cohort.measured_to_fmr:
        return _anchored_tail(cohort, fmr), True
    return _interpolate([-math.log(r) for r in cohort.fmrs], cohort.fmr_scores, -math.log(fmr)), fmr > cohort.fmrs[0]


def fmr_at(cohort: CohortScores, score: float) -> float:
    """The false match rate per comparison at a score: the share of the cohort's non-mated pairs that reach it."""
    end = score_at_fmr(cohort, cohort.measured_to_fmr)[0]
    if score > end:  # the inverse of _anchored_tail: the fitted tail, moved to where the counts end
        moved = tail_score(cohort.tail, cohort.measured_to_fmr)
        return max(MIN_RATE, cohort.measured_to_fmr * _survival(cohort.tail, moved, moved + score - end))
    return math.exp(-_interpolate(cohort.fmr_scores, [-math.log(r) for r in cohort.fmrs], score))


def score_at_fpir(cohort: CohortScores, fpir: float, size: float) -> tuple[float, bool]:
    """(score, extrapolated) for a false positive identification rate against `size` identities, size >= 1.

    Measured sizes and rates are interpolated in their logarithms. Beyond the largest measured gallery and below the
    lowest measured rate, FPIR is taken to grow like the number of identities (a union bound), which is conservative.
    """
    sizes = cohort.gallery_sizes
    if size > sizes[-1]:
        return score_at_fpir(cohort, max(MIN_RATE, fpir * sizes[-1] / size), sizes[-1])[0], True
    high = min(bisect_right(sizes, size), len(sizes) - 1)
    low = max(0, high - 1)
    (a, beyond_a), (b, beyond_b) = _at_row(cohort, low, fpir), _at_row(cohort, high, fpir)
    if sizes[high] == sizes[low] or size <= sizes[low]:
        return a, beyond_a
    t = (math.log(size) - math.log(sizes[low])) / (math.log(sizes[high]) - math.log(sizes[low]))
    return a + t * (b - a), beyond_a or beyond_b


def fpir_at(cohort: CohortScores, score: float, size: float) -> float:
    """The false positive identification rate of a threshold against `size` identities: the inverse of score_at_fpir."""
    low, high = math.log(MIN_RATE), math.log(0.999)
    for _ in range(60):
        middle = (low + high) / 2
        if score_at_fpir(cohort, math.exp(middle), max(1.0, size))[0] > score:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def fnmr_at(cohort: CohortScores, score: float) -> float | None:
    """The share of mated one-shot comparisons below a score, with equal weight for each person; None: not measured."""
    if not cohort.fnmrs:
        return None
    if score <= cohort.fnmr_scores[0]:
        return cohort.fnmrs[0]
    return _interpolate(cohort.fnmr_scores, cohort.fnmrs, min(score, cohort.fnmr_scores[-1]))


def _at_row(cohort: CohortScores, row: int, fpir: float) -> tuple[float, bool]:
    """(score, extrapolated) at a rate, for one measured gallery size."""
    limit, size, scores = cohort.measured_to_fpir[row], cohort.gallery_sizes[row], cohort.gallery_scores[row]
    depths = [-math.log(r) for r in cohort.fpirs[: len(scores)]]
    if fpir >= limit:
        return _interpolate(depths, scores, -math.log(fpir)), fpir > cohort.fpirs[0]
    # From the last measured score of this size on, follow the tail of the pairs at the rate per comparison.
    end = _interpolate(depths, scores, -math.log(limit))
    step = _anchored_tail(cohort, fpir / size) - _anchored_tail(cohort, limit / size)
    return end + max(0.0, step), True


def _anchored_tail(cohort: CohortScores, fmr: float) -> float:
    """The score of the pairs at a rate: interpolated as far as measured, then continued by the tail."""
    limit = cohort.measured_to_fmr
    depths = [-math.log(r) for r in cohort.fmrs]
    if fmr >= limit:
        return _interpolate(depths, cohort.fmr_scores, -math.log(fmr))
    end = _interpolate(depths, cohort.fmr_scores, -math.log(limit))
    return end + tail_score(cohort.tail, fmr) - tail_score(cohort.tail, limit)


def tail_score(tail: Tail, fmr: float) -> float:
    """The score with exceedance rate `fmr` under the generalized Pareto tail: u + scale / shape ((fmr / rate)^-shape - 1)."""
    depth = math.log(tail.rate / max(fmr, MIN_RATE))
    if abs(tail.shape) < 1e-6:
        return tail.from_score + tail.scale * depth
    return tail.from_score + tail.scale / tail.shape * math.expm1(tail.shape * depth)


def _survival(tail: Tail, end: float, score: float) -> float:
    """The probability under the tail that a score exceeds `score`, given that it exceeds `end`."""

    def log_survival(x: float) -> float:
        y = max(0.0, x - tail.from_score) / tail.scale
        if abs(tail.shape) < 1e-6:
            return -y
        base = 1.0 + tail.shape * y
        return -math.inf if base <= 0 else -math.log(base) / tail.shape

    return math.exp(max(-60.0, log_survival(score) - log_survival(end))) if log_survival(end) > -math.inf else 0.0


def _interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Piecewise linear interpolation through (xs rising, ys). Beyond the ends it continues the nearest piece."""
    if len(xs) == 1:
        return ys[0]
    i = min(max(bisect_right(xs, x), 1), len(xs) - 1)
    if xs[i] == xs[i - 1]:
        return ys[i]
    t = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
    return ys[i - 1] + t * (ys[i] - ys[i - 1])
