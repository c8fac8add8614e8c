"""Comparison scores over labelled pictures, and their rates: FMR, TAR, EER, with intervals (ISO/IEC 19795-1).

A comparison is a match where score >= threshold, as on the device. Pairs of one identity are mated, others non-mated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from converters.graph import Array
from edge_oneshot.evaluation import metrics
from edge_oneshot.model.card import Comparator

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
    """Scores float32 (P,) of embeddings (N, D), not yet normalised, as the device's comparator computes them."""
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


@dataclass(frozen=True)
class Rates:
    """eer and tar as shares of 1. tar, balanced_tar, threshold: one for each of `fmrs`.

    balanced_tar: the mean over identities, since a few people have most mated pairs.
    """

    fmrs: tuple[float, ...]
    eer: float
    tar: tuple[float, ...]
    balanced_tar: tuple[float, ...]
    threshold: tuple[float, ...]
    mated_mean: float
    non_mated_mean: float


def rates(score: Array, pairs: Pairs, fmrs: Sequence[float]) -> Rates:
    """At thresholds of this set of scores, one for each false match rate."""
    at = pairs.mated
    mated, non_mated = score[at], score[~at]
    owners = pairs.identity[pairs.first[at]]
    thresholds = tuple(metrics.threshold_at_fmr(non_mated, f) for f in fmrs)
    return Rates(
        tuple(fmrs),
        metrics.equal_error_rate(mated, non_mated),
        tuple(metrics.match_rate(mated, t) for t in thresholds),
        tuple(metrics.balanced_match_rate(mated, owners, t) for t in thresholds),
        thresholds,
        float(mated.mean()),
        float(non_mated.mean()),
    )


def resolved(non_mated: int, fmrs: Sequence[float]) -> tuple[float, ...]:
    """The rates with at least 30 expected errors in `non_mated` comparisons (the rule of 30, Doddington 1998)."""
    return tuple(f for f in fmrs if f * non_mated >= 30)


def resamples(identities: int, count: int, seed: int = 0) -> Iterator[Array]:
    """Bootstrap over identities: how often each is drawn, float32 (identities,). A seed always gives the same draws."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield np.bincount(rng.integers(0, identities, identities), minlength=identities).astype(np.float32)


class Bootstrap:
    """Rates under resampled identities. A pair counts as often as the product of its two identities' draws.

    A mated pair counts as often as its identity. Pictures of one person are not independent, so they are drawn together.
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


def separation(score: Array, pairs: Pairs) -> float:
    """The median of the mated scores minus the 99.9th percentile of the non-mated ones, in units of the score.

    It is the margin between a typical mated comparison and one in a thousand non-mated comparisons.
    """
    mated = pairs.mated
    return float(np.median(score[mated]) - np.quantile(score[~mated], 0.999))
