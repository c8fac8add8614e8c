"""The page of each report: which figures and tables it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_oneshot.evaluation import identification
from edge_oneshot.evaluation.comparisons import Pairs
from edge_oneshot.evaluation.dataset import Embedded
from edge_oneshot.evaluation.reports.html import Axis, Line, chart, det, histograms, page, table
from edge_oneshot.evaluation.visits import Told
from edge_oneshot.matching.track import ResultKind
from edge_oneshot.types import Float32Array

RATES = (1e-5, 1e-4, 1e-3, 1e-2, 0.1)


def verification_page(result: dict[str, Any], embedded: Embedded, pairs: Pairs, scores: Float32Array) -> str:
    mated, other = scores[pairs.mated].astype(np.float64), scores[~pairs.mated].astype(np.float64)
    rates = [
        (
            f,
            t,
            None if t is None else result["tar_ci95"][f],
            result["balanced_tar_at_fmr"][f],
            result["threshold_at_fmr"][f],
        )
        for f, t in result["tar_at_fmr"].items()
    ]
    protocol = (
        f"{result['pairs']} pairs of {result['identities']} people, {result['images']} pictures. Intervals are 95 %, people drawn "
        "again. A pair with a picture that was not acquired counts as a non-match."
    )
    return page(
        "Verification, 1:1",
        protocol,
        [
            table(("FMR", "TAR", "95 %", "mean over people", "threshold"), rates),
            histograms(mated, other, result["threshold"]),
            det("Detection error trade-off", "FMR", "FNMR", mated, other),
            "<h2>Highest non-mated, lowest mated</h2>",
            _worst_pairs(embedded, pairs, scores),
        ],
        result,
    )


def _worst_pairs(embedded: Embedded, pairs: Pairs, scores: Float32Array, count: int = 15) -> str:
    names = [p.person for p in embedded.pictures]
    finite = np.isfinite(scores)
    high = np.argsort(np.where(~pairs.mated & finite, -scores, np.inf))[: min(count, int((~pairs.mated).sum()))]
    low = np.argsort(np.where(pairs.mated & finite, scores, np.inf))[: min(count, int(pairs.mated.sum()))]
    return table(
        ("one", "other", "score"),
        [(names[pairs.first[i]], names[pairs.second[i]], f"{scores[i]:.3f}") for i in (*high, *low)],
    )


def identification_page(
    result: dict[str, Any], embedded: Embedded, trials: identification.Trials, by_size: list[dict[str, Any]]
) -> str:
    missed = np.where(trials.mated_own, trials.mated_best, -np.inf).astype(np.float64)
    worst = identification.worst(embedded, trials)
    sizes = [r["gallery"] for r in by_size]
    parts = [
        table(
            ("", "claimed", "measured", "95 %"),
            [
                ("FPIR", result["claimed_fpir"], result["fpir"], result["ci95"]["fpir"]),
                ("FNIR", "", result["fnir"], result["ci95"]["fnir"]),
                ("rank 1", "", result["rank1"], ""),
            ],
        ),
        histograms(missed, trials.other_best.astype(np.float64), result["threshold"]),
        det(
            "Identification error trade-off, this gallery", "FPIR", "FNIR", missed, trials.other_best.astype(np.float64)
        ),
    ]
    if len(sizes) > 1:
        curves = {
            "claimed FPIR": [result["claimed_fpir"]] * len(sizes),
            "FPIR": [max(r["fpir"], 1e-4) for r in by_size],
            "FNIR": [max(r["fnir"] or 0.0, 1e-4) for r in by_size],
        }
        lines = [Line(n, sizes, v, "4 3" if "claimed" in n else "", True) for n, v in curves.items()]
        across = Axis("identities enrolled", sizes[0], sizes[-1], "log", tuple(sizes))
        parts.append(
            chart(
                "Error against gallery size; the threshold follows it. A rate below 0.001 lies on the lower edge",
                across,
                Axis("rate", 1e-3, 0.5, "log", RATES),
                lines,
                names_left=True,
            )
        )
    parts += [
        "<h2>Worst non-mated probes</h2>",
        table(("probe", "taken for", "score"), [tuple(r.values()) for r in worst["non_mated"]]),
        "<h2>Worst mated probes</h2>",
        table(("probe", "best", "score"), [tuple(r.values()) for r in worst["mated"]]),
    ]
    protocol = (
        f"A gallery of {result['gallery']} people with one picture each; {result['mated_probes']} mated probes of "
        f"{result['mated_identities']} people; {result['non_mated_probes']} non-mated probes of {result['non_mated_identities']} "
        "others. The threshold was set beforehand, by the card, for the claimed FPIR and this gallery."
    )
    return page("Open-set identification, 1:N", protocol, parts, result)


def calibration_page(result: dict[str, Any]) -> str:
    claims = result["claims"]
    beyond = {True: " (extrapolated)", False: ""}
    rows = [
        (
            c["kind"],
            c["identities"],
            c["claimed"],
            c["measured"],
            c["ci95"],
            f"{c['threshold']:.4f}{beyond[c['extrapolated']]}",
            c["carried_by"],
            c["agreement"],
        )
        for c in claims
    ]
    sizes = sorted({c["identities"] for c in claims})
    lines = [
        Line(
            f"{n} enrolled" if n > 1 else "1:1 (FMR)",
            [c["claimed"] for c in claims if c["identities"] == n],
            [max(c["measured"], 1e-6) for c in claims if c["identities"] == n],
            "",
            True,
        )
        for n in sizes
    ]
    lines.append(Line("as claimed", [1e-6, 0.2], [1e-6, 0.2], "3 3"))
    parts = [
        table(
            ("rate", "identities", "claimed", "measured", "95 %", "threshold", "people who carry it", "agreement"), rows
        ),
        chart(
            "Claimed against measured",
            Axis("claimed", 5e-6, 0.2, "log", RATES),
            Axis("measured", 5e-6, 0.2, "log", RATES),
            lines,
            names_left=True,
        ),
    ]
    if groups := result.get("groups"):
        fmrs = list(groups[0]["fmr"])
        parts += [
            "<h2>Within groups, worst first</h2>",
            table(
                ("group", "people", *(f"FMR at {f}" for f in fmrs)),
                [(g["group"], g["identities"], *(g["fmr"][f] for f in fmrs)) for g in groups],
            ),
        ]
    protocol = (
        f"Thresholds: {result['protocol'] or 'the table of the card'}. Measured on {result['identities']} other people, "
        f"{result['pictures']} pictures, every ordered pair of people weighing the same; intervals by bootstrap over people."
    )
    return page("Claimed and measured error rates", protocol, parts, result)


def quality_page(result: dict[str, Any]) -> str:
    lines = [
        Line(
            name,
            [p["discarded"] for p in curve if p["fnmr"] is not None],
            [p["fnmr"] for p in curve if p["fnmr"] is not None],
            "3 3" if name == "random" else "",
            True,
        )
        for name, curve in result["curves"].items()
    ]
    top = max((max(line.y) for line in lines if len(line.y)), default=0.1) * 1.1
    g = result["gates"]
    return page(
        "Error versus discard",
        f"{result['mated_pairs']} mated pairs of {result['identities']} people; FNMR at the threshold "
        f"{result['threshold']:.3f}, every person weighing alike. Pictures are left out by each measure, worst first.",
        [
            chart(
                "FNMR of the pairs that remain",
                Axis("share of pictures left out", 0.0, 0.3),
                Axis("FNMR", 0.0, max(top, 1e-3)),
                lines,
            ),
            f"<p>The gates as configured refuse {g['refused']} of {g['of']} pictures: FNMR {g['fnmr_open']} becomes {g['fnmr_gated']}.</p>",
            table(("gate", "pictures refused"), list(g["refused_by"].items())),
        ],
        result,
    )


def video_page(result: dict[str, Any], told: Sequence[Told]) -> str:
    """How many comparisons a match took, and every false match by name and time."""
    mated, other = result["fnir_per_visit"], result["fpir_per_visit"]
    protocol = (
        f"{result['visits']} visits in {result['hours']:.2f} hours, {result['gallery']} people enrolled; threshold "
        f"{result['threshold']:.3f}. Intervals are 95 %, over people."
    )
    rows = [
        (
            "strangers told as somebody (FPIR)",
            other["rate"],
            other["count"],
            other["of"],
            other["people"],
            other["ci95"],
        ),
        ("enrolled people not told (FNIR)", mated["rate"], mated["count"], mated["of"], mated["people"], mated["ci95"]),
    ]
    keys = (
        "match_events",
        "false_match_events",
        "false_match_events_per_hour",
        "claimed_false_matches",
        "unknown_events",
        "false_unknown_events",
        "rejected_events",
        "events_outside_visits",
        "repeated_match_events",
        "identity_switches",
    )
    parts = [
        table(("per visit", "rate", "count", "of", "people", "95 %"), rows),
        table(("events", ""), [(k.replace("_", " "), result[k]) for k in keys]),
    ]
    frames = sorted(e.compared for e in told if e.kind is ResultKind.MATCH)
    if frames:
        share = [(i + 1) / len(frames) for i in range(len(frames))]
        every = tuple(float(n) for n in range(0, frames[-1] + 1, max(1, frames[-1] // 8)))
        parts.append(
            chart(
                "Matches told after so many compared frames of a track",
                Axis("compared frames", 0.0, float(frames[-1]), ticks=every),
                Axis("share of the matches", 0.0, 1.0),
                [Line("matches", frames, share)],
            )
        )
    false = [(f["video"], f["at_s"], f["told"], ", ".join(f["of"])) for f in result["false_matches"]]
    parts += ["<h2>False matches</h2>", table(("video", "second", "told as", "in sight"), false)] if false else []
    return page("Visits", protocol, parts, result)
