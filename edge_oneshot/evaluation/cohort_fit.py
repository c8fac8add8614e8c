"""Scores of a cohort -> the `cohort` of a model card: how often people who are not enrolled score how high.

For one comparison (FMR) and for galleries of several sizes (FPIR), with a fitted tail below the rates that were counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.cohort_scores import ROUNDS, EncodedCohort
from edge_oneshot.evaluation.comparisons import score_matrix
from edge_oneshot.evaluation.dataset import EncodedDataset
from edge_oneshot.evaluation.labels import EVERY_GROUP, Labels
from edge_oneshot.evaluation.metrics import Ints, effective_number, weighted_quantiles
from edge_oneshot.evaluation.results import three_digits
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float64Array

FPIRS = (0.3, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 1e-6)
FMRS = (0.9, 0.7, 0.5, 0.3, 0.2, *FPIRS[1:])
FNMRS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)
CARRIERS = 50  # a rate counts as measured while its errors come from at least this effective number of people
BINS = 400
TAIL_RATE = 2e-3  # the false match rate at which the extreme-value tail begins
MAX_SHAPE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a cohort is measured on. everybody: its non-mated pairs are those of any people.

    labelled, labels: the people of the matched groups; they can be the same people. mated: people with several images;
    None: those of `everybody`.
    """

    everybody: EncodedDataset
    labelled: EncodedDataset | None = None
    labels: Labels | None = None
    mated: EncodedDataset | None = None

    @property
    def adults(self) -> dict[str, str] | None:
        """The people of `everybody` to use: without those who are labelled as children."""
        if self.labels is None:
            return None
        adults, children = self.labels.adults(), self.labels.people
        people = {image.person for image in self.everybody.images}
        return {name: "" for name in people if name in adults or name not in children}


def fit(
    sources: Sources | EncodedDataset, comparator: Comparator, protocol: str, seed: int = 0, rounds: int = ROUNDS
) -> dict[str, Any]:
    """The card's `cohort`; card.CohortScores describes the fields. The same images and seed give the same values.

    Groups share the exponent and the false non-match rates of the mated part. A group with too few people for a cohort is
    left out. Raises EdgeOneshotError for too few people.
    """
    sources = Sources(everybody=sources) if isinstance(sources, EncodedDataset) else sources
    c = EncodedCohort(sources.everybody, comparator, seed, sources.adults)
    found = _strangers(c, protocol, seed, rounds)
    rich = c if sources.mated is None else EncodedCohort(sources.mated, comparator, seed)
    kept = zip(found["fmrs"], found["fmr_scores"], strict=True)
    mated = _mated(rich, [score for fmr, score in kept if fmr in (1e-2, 1e-3, 1e-4)])
    found |= mated
    if sources.labels is not None:
        mated = {key: mated[key] for key in ("template_exponent", "fnmrs", "fnmr_scores")}
        labelled = sources.labelled or sources.everybody
        groups = {}
        for name, matched in sources.labels.matched_groups().items():
            try:
                members = EncodedCohort(labelled, comparator, seed, matched)
            except EdgeOneshotError:
                continue
            about = f"{protocol}; {name}: pairs of adults of the same sex"
            groups[name] = _strangers(members, about, seed, rounds) | mated
        found["groups"] = share_tail(groups)
    return found


