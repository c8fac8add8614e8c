"""From comparison scores of labelled pairs to what the card states: thresholds by FMR, and the score-to-probability map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.card import Comparator
from edge_oneshot.matching.compare import score_all
from training.omniglot.data import Drawings

Floats = NDArray[np.float64]
MINIMUM_ERRORS = 30  # false matches behind a threshold; fewer do not resolve the rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All comparisons of two drawers within each alphabet. score, same (P,); left and right (P,) are characters."""

    score: Floats
    same: NDArray[np.bool_]
    left: NDArray[np.int64]
    right: NDArray[np.int64]


def all_scores(comparator: Comparator, vectors: NDArray[np.float32], drawings: Drawings) -> Scores:
    """Every pair of drawings of one alphabet by two drawers, compared as the device compares. vectors (N, D)."""
    score, left, right = [], [], []
    for i in range(len(vectors)):
        later = np.arange(len(vectors)) > i
        peers = np.flatnonzero(later & (drawings.alphabet == drawings.alphabet[i]) & (drawings.drawer != drawings.drawer[i]))
        score.append(score_all(comparator, vectors[peers], vectors[i]).astype(np.float64))
        left.append(np.full(len(peers), drawings.character[i]))
        right.append(drawings.character[peers])
    a, b = np.concatenate(left), np.concatenate(right)
    return Scores(score=np.concatenate(score), same=a == b, left=a, right=b)


def threshold_at(score: Floats, weight: Floats, fmr: float) -> float:
    """The lowest threshold at which the weighted share of ``score`` (descending) at or above it is at most ``fmr``."""
    share = np.cumsum(weight) / weight.sum()
    allowed = int(np.searchsorted(share, fmr, side="right"))  # so many scores may lie at or above it
    return float(np.nextafter(score[min(allowed, len(score) - 1)], np.inf))


def thresholds(scores: Scores, protocol: str, rates: tuple[float, ...] = (1e-2, 1e-3, 1e-4), rounds: int = 200) -> dict[str, Any]:
    """The card's ``thresholds``. Intervals: 2.5 and 97.5 percentiles over bootstrap resamples of the characters.

    A rate with fewer than MINIMUM_ERRORS false matches behind it is left out. Raises ValueError if none remains.
    """
    mated, other = scores.score[scores.same], ~scores.same
    order = np.argsort(-scores.score[other], kind="stable")
    ranked, left, right = scores.score[other][order], scores.left[other][order], scores.right[other][order]
    characters = int(max(scores.left.max(), scores.right.max())) + 1
    rng = np.random.default_rng(0)
    draws = [np.bincount(rng.integers(0, characters, characters), minlength=characters).astype(np.float64) for _ in range(rounds)]
    points = []
    for fmr in rates:
        if fmr * len(ranked) < MINIMUM_ERRORS:
            continue
        at = threshold_at(ranked, np.ones(len(ranked)), fmr)
        spread = [threshold_at(ranked, d[left] * d[right], fmr) for d in draws]
        low, high = np.percentile(spread, [2.5, 97.5])
        points.append({"fmr": fmr, "threshold": at, "ci95": [float(low), float(high)], "tar": float((mated >= at).mean())})
    if not points:
        raise ValueError(f"thresholds: expected at least {int(MINIMUM_ERRORS / max(rates))} non-mated pairs, got {len(ranked)}")
    return {
        "protocol": protocol,
        "identities": len(np.unique(scores.left)),
        "mated_pairs": len(mated),
        "non_mated_pairs": len(ranked),
        "measured_to_fmr": points[-1]["fmr"],
        "points": points,
    }


def platt(scores: Scores, protocol: str) -> dict[str, Any]:
    """same_probability = sigmoid(slope * score + intercept), mated and non-mated pairs weighing the same (Platt 1999).

    Maximum likelihood by Newton's method on the standardised score.
    """
    centre, width = scores.score.mean(), scores.score.std()
    x = np.stack([(scores.score - centre) / width, np.ones(len(scores.score))])  # (2, P)
    y = scores.same.astype(np.float64)
    weight = np.where(scores.same, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    theta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-(theta @ x)))
        step = np.linalg.solve((x * (weight * p * (1 - p))) @ x.T + 1e-9 * np.eye(2), x @ (weight * (p - y)))
        theta -= step
        if np.abs(step).max() < 1e-9:
            break
    z = theta @ x
    slope = theta[0] / width
    return {
        "kind": "platt",
        "slope": float(slope),
        "intercept": float(theta[1] - slope * centre),
        "protocol": protocol,
        "log_loss": float((weight * np.where(scores.same, np.logaddexp(0, -z), np.logaddexp(0, z))).sum()),
    }
