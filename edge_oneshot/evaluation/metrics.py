"""Error rates of comparison scores. Pure numpy; a higher score means more alike.

A comparison with an image that was not acquired has the score -inf. It is a non-match at every threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.matching.interval import Interval as Interval
from edge_oneshot.matching.interval import wilson as wilson
from edge_oneshot.types import Float64Array

Scores = NDArray[np.floating]
Ints = NDArray[np.intp]
ROUNDS = 1000  # of the bootstrap over people


def threshold_at_fmr(non_mated: Scores, fmr: float) -> float:
    """The lowest threshold at which at most `fmr` of the non-mated scores (N,) are matches (score >= threshold).

    Raises ValueError for fewer than 1 / fmr scores: they cannot resolve the rate.
    """
    allowed = int(np.floor(fmr * non_mated.size + 1e-9))
    if allowed < 1:
        raise ValueError(
            f"FMR {fmr:g}: expected at least {int(np.ceil(1 / fmr))} non-mated scores, got {non_mated.size}"
        )
    # The score of rank `allowed + 1` is the highest that must not match. The threshold is the next float above it.
    highest = (
        np.partition(non_mated, non_mated.size - allowed - 1)[non_mated.size - allowed - 1]
        if allowed < non_mated.size
        else -np.inf
    )
    return float(np.nextafter(np.float32(highest), np.float32(np.inf)))


def match_rate(scores: Scores, threshold: float) -> float:
    """Share of scores >= threshold: TAR of mated, FMR of non-mated scores. NaN for none."""
    return float((scores >= threshold).mean()) if scores.size else float("nan")


def balanced_match_rate(scores: Scores, owners: Ints, threshold: float) -> float:
    """Mean of the match rates of the identities: every person has the same weight, however many images they have."""
    _, group = np.unique(owners, return_inverse=True)
    hits = np.bincount(group, weights=scores >= threshold)
    return float((hits / np.bincount(group)).mean()) if scores.size else float("nan")


def equal_error_rate(mated: Scores, non_mated: Scores) -> float:
    """The rate at which FNMR and FMR cross, interpolated linearly between the two nearest thresholds."""
    thresholds = np.unique(mated[np.isfinite(mated)])
    if not thresholds.size or not non_mated.size:
        return float("nan")
    fnmr = np.searchsorted(np.sort(mated), thresholds, side="left") / mated.size
    fmr = 1.0 - np.searchsorted(np.sort(non_mated), thresholds, side="left") / non_mated.size
    i = int(np.argmax(fnmr >= fmr))
    if fnmr[i] < fmr[i]:
        return float(fmr[-1])
    if i == 0:
        return float(
            fnmr[0]
        )  # mated comparisons without a score: below this threshold FNMR is constant and FMR rises to it
    before, after = fmr[i - 1] - fnmr[i - 1], fnmr[i] - fmr[i]
    t = before / (before + after) if before + after > 0 else 0.5
    return float(fmr[i - 1] + t * (fmr[i] - fmr[i - 1]))


def best_threshold(mated: Scores, non_mated: Scores) -> float:
    """The threshold with the highest mean of true match and true non-match rate; infinity if no comparison has a score."""
    candidates = np.unique(np.concatenate([mated[np.isfinite(mated)], non_mated[np.isfinite(non_mated)]]))
    if not candidates.size:
        return float("inf")
    if candidates.size > 20_000:
        candidates = candidates[:: candidates.size // 20_000]
    tar = 1.0 - np.searchsorted(np.sort(mated), candidates, side="left") / max(1, mated.size)
    fmr = 1.0 - np.searchsorted(np.sort(non_mated), candidates, side="left") / max(1, non_mated.size)
    return float(candidates[int(np.argmax(tar - fmr))])


def cross_validated_accuracy(scores: Scores, mated: NDArray[np.bool_], folds: Ints) -> tuple[float, float]:
    """(mean, standard deviation over folds) of the balanced accuracy. The threshold of a fold comes from the other folds.

    For equal numbers of mated and non-mated comparisons, as in LFW's View 2 (Huang et al. 2007), this is the accuracy.
    """
    results = []
    for fold in np.unique(folds):
        test, rest = folds == fold, folds != fold
        threshold = best_threshold(scores[rest & mated], scores[rest & ~mated])
        tar, fmr = match_rate(scores[test & mated], threshold), match_rate(scores[test & ~mated], threshold)
        rates = [r for r in (tar, 1.0 - fmr) if not np.isnan(r)]
        results.append(float(np.mean(rates)))
    return float(np.mean(results)), float(np.std(results))


def bootstrap_match_rate(scores: Scores, owners: Ints, threshold: float, rounds: int = 1000, seed: int = 0) -> Interval:
    """95 % interval of a mated match rate, by bootstrap over identities: the comparisons of one person are not independent."""
    _, group = np.unique(owners, return_inverse=True)
    hits, counts = np.bincount(group, weights=scores >= threshold), np.bincount(group)
    draws = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=rounds)
    rates = (draws @ hits) / np.maximum(draws @ counts, 1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def bootstrap_threshold(
    non_mated: Scores, first: Ints, second: Ints, fmrs: list[float], rounds: int = 200, seed: int = 0
) -> list[Interval]:
    """95 % intervals of the thresholds at `fmrs`, by bootstrap over identities.

    non_mated: (N,). first, second: the identity numbers (N,) of each comparison. The weight of a comparison is the
    product of the numbers of times that its two people were drawn. Only the highest scores can decide the thresholds,
    so only these are kept.
    """
    people = int(max(first.max(), second.max())) + 1
    keep = min(non_mated.size, int(np.ceil(3 * max(fmrs) * non_mated.size)) + 100)
    top = np.argpartition(-non_mated, keep - 1)[:keep]
    top = top[np.argsort(-non_mated[top], kind="stable")]
    scores, a, b = non_mated[top], first[top], second[top]
    pair_counts = np.zeros((people, people), dtype=np.float64)
    np.add.at(pair_counts, (first, second), 1.0)
    generator = np.random.default_rng(seed)
    found = np.empty((rounds, len(fmrs)))
    for r in range(rounds):
        weight = generator.multinomial(people, np.full(people, 1 / people)).astype(np.float64)
        total = weight @ pair_counts @ weight
        cumulative = np.cumsum(weight[a] * weight[b]) / total
        at = np.minimum(np.searchsorted(cumulative, fmrs, side="right"), keep - 1)
        found[r] = scores[at]
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    return [Interval(low=float(lo), high=float(hi)) for lo, hi in zip(low, high, strict=True)]


def fit_platt(mated: Scores, non_mated: Scores, rounds: int = 50) -> tuple[float, float, float]:
    """(slope, intercept, log loss) of p(same) = sigmoid(slope * score + intercept); Platt 1999, by Newton's method.

    The mated and the non-mated scores have the same total weight: the probability assumes equal priors.
    """
    mated, non_mated = mated[np.isfinite(mated)], non_mated[np.isfinite(non_mated)]
    x = np.concatenate([mated, non_mated]).astype(np.float64)
    # Platt's targets keep the fit finite for separable scores.
    y = np.concatenate(
        [np.full(mated.size, (mated.size + 1) / (mated.size + 2)), np.full(non_mated.size, 1 / (non_mated.size + 2))]
    )
    w = np.concatenate([np.full(mated.size, 0.5 / mated.size), np.full(non_mated.size, 0.5 / non_mated.size)])
    design = np.stack([x, np.ones_like(x)], axis=1)
    theta: Float64Array = np.zeros(2)
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-np.clip(design @ theta, -60, 60)))
        gradient = design.T @ (w * (p - y))
        hessian = (design * (w * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        theta = theta - step / max(1.0, float(np.abs(step).max()) / 20.0)
        if np.abs(step).max() < 1e-8:
            break
    p = np.clip(1 / (1 + np.exp(-np.clip(design @ theta, -60, 60))), 1e-12, 1 - 1e-12)
    loss = float(-(w * (y * np.log(p) + (1 - y) * np.log(1 - p))).sum())
    return float(theta[0]), float(theta[1]), loss


def rate_over_people(hits: NDArray[np.bool_], person: Ints, seed: int = 0) -> tuple[float, Interval]:
    """The share of hits and its 95 % interval, by bootstrap over people with all their trials.

    For a share of 0 or 1 the interval is Wilson's, with people as trials.
    """
    if not hits.size:
        return float("nan"), Interval(low=0.0, high=1.0)
    _, group = np.unique(person, return_inverse=True)
    count, total = np.bincount(group, weights=hits), np.bincount(group)
    share = float(count.sum() / total.sum())
    if share in (0.0, 1.0):
        return share, wilson(round(share * len(total)), len(total))
    draws = np.random.default_rng(seed).multinomial(len(total), np.full(len(total), 1 / len(total)), size=ROUNDS)
    low, high = np.percentile((draws @ count) / np.maximum(draws @ total, 1), [2.5, 97.5])
    return share, Interval(low=float(low), high=float(high))


def weighted_quantiles(scores: Float64Array, weights: Float64Array, shares: tuple[float, ...]) -> list[float]:
    """The scores below which each share of the weight lies."""
    if not scores.size:
        return []
    order = np.argsort(scores, kind="stable")
    below = np.cumsum(weights[order])
    return [float(v) for v in scores[order][np.minimum(np.searchsorted(below, shares), scores.size - 1)]]


def effective_number(weights: Float64Array, axis: int = 0) -> Float64Array:
    """Effective number of terms of a sum: (sum w)^2 / sum w^2 (Kish 1965)."""
    total, squares = weights.sum(axis=axis), (weights**2).sum(axis=axis)
    return np.asarray(np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0))
