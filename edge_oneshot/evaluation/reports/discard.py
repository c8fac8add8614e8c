"""The report of `edge-oneshot evaluate quality`: error versus discard."""

from __future__ import annotations

from edge_oneshot.evaluation.discard import STEPS, DiscardResult
from edge_oneshot.evaluation.reports.charts import Axis, Line, chart
from edge_oneshot.evaluation.reports.html import Page, paragraph, section, table
from edge_oneshot.evaluation.reports.numbers import count, exact_percent, percent, score

NAMES = {
    "inter_eye_px": "distance between the eyes (px)",
    "sharpness": "sharpness",
    "luma": "brightness",
    "contrast": "contrast",
    "yaw_deg": "yaw (degrees)",
    "pitch_deg": "pitch (degrees)",
    "hidden": "hidden landmarks",
    "random": "random",
}


def _gates(r: DiscardResult) -> str:
    g = r.gates
    return (
        f"The configured gates refuse {g.refused} of {count(g.of, 'image')}. FNMR changes from {percent(g.fnmr_open)} to "
        f"{percent(g.fnmr_gated)}."
    )


def lines(r: DiscardResult) -> list[str]:
    """The report for a terminal."""
    found = [
        f"{count(r.mated_pairs, 'mated pair')} of {count(r.identities, 'person', 'people')}; FNMR at threshold {score(r.threshold)}",
        _gates(r),
        "FNMR after discarding the images with the worst values:",
        f"  {'measure':32}" + "".join(f"{exact_percent(share):>9}" for share in STEPS),
    ]
    for name, curve in r.curves.items():
        found.append(f"  {NAMES[name]:32}" + "".join(f"{'-' if p.fnmr is None else percent(p.fnmr):>9}" for p in curve))
    return found


def page(r: DiscardResult) -> Page:
    curves = []
    for name, curve in r.curves.items():
        points = [(p.discarded, p.fnmr) for p in curve if p.fnmr is not None]
        x, y = [a for a, _ in points], [b for _, b in points]
        curves.append(Line(NAMES[name], x, y, marks=name != "random", reference=name == "random"))
    top = max((max(line.y) for line in curves if len(line.y)), default=0.1) * 1.1
    rows = [(NAMES[name], *(percent(p.fnmr) for p in curve)) for name, curve in r.curves.items()]
    return Page(
        title="Error versus discard",
        lead=(
            f"{count(r.mated_pairs, 'mated comparison')} of {count(r.identities, 'person', 'people')}, from "
            f"{count(r.pictures, 'image')}. FNMR is the share of mated comparisons below the threshold, score "
            f"{score(r.threshold)}, as the mean over people.",
            "For each quality measure, the images with the worst values are discarded step by step. A measure is useful as a "
            "gate if FNMR falls faster than with images discarded at random.",
        ),
        sections=(
            section(
                "FNMR of the remaining comparisons",
                chart(
                    "FNMR by share of images discarded",
                    "One line for each quality measure, the worst images discarded first; the dashed line discards at random.",
                    Axis("images discarded (%)", 0.0, 0.3, percent=True),
                    Axis("false non-match rate, FNMR (%)", 0.0, max(top, 1e-3), percent=True),
                    curves,
                ),
                table(
                    ("Measure", *(exact_percent(share) for share in STEPS)), rows, "FNMR by share of images discarded"
                ),
            ),
            section(
                "The configured gates",
                paragraph(_gates(r)),
                table(
                    ("Gate", "images refused"), [(NAMES[name], n) for name, n in r.gates.refused_by.items()], "By gate"
                ),
                paragraph(
                    "Images without a face count as failures to acquire, not here. The gate for hidden landmarks applies at "
                    "enrollment only."
                ),
            ),
        ),
        encoder_id=r.encoder_id,
    )
