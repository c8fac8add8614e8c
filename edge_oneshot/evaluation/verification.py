"""1:1 comparisons of labelled images: what `edge-oneshot evaluate verification` reports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation import metrics
from edge_oneshot.evaluation.comparisons import Comparisons
from edge_oneshot.evaluation.dataset import EncodedDataset
from edge_oneshot.evaluation.metrics import Interval
from edge_oneshot.evaluation.results import rounded
from edge_oneshot.evaluation.strangers import StrangersResult
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.types import Float32Array

FMRS = {"1e-2": 1e-2, "1e-3": 1e-3, "1e-4": 1e-4}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationResult:
    """Rates by FMR: a key of FMRS -> the value, or None where there are too few comparisons to resolve the FMR.

    balanced_tar_at_fmr: the mean over identities. at_threshold: "tar" and "fmr" at `threshold`, the configured one.
    strangers: non-mated comparisons by who the strangers are, over all pairs of the images; None without labels.
    """

    pairs: int
    mated_pairs: int
    non_mated_pairs: int
    identities: int
    images: int
    accuracy: float
    accuracy_std: float
    folds: int
    eer: float
    tar_at_fmr: dict[str, float | None]
    balanced_tar_at_fmr: dict[str, float | None]
    tar_ci95: dict[str, Interval | None]
    threshold_at_fmr: dict[str, float | None]
    failures_to_acquire: int
    failure_to_acquire_rate: float
    failure_to_acquire_ci95: Interval
    threshold: float
    target_fmr: float | None
    at_threshold: dict[str, float | None]
    encoder_id: str
    strangers: StrangersResult | None = None


def measure(
    dataset: EncodedDataset, comparisons: Comparisons, scores: Float32Array, threshold: Threshold
) -> VerificationResult:
    """scores (P,): of the comparisons. Intervals are 95 %, over identities.

    A comparison with an image that was not acquired is a non-match (a generalised rate of ISO/IEC 19795-1).
    Raises EdgeOneshotError if no mated or no non-mated pair could be compared.
    """
    people, mated, non_mated = dataset.people, scores[comparisons.mated], scores[~comparisons.mated]
    _require_compared(mated, non_mated)
    owners = people[comparisons.first[comparisons.mated]]
    used = np.unique(np.concatenate([comparisons.first, comparisons.second]))
    lost = int(dataset.lost[used].sum())
    accuracy, deviation = metrics.cross_validated_accuracy(scores, comparisons.mated, comparisons.folds)
    tars: dict[str, float | None] = dict.fromkeys(FMRS)
    balanced, thresholds = tars.copy(), tars.copy()
    intervals: dict[str, Interval | None] = dict.fromkeys(FMRS)
    for name, fmr in FMRS.items():
        if non_mated.size * fmr < 1:
            continue
        at = metrics.threshold_at_fmr(non_mated, fmr)
        tars[name] = round(metrics.match_rate(mated, at), 5)
        balanced[name] = round(metrics.balanced_match_rate(mated, owners, at), 5)
        intervals[name] = rounded(metrics.bootstrap_match_rate(mated, owners, at), 5)
        thresholds[name] = round(at, 4)
    return VerificationResult(
        pairs=len(scores),
        mated_pairs=int(mated.size),
        non_mated_pairs=int(non_mated.size),
        identities=int(np.unique(people[used]).size),
        images=int(used.size),
        accuracy=round(accuracy, 5),
        accuracy_std=round(deviation, 5),
        folds=int(np.unique(comparisons.folds).size),
        eer=round(metrics.equal_error_rate(mated, non_mated), 5),
        tar_at_fmr=tars,
        balanced_tar_at_fmr=balanced,
        tar_ci95=intervals,
        threshold_at_fmr=thresholds,
        failures_to_acquire=lost,
        failure_to_acquire_rate=round(lost / used.size, 5),
        failure_to_acquire_ci95=rounded(metrics.wilson(lost, used.size), 5),
        threshold=round(threshold.value, 4),
        target_fmr=threshold.target_fmr,
        at_threshold={
            "tar": round(metrics.match_rate(mated, threshold.value), 7),
            "fmr": round(metrics.match_rate(non_mated, threshold.value), 7),
        },
        encoder_id=dataset.encoder_id,
    )


def _require_compared(mated: Float32Array, non_mated: Float32Array) -> None:
    if not mated.size or not non_mated.size:
        raise EdgeOneshotError(
            f"expected mated and non-mated pairs, got {mated.size} mated and {non_mated.size} non-mated",
            "give images of several people, and several images of some of them",
        )
    compared = np.isfinite(mated).sum(), np.isfinite(non_mated).sum()
    if not all(compared):
        raise EdgeOneshotError(
            f"expected mated and non-mated pairs in which both faces can be used, got {compared[0]} of {mated.size} mated and "
            f"{compared[1]} of {non_mated.size} non-mated",
            "give images with one clear face each; `edge-oneshot camera test --camera folder:DIR --out FILE` shows what is found",
        )