def share_tail(groups: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Give every group the tail of all groups together, continued from the score where its own tail begins.

    A few hundred people do not determine the shape of a tail: one pair too much bends it, and a threshold far beyond the
    counts is then useless. The groups' excesses over a high score have one distribution (pooling as in Hosking and Wallis
    1997), whose scale grows with that score (threshold stability, Coles 2001, section 4.2.2). Each keeps its own rate.
    """
    pooled = groups.get(EVERY_GROUP)
    if pooled is None:
        return groups
    shape = float(pooled["tail"]["shape"])
    shared = {}
    for name, group in groups.items():
        beyond = float(group["tail"]["from_score"]) - float(pooled["tail"]["from_score"])
        scale = max(1e-4, float(pooled["tail"]["scale"]) + shape * beyond)
        shared[name] = group | {"tail": group["tail"] | {"shape": shape, "scale": round(scale, 5)}}
    return shared


def _strangers(c: EncodedCohort, protocol: str, seed: int, rounds: int) -> dict[str, Any]:
    """The fields of the cohort that the non-mated pairs give."""
    pairwise = _fit_pairs(c)
    galleries = _fit_galleries(c, np.linspace(pairwise.half_score, pairwise.highest, BINS + 1), rounds)
    return {
        "protocol": protocol,
        "identities": c.count,
        "pictures": len(c.people),
        "seed": seed,
        "measured_to_fmr": three_digits(pairwise.measured),
        "fmrs": [three_digits(f) for f in pairwise.fmrs],
        "fmr_scores": [round(float(s), 5) for s in pairwise.scores],
        "tail": pairwise.tail,
        "gallery_sizes": list(c.sizes),
        "fpirs": list(FPIRS),
        "gallery_scores": galleries.scores,
        "measured_to_fpir": galleries.limits,
        "gallery_ci95": galleries.intervals,
    }


def _mated(c: EncodedCohort, scores: list[float]) -> dict[str, Any]:
    """The fields of the cohort that people with several images give. scores: where templates are counted, rising."""
    exponent, templates = c.template_exponent(scores)
    mated, weights, _ = c.mated()
    return {
        "mated_identities": int((c.image_counts >= 2).sum()),
        "template_exponent": exponent,
        "template_exponent_measured": templates,
        "fnmrs": list(FNMRS) if mated.size else [],
        "fnmr_scores": [round(float(s), 5) for s in weighted_quantiles(mated, weights, FNMRS)],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairwise:
    """The false match rate of one comparison: fmrs (falling) at scores; measured: the lowest rate that was counted.

    half_score: where half of all non-mated pairs match. highest: above every score. tail: the card's `tail`.
    """

    fmrs: list[float]
    scores: list[float]
    measured: float
    half_score: float
    highest: float
    tail: dict[str, float | str]


def _fit_pairs(c: EncodedCohort) -> _Pairwise:
    sample = c.draw()
    np.fill_diagonal(sample, -np.inf)
    finite = sample[np.isfinite(sample)]
    low = float(finite.min()) - 1e-3
    high = max(float(score_matrix(c.vectors, c.comparator, c.vectors).max()), float(finite.max())) + 1e-3
    fine = np.linspace(low, high, 20001)
    survival = np.cumsum(c.pair_counts(fine)[::-1])[::-1]
    at_fmr = scores_at_rates(survival, fine[:-1], FMRS)
    tail_rate = max(TAIL_RATE, 100 / c.pairs)
    start = float(scores_at_rates(survival, fine[:-1], (tail_rate,))[0])
    scores, weights, a, b = c.exceedances(start)
    measured = _measured_fmr(scores, weights, a, b, c.count)
    counted = measured < float(weights.sum())
    end = float(scores[np.searchsorted(np.cumsum(weights), measured)]) if counted else float(scores[-1])
    shape, scale = fit_tail(scores, weights, start, end)
    kept = [(f, s) for f, s in zip(FMRS, at_fmr, strict=True) if f > measured * 1.001 and np.isfinite(s)]
    return _Pairwise(
        fmrs=[*(f for f, _ in kept), measured],
        scores=[*(float(s) for _, s in kept), end],
        measured=measured,
        half_score=float(at_fmr[2]),
        highest=high,
        tail={
            "kind": "gpd",
            "from_score": round(start, 5),
            "rate": three_digits(float(weights.sum())),
            "shape": round(shape, 4),
            "scale": round(scale, 5),
            "fitted_to_score": round(end, 5),
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Galleries:
    """One row for each gallery size: the scores at the first of FPIRS, the last rate measured, and the 95 % intervals."""

    scores: list[list[float]]
    limits: list[float]
    intervals: list[list[list[float] | None]]


def _fit_galleries(c: EncodedCohort, edges: Float64Array, rounds: int) -> _Galleries:
    curves = c.galleries(edges)
    resampled = c.bootstrap(edges, rounds)
    found = _Galleries(scores=[], limits=[], intervals=[])
    for s in range(len(c.sizes)):
        at = scores_at_rates(curves.fpir[s], curves.scores, FPIRS)
        carriers = np.interp(at, curves.scores, curves.carriers[s], right=0.0)
        good = np.isfinite(at) & (carriers >= CARRIERS)
        count = max(int(np.argmin(good)) if not good.all() else len(good), 1)
        found.scores.append([round(float(v), 5) for v in at[:count]])
        found.limits.append(FPIRS[count - 1])
        each = np.stack([scores_at_rates(curve[s], curves.scores, FPIRS[:count]) for curve in resampled])
        found.intervals.append([_interval(column) for column in each.T])
    return found


def scores_at_rates(curve: Float64Array, scores: Float64Array, rates: tuple[float, ...]) -> Float64Array:
    """The scores at which a falling curve passes each rate, linear in log(rate); NaN for a rate below the whole curve."""
    depth = -np.log(np.maximum(curve, 1e-15))
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(depth)) > 0])
    last = depth[curve > 0].max() if (curve > 0).any() else -math.inf
    wanted = -np.log(np.asarray(rates))
    out = np.interp(wanted, np.maximum.accumulate(depth)[keep], scores[keep])
    out[wanted > last] = np.nan
    return np.asarray(out)


def fit_tail(scores: Float64Array, weights: Float64Array, start: float, end: float) -> tuple[float, float]:
    """(shape, scale) of the generalized Pareto distribution of the excesses over `start`, by maximum likelihood.

    Scores above `end` are counted, but their values are not used (right-censored): so few lie there that a handful of
    mislabelled images would bend the tail.
    """
    y, w = scores - start, weights
    inside = (scores < end) & (y >= 0)
    y_in, w_in = y[inside], w[inside]
    beyond, top = float(w[scores >= end].sum()), max(end - start, 1e-9)
    total = float(w_in.sum())
    if total <= 0.0:
        return 0.0, top  # no score between start and end: an exponential tail with the known width
    mean = float((w_in @ y_in + beyond * top) / max(total, 1e-300))
    # Grimshaw (1993): with theta = shape / scale the best shape has a closed form, so only theta is searched.
    best, answer = -total * np.log(mean) - total, (0.0, mean)
    for theta in np.linspace(max(-0.999 / max(top, float(y_in.max(initial=0.0))), -1.0 / mean), 1.0 / mean, 400):
        if abs(theta * mean) < 1e-6:
            continue
        inner, outer = float(w_in @ np.log1p(theta * y_in)), beyond * np.log1p(theta * top)
        shape = (inner + outer) / total
        if abs(shape) > MAX_SHAPE or shape / theta <= 0:
            continue
        value = -total * np.log(shape / theta) - inner - total
        if value > best:
            best, answer = float(value), (float(shape), float(shape / theta))
    return answer


def _interval(resampled: Float64Array) -> list[float] | None:
    """The central 95 %; None if fewer than half of the resampled cohorts could count the rate."""
    found = resampled[np.isfinite(resampled)]
    if 2 * found.size < resampled.size:
        return None
    low, high = np.quantile(found, [0.025, 0.975])
    return [round(float(low), 5), round(float(high), 5)]


def _measured_fmr(scores: Float64Array, weights: Float64Array, a: Ints, b: Ints, people: int) -> float:
    """The lowest rate with CARRIERS people behind it. Below it, a few faces or wrong labels would decide the threshold."""
    rates = np.cumsum(weights)
    for rate in np.geomspace(1e-7, float(rates[-1]), 400):
        n = int(np.searchsorted(rates, rate)) + 1
        carried = (np.bincount(a[:n], weights[:n], people) + np.bincount(b[:n], weights[:n], people)).astype(np.float64)
        if float(effective_number(carried)) >= CARRIERS:
            return float(rate)
    return float(rates[-1])
