"""1:1 comparisons of labelled pictures: what `edge-oneshot evaluate verification` reports."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation import metrics
from edge_oneshot.evaluation.comparisons import Pairs, identity_numbers, score_pairs
from edge_oneshot.evaluation.dataset import Embedded
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.model.card import Comparator

FMRS = {"1e-2": 1e-2, "1e-3": 1e-3, "1e-4": 1e-4}


def report(embedded: Embedded, pairs: Pairs, comparator: Comparator, threshold: Threshold) -> dict[str, Any]:
    """The report as JSON values. A rate that the counts cannot resolve is None. Intervals are 95 %, over identities.

    A pair with a picture that was not acquired counts as a non-match (a generalised rate of ISO/IEC 19795-1).
    """
    people = identity_numbers(embedded.pictures)
    scores = score_pairs(embedded, pairs, comparator)
    mated, non_mated = scores[pairs.mated], scores[~pairs.mated]
    if not mated.size or not non_mated.size:
        raise EdgeOneshotError(
            f"expected mated and non-mated pairs, got {mated.size} and {non_mated.size}",
            "give several people, and of some of them several pictures",
        )
    owners = people[pairs.first[pairs.mated]]
    used = np.unique(np.concatenate([pairs.first, pairs.second]))
    lost = [int(i) for i in used if int(i) in embedded.faults]
    accuracy, deviation = metrics.cross_validated_accuracy(scores, pairs.mated, pairs.folds)
    rates: dict[str, dict[str, Any]] = {
        "tar_at_fmr": {},
        "balanced_tar_at_fmr": {},
        "tar_ci95": {},
        "threshold_at_fmr": {},
    }
    for name, fmr in FMRS.items():
        if non_mated.size * fmr < 1 or not mated.size:
            for column in rates.values():
                column[name] = None
            continue
        at = metrics.threshold_at_fmr(non_mated, fmr)
        interval = metrics.bootstrap_match_rate(mated, owners, at)
        rates["tar_at_fmr"][name] = round(metrics.match_rate(mated, at), 5)
        rates["balanced_tar_at_fmr"][name] = round(metrics.balanced_match_rate(mated, owners, at), 5)
        rates["tar_ci95"][name] = [round(interval.low, 5), round(interval.high, 5)]
        rates["threshold_at_fmr"][name] = round(at, 4)
    fta = metrics.wilson(len(lost), used.size)
    return {
        "pairs": len(scores),
        "mated_pairs": int(mated.size),
        "non_mated_pairs": int(non_mated.size),
        "identities": int(np.unique(people[used]).size),
        "images": int(used.size),
        "accuracy": round(accuracy, 5),
        "accuracy_std": round(deviation, 5),
        "folds": int(np.unique(pairs.folds).size),
        "eer": round(metrics.equal_error_rate(mated, non_mated), 5),
        **rates,
        "failures_to_acquire": len(lost),
        "failure_to_acquire_rate": round(len(lost) / used.size, 5),
        "failure_to_acquire_ci95": [round(fta.low, 5), round(fta.high, 5)],
        "threshold": round(threshold.value, 4),
        "target_fmr": threshold.target_fmr,
        "at_threshold": {"tar": _rate(mated, threshold.value), "fmr": _rate(non_mated, threshold.value)},
        "encoder_id": embedded.encoder_id,
    }


def _rate(scores: metrics.Scores, threshold: float) -> float | None:
    return round(metrics.match_rate(scores, threshold), 7) if scores.size else None
