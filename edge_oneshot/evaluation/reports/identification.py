"""The report of `edge-oneshot evaluate identification`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_oneshot.evaluation.dataset import EncodedDataset
from edge_oneshot.evaluation.identification import IdentificationResult, Trials, highest_non_mated, lowest_mated
from edge_oneshot.evaluation.reports.charts import Axis, Line, chart, densities, trade_off
from edge_oneshot.evaluation.reports.html import Page, paragraph, section, side_by_side, table
from edge_oneshot.evaluation.reports.numbers import (
    count,
    exact_percent,
    interval,
    percent,
    percent_with_interval,
    score,
)

SHOWN = 15  # probes in each table of extremes
LOWEST_SHOWN = 1e-3  # rate in the chart by gallery size


def lines(r: IdentificationResult) -> list[str]:
    """The report for a terminal."""
    found = [
        f"{count(r.gallery, 'person', 'people')} enrolled with one image each; {count(r.mated_probes, 'mated probe')} of "
        f"{count(r.mated_identities, 'person', 'people')}, {count(r.non_mated_probes, 'non-mated probe')} of "
        f"{count(r.non_mated_identities, 'other person', 'other people')}; "
        f"{count(r.failures_to_acquire, 'failure', 'failures')} to acquire",
        f"threshold {score(r.threshold)}, from the card for FPIR {exact_percent(r.claimed_fpir)} and "
        f"{count(r.gallery, 'person', 'people')}" + (", extrapolated" if r.threshold_extrapolated else ""),
        f"FPIR {percent_with_interval(r.fpir, r.ci95['fpir'])}",
        f"FNIR {percent_with_interval(r.fnir, r.ci95['fnir'])}",
    ]
    return found if r.rank1 is None else [*found, f"rank 1: {percent(r.rank1, r.ci95['fnir'])}"]


def page(
    r: IdentificationResult, dataset: EncodedDataset, trials: Trials, by_size: Sequence[IdentificationResult]
) -> Page:
    """by_size: results for galleries of several sizes, smallest first."""
    claimed = exact_percent(r.claimed_fpir)
    rows = [
        ("FPIR: non-mated probes that match", claimed, percent(r.fpir, r.ci95["fpir"]), interval(r.ci95["fpir"])),
        ("FNIR: mated probes not identified", "", percent(r.fnir, r.ci95["fnir"]), interval(r.ci95["fnir"])),
        ("Rank 1: own identity scores highest", "", percent(r.rank1, r.ci95["fnir"]), ""),
    ]
    extrapolated = (
        " The card has not counted rates this low: the threshold is extrapolated." if r.threshold_extrapolated else ""
    )
    return Page(
        title="Open-set identification (1:N)",
        lead=(
            f"{count(r.gallery, 'person', 'people')} enrolled with one image each. "
            f"{count(r.mated_probes, 'mated probe')} of {count(r.mated_identities, 'enrolled person', 'enrolled people')}; "
            f"{count(r.non_mated_probes, 'non-mated probe')} of {count(r.non_mated_identities, 'other person', 'other people')}.",
            f"The threshold, score {score(r.threshold)}, comes from the model card for a claimed FPIR of {claimed} and this "
            f"gallery size. It was set before the probes were scored.{extrapolated}",
            "Probes that were not acquired count as not identified. Intervals are 95 %, by bootstrap over people.",
        ),
        sections=(
            section(
                "Error rates",
                table(("Rate", "claimed", "measured", "95 % interval"), rows),
                paragraph(
                    f"{count(r.false_positives, 'non-mated probe')} matched; {count(r.misidentified, 'mated probe')} matched "
                    f"another identity. Failures to acquire: {r.failures_to_acquire}."
                ),
            ),
            section("Scores and errors", side_by_side(*_charts(r, trials, by_size))),
            section(
                "Extreme probes",
                side_by_side(
                    table(
                        ("probe", "most similar enrolled person", "score"),
                        [(a, b, score(s)) for a, b, s in highest_non_mated(dataset, trials, SHOWN)],
                        "Non-mated probes, highest scores first",
                    ),
                    table(
                        ("probe", "highest-scoring enrolled person", "score"),
                        [(a, b, score(s)) for a, b, s in lowest_mated(dataset, trials, SHOWN)],
                        "Mated probes, lowest score for their own identity first",
                    ),
                ),
            ),
        ),
        encoder_id=r.encoder_id,
    )


def _charts(r: IdentificationResult, trials: Trials, by_size: Sequence[IdentificationResult]) -> list[str]:
    found = np.where(trials.own, trials.mated.best, -np.inf).astype(np.float64)
    non_mated = trials.non_mated.best.astype(np.float64)
    figures = [
        densities(
            "Highest score of each probe",
            "Distribution over mated probes (where their own identity scores highest) and non-mated probes.",
            {"mated": found, "non-mated": non_mated},
            r.threshold,
        ),
        trade_off(
            "Identification error trade-off",
            "The false negative (FNIR) against the false positive identification rate (FPIR) as the threshold moves, for this gallery.",
            ("FPIR", "FNIR"),
            {"": (found, non_mated)},
        ),
    ]
    return [*figures, _by_size(r, by_size)] if len(by_size) > 1 else figures


def _by_size(r: IdentificationResult, by_size: Sequence[IdentificationResult]) -> str:
    sizes = [float(found.gallery) for found in by_size]

    def shown(rates: Sequence[float | None]) -> list[float]:
        return [max(rate or 0.0, LOWEST_SHOWN) for rate in rates]

    return chart(
        "Errors by gallery size",
        "Measured rates for galleries of several sizes; the threshold follows the size. Rates below "
        f"{exact_percent(LOWEST_SHOWN)} lie on the lower edge.",
        Axis("people enrolled", sizes[0], sizes[-1], "log", tuple(sizes)),
        Axis("rate (%)", LOWEST_SHOWN, 0.5, "log", (1e-3, 1e-2, 0.1, 0.5), percent=True),
        [
            Line("FPIR", sizes, shown([found.fpir for found in by_size]), marks=True),
            Line("FNIR", sizes, shown([found.fnir for found in by_size]), marks=True),
            Line("claimed FPIR", sizes, [r.claimed_fpir] * len(sizes), reference=True),
        ],
    )
