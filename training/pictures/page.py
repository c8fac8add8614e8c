"""The report of a run as one HTML page: curves, rates, and the pairs of pictures with the largest errors."""

from __future__ import annotations

import base64
import html
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_oneshot.cameras.images import load_image
from edge_oneshot.evaluation.reports.charts import Axis, Line, chart, densities, trade_off
from edge_oneshot.evaluation.reports.html import Page, paragraph, section, side_by_side
from training.pictures.folder import Folder
from training.pictures.measure import Measured, as_text

WORST = 12  # pairs of each kind
OF_A_CLASS = 2  # maximum number of these pairs with the same class
THUMB_PX = 128


def worst(found: Measured, owner: NDArray[np.int64], mated: bool) -> list[int]:
    """The pairs with the lowest scores of the mated, or the highest of the non-mated ones; one of any two classes."""
    index = np.flatnonzero(found.pairs.mated == mated)
    order = index[np.argsort(found.scores[index] if mated else -found.scores[index], kind="stable")]
    used: Counter[int] = Counter()
    shown: set[frozenset[int]] = set()
    chosen: list[int] = []
    for p in order.tolist():
        classes = frozenset({int(owner[found.pairs.first[p]]), int(owner[found.pairs.second[p]])})
        if classes not in shown and all(used[c] < OF_A_CLASS for c in classes):
            used.update(classes)
            shown.add(classes)
            chosen.append(p)
        if len(chosen) == WORST:
            break
    return chosen


def page(folder: Folder, found: Measured, log: Path, bundle: Path) -> str:
    """The whole page. It contains pictures of the folder."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    owner = folder.owner[found.rows]
    mated = found.pairs.mated
    scores = found.scores.astype(np.float64)
    return Page(
        title=f"{bundle.name}: what it recognizes",
        lead=(
            f"Trained on the folder {folder.root.resolve().name}. All rates are measured on the "
            "report classes, which were not used for training. The page contains pictures of the folder.",
        ),
        sections=(
            section("Rates", f"<pre>{html.escape(as_text(found.record))}</pre>"),
            section("Training", side_by_side(*_curves(rows))),
            section(
                "Scores and errors",
                side_by_side(
                    densities(
                        "Comparison scores", "All pairs of pictures of the report classes.",
                        {"mated": scores[mated], "non-mated": scores[~mated]}, found.threshold,
                    ),
                    trade_off(
                        "Detection error trade-off (DET)",
                        "The false non-match rate (FNMR) against the false match rate (FMR) as the threshold moves.",
                        ("FMR", "FNMR"), {"int8": (scores[mated], scores[~mated])},
                    ),
                ),
            ),
            _pairs(folder, found, worst(found, owner, mated=False), "Different classes, highest scores"),
            _pairs(folder, found, worst(found, owner, mated=True), "One class, lowest scores"),
        ),
        encoder_id=found.record["encoder_id"],
    ).html()  # fmt: skip


def _curves(rows: list[dict[str, float]]) -> list[str]:
    steps = [row["step"] for row in rows]
    x = Axis("step", 0, max(steps), ticks=(0, max(steps)))
    top = max(row["loss"] for row in rows) * 1.05
    return [
        chart("Loss", "Mean over the steps since the point before.", x, Axis("loss", 0, top, ticks=(0, round(top))), [
            Line("training", steps, [row["loss"] for row in rows], marks=True),
        ]),
        chart(
            "Validation classes", "One-shot choice among up to 20 classes, and equal error rate of all pairs, in float.",
            x, Axis("rate", 0, 1, ticks=(0, 0.5, 1), percent=True), [
                Line("right one-shot choices", steps, [row["one_shot"] for row in rows], marks=True),
                Line("equal error rate", steps, [row["eer"] for row in rows], marks=True),
            ],
        ),
    ]  # fmt: skip


def _pairs(folder: Folder, found: Measured, chosen: list[int], heading: str) -> str:
    figures = []
    for p in chosen:
        both = [int(found.rows[side[p]]) for side in (found.pairs.first, found.pairs.second)]
        names = [folder.classes[folder.owner[i]] for i in both]
        decision = "match" if found.scores[p] >= found.threshold else "non-match"
        pictures = "".join(
            f'<img src="{thumbnail(folder.root / folder.paths[i])}" alt="{html.escape(folder.paths[i])}" '
            f'title="{html.escape(folder.paths[i])}" height="{THUMB_PX}" style="max-width:48%;object-fit:contain;margin-right:4px">'
            for i in both
        )
        label = names[0] if names[0] == names[1] else f"{names[0]} and {names[1]}"
        figures.append(
            f"<figure>{pictures}<figcaption>{html.escape(label)}: score {found.scores[p]:.3f}, {decision}</figcaption></figure>"
        )
    grid = 'style="display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:.5rem 1.5rem"'
    text = (
        f"The threshold of the card is {found.threshold:.3f}. Each class appears in at most {OF_A_CLASS} of the pairs."
    )
    return section(heading, paragraph(text), f"<div {grid}>{''.join(figures)}</div>")


def thumbnail(path: Path) -> str:
    """The picture as a data URI, at most THUMB_PX high and wide."""
    picture = Image.fromarray(load_image(path).pixels)
    picture.thumbnail((THUMB_PX, THUMB_PX))
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
