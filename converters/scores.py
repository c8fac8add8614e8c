"""Comparison scores over labelled pictures, and what they say: FMR, TAR, EER, with intervals (ISO/IEC 19795-1).

A comparison is a match where score >= threshold, as on the device. Pairs of one identity are mated, others non-mated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from converters.graph import Array
from edge_oneshot.card import Comparator

FMRS = (1e-2, 1e-3, 1e-4, 1e-5)
BINS = 8192  # of the score axis, for the bootstrap only


@dataclass(frozen=True)
class Pairs:
    """first, second: indices of pictures. identity: of each picture, counted from 0."""

    first: Array  # int32 (P,)
    second: Array  # int32 (P,)
    identity: Array  # int32 (N,)

    @property
    def mated(self) -> Array:
        return np.asarray(self.identity[self.first] == self.identity[self.second])


def all_pairs(names: Sequence[str]) -> Pairs:
    """Every unordered pair of pictures. names: the identity of each picture."""
    _, identity = np.unique(np.asarray(names), return_inverse=True)
    first, second = np.triu_indices(len(names), 1)
    return Pairs(first.astype(np.int32), second.astype(np.int32), identity.astype(np.int32))


def compare_pairs(vectors: Array, pairs: Pairs, comparator: Comparator) -> Array:
    """Scores float32 (P,) of embeddings (N, D), not yet normalised, as the device's comparator would give them."""
    v = vectors.astype(np.float32)
    if comparator.kind == "cosine":
        v = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-6)
    weights = np.asarray(comparator.weights, np.float32)
    out = np.empty(len(pairs.first), np.float32)
    for start in range(0, len(out), 1 << 18):
        part = slice(start, start + (1 << 18))
        a, b = v[pairs.first[part]], v[pairs.second[part]]
        if comparator.kind == "cosine":
            out[part] = np.einsum("pd,pd->p", a, b)
        else:
            out[part] = comparator.bias - np.abs(a - b) @ weights
    return out


def threshold_at(non_mated: Array, fmr: float) -> float:
    """The lowest threshold at which at most `fmr` of the non-mated scores (sorted upwards) match."""
    allowed = int(np.floor(fmr * len(non_mated)))
    if allowed >= len(non_mated):
        return float(non_mated[0])
    return float(np.nextafter(np.float32(non_mated[len(non_mated) - 1 - allowed]), np.float32(np.inf)))


def equal_error_rate(mated: Array, non_mated: Array) -> float:
    """Where FMR and FNMR cross, read off the step functions at every score that occurs. Both sorted upwards."""
    at = np.concatenate([mated, non_mated[np.searchsorted(non_mated, mated[0]):]])
    fnmr = np.searchsorted(mated, at, "left") / len(mated)
    fmr = 1 - np.searchsorted(non_mated, at, "left") / len(non_mated)
    best = int(np.argmin(np.abs(fnmr - fmr)))
    return float((fnmr[best] + fmr[best]) / 2)


@dataclass(frozen=True)
class Rates:
    """eer and tar as shares of 1. tar, balanced_tar, threshold: one for each of `fmrs`.

    balanced_tar: the mean over identities, since a few people own most mated pairs.
    """

    fmrs: tuple[float, ...]
    eer: float
    tar: tuple[float, ...]
    balanced_tar: tuple[float, ...]
    threshold: tuple[float, ...]
    mated_mean: float
    non_mated_mean: float


def rates(score: Array, pairs: Pairs, fmrs: Sequence[float] = FMRS) -> Rates:
    mated_at = pairs.mated
    mated, non_mated = np.sort(score[mated_at]), np.sort(score[~mated_at])
    _, owner = np.unique(pairs.identity[pairs.first[mated_at]], return_inverse=True)
    thresholds = tuple(threshold_at(non_mated, f) for f in fmrs)
    hits = [score[mated_at] >= t for t in thresholds]
    balanced = tuple(float((np.bincount(owner, h) / np.bincount(owner)).mean()) for h in hits)
    return Rates(tuple(fmrs), equal_error_rate(mated, non_mated), tuple(float(h.mean()) for h in hits), balanced,
                 thresholds, float(mated.mean()), float(non_mated.mean()))


