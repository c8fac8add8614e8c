"""From comparison scores of labelled pictures to the card's fields: thresholds by FMR, and the probability map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.card import Json, measured_fields
from converters.scores import Pairs, resolved
from edge_oneshot.evaluation import metrics

RATES = (1e-2, 1e-3, 1e-4)


def measured(score: NDArray[np.floating[Any]], pairs: Pairs, protocol: str) -> Json:
    """The card's `thresholds` and `probability`. Intervals: bootstrap over classes. score (P,) of the pairs.

    Rates that need more non-mated pairs are omitted. Raises ValueError if none remains.
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
    identities, counts = len(np.unique(pairs.identity)), (len(mated), len(non_mated))
    return measured_fields(protocol, identities, counts, rates[-1], points, metrics.fit_platt(mated, non_mated))
