"""From comparison scores of labelled drawings to what the card states: thresholds by FMR, and the probability map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.scores import Pairs, resolved
from edge_oneshot.evaluation import metrics
from training.omniglot.data import Drawings

RATES = (1e-2, 1e-3, 1e-4)


def within_alphabets(drawings: Drawings) -> Pairs:
    """Every pair of drawings of one alphabet by two drawers: what a one-shot trial asks of the comparator."""
    first, second = [], []
    for i in range(len(drawings.ink)):
        peers = (drawings.alphabet == drawings.alphabet[i]) & (drawings.drawer != drawings.drawer[i])
        later = np.flatnonzero(peers[i + 1 :]) + i + 1
        first.append(np.full(len(later), i))
        second.append(later)
    return Pairs(
        np.concatenate(first).astype(np.int32),
        np.concatenate(second).astype(np.int32),
        drawings.character.astype(np.int32),
    )


def measured(score: NDArray[np.floating[Any]], pairs: Pairs, protocol: str) -> dict[str, Any]:
    """The card's ``thresholds`` and ``probability``. Intervals: bootstrap over characters. score (P,) of the pairs.

    Rates that too few non-mated pairs stand behind are left out. Raises ValueError if none remains.
    """
    mated, non_mated = score[pairs.mated], score[~pairs.mated]
    rates = resolved(len(non_mated), RATES)
    if not rates:
        raise ValueError(f"thresholds: expected at least {30 / max(RATES):.0f} non-mated pairs, got {len(non_mated)}")
    first, second = (pairs.identity[side][~pairs.mated].astype(np.intp) for side in (pairs.first, pairs.second))
    intervals = metrics.bootstrap_threshold(non_mated, first, second, list(rates))
    points = []
    for rate, interval in zip(rates, intervals, strict=True):
        at = metrics.threshold_at_fmr(non_mated, rate)
        points.append(
            {"fmr": rate, "threshold": at, "ci95": [interval.low, interval.high], "tar": metrics.match_rate(mated, at)}
        )
    slope, intercept, loss = metrics.fit_platt(mated, non_mated)
    return {
        "thresholds": {
            "protocol": protocol,
            "identities": len(np.unique(pairs.identity)),
            "mated_pairs": len(mated),
            "non_mated_pairs": len(non_mated),
            "measured_to_fmr": rates[-1],
            "points": points,
        },
        "probability": {
            "kind": "platt",
            "slope": slope,
            "intercept": intercept,
            "log_loss": loss,
            "protocol": protocol + "; mated and non-mated pairs weigh the same in sum",
        },
    }