def resolved(non_mated: int, fmrs: Sequence[float] = FMRS) -> tuple[float, ...]:
    """The rates that `non_mated` comparisons resolve: at least 30 expected errors (the rule of 30, Doddington 1998)."""
    return tuple(f for f in fmrs if f * non_mated >= 30)


def resamples(identities: int, count: int, seed: int = 0) -> Iterator[Array]:
    """Bootstrap over identities: how often each is drawn, float32 (identities,). The same seed, the same draws."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield np.bincount(rng.integers(0, identities, identities), minlength=identities).astype(np.float32)


class Bootstrap:
    """Rates under resampled identities. A pair counts as often as the product of its two identities' draws.

    A mated pair counts as often as its identity. Pictures of one person are not independent: this keeps them together.
    """

    def __init__(self, score: Array, pairs: Pairs) -> None:
        low, high = float(score.min()), float(score.max())
        self.edges = np.linspace(low, high, BINS + 1)
        place = np.clip(((score - low) * (BINS / max(high - low, 1e-9))).astype(np.int32), 0, BINS - 1)
        mated = pairs.mated
        self.mated_bin, self.mated_owner = place[mated], pairs.identity[pairs.first[mated]]
        self.bin = place[~mated]
        self.a, self.b = pairs.identity[pairs.first[~mated]], pairs.identity[pairs.second[~mated]]

    def rates(self, draw: Array, fmrs: Sequence[float]) -> tuple[Array, Array, float]:
        """(thresholds, TARs, EER) under one draw."""
        mated = np.bincount(self.mated_bin, draw[self.mated_owner], BINS)
        other = np.bincount(self.bin, draw[self.a] * draw[self.b], BINS)
        fmr = np.cumsum(other[::-1])[::-1] / max(other.sum(), 1e-9)  # at the lower edge of each bin
        tar = np.cumsum(mated[::-1])[::-1] / max(mated.sum(), 1e-9)
        at = np.minimum(np.array([int(np.argmax(fmr <= f)) if (fmr <= f).any() else BINS - 1 for f in fmrs]), BINS - 1)
        cross = int(np.argmin(np.abs(fmr - (1 - tar))))
        return self.edges[at], tar[at], float((fmr[cross] + 1 - tar[cross]) / 2)


def interval(values: Array) -> tuple[float, float]:
    """The central 95 % of bootstrap values."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def fit_platt(score: Array, pairs: Pairs) -> tuple[float, float, float]:
    """(slope, intercept, log loss) of p(same) = sigmoid(slope * score + intercept); Platt 1999, by Newton's method.

    Mated and non-mated comparisons weigh the same in sum, and so does every identity among the mated.
    """
    mated = pairs.mated
    _, owner, owned = np.unique(pairs.identity[pairs.first[mated]], return_inverse=True, return_counts=True)
    low, high = float(score.min()), float(score.max())
    width = max(high - low, 1e-9)
    place = np.clip(((score - low) * (BINS / width)).astype(np.int32), 0, BINS - 1)
    same = np.bincount(place[mated], 1.0 / owned[owner], BINS)
    other = np.bincount(place[~mated], minlength=BINS).astype(np.float64)
    x = low + (np.arange(BINS) + 0.5) * width / BINS
    y = np.concatenate([np.ones(BINS), np.zeros(BINS)])
    w = np.concatenate([same / same.sum() / 2, other / other.sum() / 2])
    X = np.stack([np.concatenate([x, x]), np.ones(2 * BINS)], axis=1)
    beta = np.zeros(2)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(X @ beta, -60, 60)))
        gradient = X.T @ (w * (p - y)) + 1e-9 * beta
        hessian = (X * (w * p * (1 - p))[:, None]).T @ X + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    p = np.clip(1 / (1 + np.exp(-np.clip(X @ beta, -60, 60))), 1e-12, 1 - 1e-12)
    loss = float(-(w * (y * np.log(p) + (1 - y) * np.log(1 - p))).sum())
    return float(beta[0]), float(beta[1]), loss


def separation(score: Array, pairs: Pairs) -> float:
    """Residents against strangers: the median of the mated scores less the 99.9th percentile of the non-mated.

    How far a resident usually stands above all but one in a thousand strangers; a margin, in units of the score.
    """
    mated = pairs.mated
    return float(np.median(score[mated]) - np.quantile(score[~mated], 0.999))
