"""The report of `edge-oneshot evaluate verification`."""

from __future__ import annotations

import numpy as np

from edge_oneshot.evaluation.comparisons import Comparisons
from edge_oneshot.evaluation.dataset import EncodedDataset
from edge_oneshot.evaluation.reports import strangers
from edge_oneshot.evaluation.reports.charts import densities, trade_off
from edge_oneshot.evaluation.reports.html import Page, paragraph, section, side_by_side, table
from edge_oneshot.evaluation.reports.numbers import (
    count,
    exact_percent,
    interval,
    percent,
    percent_with_interval,
    score,
)
from edge_oneshot.evaluation.verification import FMRS, VerificationResult
from edge_oneshot.types import Float32Array

SHOWN = 15  # of the highest non-mated, and of the lowest mated scores


def lines(r: VerificationResult) -> list[str]:
    """The report for a terminal."""
    found = [
        f"{count(r.pairs, 'pair')} ({r.mated_pairs:,} mated, {r.non_mated_pairs:,} non-mated) of "
        f"{count(r.identities, 'person', 'people')}, {count(r.images, 'image')}",
        f"accuracy {percent(r.accuracy)} (standard deviation {percent(r.accuracy_std)} over {r.folds} folds), EER {percent(r.eer)}",
    ]
    for name, fmr in FMRS.items():
        at, tar, balanced = r.threshold_at_fmr[name], r.tar_at_fmr[name], r.balanced_tar_at_fmr[name]
        if at is None:
            found.append(f"FMR {exact_percent(fmr)}: too few non-mated pairs to measure it")
            continue
        found.append(
            f"FMR {exact_percent(fmr)}: TAR {percent_with_interval(tar, r.tar_ci95[name])}, mean over people "
            f"{percent(balanced, r.tar_ci95[name])}, threshold {score(at)}"
        )
    fta = percent_with_interval(r.failure_to_acquire_rate, r.failure_to_acquire_ci95)
    found.append(f"failures to acquire: {r.failures_to_acquire} of {count(r.images, 'image')}, {fta}")
    tar, fmr_there = r.at_threshold["tar"], r.at_threshold["fmr"]
    found.append(f"at the configured threshold {score(r.threshold)}: TAR {percent(tar)}, FMR {percent(fmr_there)}")
    if r.strangers is not None:
        found += strangers.lines(r.strangers)
    return found


def page(r: VerificationResult, dataset: EncodedDataset, comparisons: Comparisons, scores: Float32Array) -> Page:
    mated = scores[comparisons.mated].astype(np.float64)
    non_mated = scores[~comparisons.mated].astype(np.float64)
    rows = [
        (
            exact_percent(fmr),
            percent(r.tar_at_fmr[name], r.tar_ci95[name]),
            interval(r.tar_ci95[name]),
            percent(r.balanced_tar_at_fmr[name], r.tar_ci95[name]),
            score(r.threshold_at_fmr[name]),
        )
        for name, fmr in FMRS.items()
    ]
    summary = [
        (f"Accuracy, cross-validated over {r.folds} folds", percent(r.accuracy)),
        ("Standard deviation of the accuracy", percent(r.accuracy_std)),
        ("Equal error rate (EER)", percent(r.eer)),
        ("Failure to acquire (FTA)", percent(r.failure_to_acquire_rate, r.failure_to_acquire_ci95)),
        ("95 % interval of the FTA", interval(r.failure_to_acquire_ci95)),
        ("Configured threshold (score)", score(r.threshold)),
        ("TAR at the configured threshold", percent(r.at_threshold["tar"])),
        ("FMR at the configured threshold", percent(r.at_threshold["fmr"])),
    ]
    return Page(
        title="Verification (1:1)",
        lead=(
            f"{count(r.pairs, 'comparison')} of two images each: {r.mated_pairs:,} mated (same person) and {r.non_mated_pairs:,} "
            f"non-mated (different people), from {count(r.images, 'image')} of {count(r.identities, 'person', 'people')}.",
            "A comparison is a match if its score reaches the threshold. A comparison with an image that was not acquired "
            "is a non-match. Intervals are 95 %, by bootstrap over people.",
        ),
        sections=(
            section(
                "True accept rate at fixed false match rates",
                table(("FMR", "TAR", "95 % interval", "mean over people", "threshold, score"), rows),
                paragraph(
                    "TAR: share of mated comparisons that match. FMR: share of non-mated comparisons that match. "
                    "The mean over people gives every person the same weight."
                ),
            ),
            section("Summary", table(("Measure", "Value"), summary)),
            *(() if r.strangers is None else strangers.sections(r.strangers)),
            section("Scores and errors", side_by_side(*_charts(r, mated, non_mated))),
            section("Extreme comparisons", _extremes(dataset, comparisons, scores)),
        ),
        encoder_id=r.encoder_id,
    )


def _charts(r: VerificationResult, mated: np.ndarray, non_mated: np.ndarray) -> tuple[str, str]:
    return (
        densities(
            "Comparison scores",
            "Distribution of the scores of mated and non-mated comparisons. The less they overlap, the better.",
            {"mated": mated, "non-mated": non_mated},
            r.threshold,
        ),
        trade_off(
            "Detection error trade-off (DET)",
            "The false non-match rate (FNMR) against the false match rate (FMR) as the threshold moves, on normal deviate axes.",
            ("FMR", "FNMR"),
            {"": (mated, non_mated)},
        ),
    )


def _extremes(dataset: EncodedDataset, comparisons: Comparisons, scores: Float32Array) -> str:
    names, finite = [image.person for image in dataset.images], np.isfinite(scores)

    def rows(key: np.ndarray, kind: np.ndarray) -> list[tuple[str, str, str]]:
        places = np.argsort(np.where(kind & finite, key, np.inf))[: min(SHOWN, int((kind & finite).sum()))]
        return [(names[comparisons.first[i]], names[comparisons.second[i]], score(float(scores[i]))) for i in places]

    mated = [(one, value) for one, _, value in rows(scores, comparisons.mated)]
    return side_by_side(
        table(
            ("person", "other person", "score"), rows(-scores, ~comparisons.mated), "Non-mated, highest scores first"
        ),
        table(("person", "score"), mated, "Mated, lowest scores first"),
    )
