"""Reports as one HTML page that needs nothing else: no script, no font, no picture from elsewhere. Names, never faces."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from edge_oneshot.types import Float64Array

COLOURS = ("#1b6ca8", "#d1495b", "#2d6a4f", "#b8860b", "#6a4c93", "#555555")
WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 580, 330, 64, 28, 44, 14
RATES = (1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.2, 0.4)
STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}
pre{background:#f5f5f2;padding:1rem;overflow-x:auto;font-size:13px}figure{display:inline-block;margin:0 1rem 1rem 0;vertical-align:top}
figcaption{font-size:14px;max-width:560px}svg text{font:11px system-ui,sans-serif;fill:#444}
table{border-collapse:collapse;font-size:14px;margin:.5rem 0}td,th{padding:.15rem .8rem;text-align:right;border-bottom:1px solid #eee}
td:first-child,th:first-child{text-align:left}"""


@dataclass(frozen=True, slots=True)
class Axis:
    """kind: "linear", "log", or "deviate" (normal deviate, for rates: ISO/IEC 19795-1). ticks: the values that are labelled."""

    label: str
    low: float
    high: float
    kind: str = "linear"
    ticks: tuple[float, ...] = ()

    def at(self, value: float) -> float:
        """0 at the low end, 1 at the high end; clipped to them."""
        v = min(max(value, self.low), self.high)
        a, b, c = (self._scale(x) for x in (self.low, self.high, v))
        return (c - a) / (b - a) if b > a else 0.0

    def _scale(self, value: float) -> float:
        if self.kind == "log":
            return math.log(value)
        return NormalDist().inv_cdf(min(max(value, 1e-9), 1 - 1e-9)) if self.kind == "deviate" else value

    def labelled(self) -> tuple[float, ...]:
        return tuple(t for t in self.ticks if self.low <= t <= self.high) or tuple(
            float(v) for v in np.linspace(self.low, self.high, 6)
        )


@dataclass(frozen=True, slots=True)
class Line:
    """x, y: numbers of the same length. dash: an SVG dash pattern. marks: draw the points, too."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dash: str = ""
    marks: bool = False


def chart(
    title: str, x: Axis, y: Axis, lines: Sequence[Line], upright: float | None = None, *, names_left: bool = False
) -> str:
    """Lines as SVG. upright: a vertical rule at this x, such as the threshold. names_left: for lines that rise to the right."""
    names = LEFT + 14 if names_left else WIDTH - 180

    def px(value: float) -> float:
        return LEFT + x.at(value) * (WIDTH - LEFT - RIGHT)

    def py(value: float) -> float:
        return HEIGHT - BOTTOM - y.at(value) * (HEIGHT - BOTTOM - TOP)

    body = []
    for t in x.labelled():
        body.append(
            f'<path d="M{px(t):.1f} {TOP} V{HEIGHT - BOTTOM}" stroke="#eee"/>'
            f'<text x="{px(t):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{t:.3g}</text>'
        )
    for t in y.labelled():
        body.append(
            f'<path d="M{LEFT} {py(t):.1f} H{WIDTH - RIGHT}" stroke="#eee"/>'
            f'<text x="{LEFT - 6}" y="{py(t) + 4:.1f}" text-anchor="end">{t:.3g}</text>'
        )
    if upright is not None:
        body.append(f'<path d="M{px(upright):.1f} {TOP} V{HEIGHT - BOTTOM}" stroke="#888" stroke-dasharray="2 3"/>')
    for i, line in enumerate(lines):
        colour, points = COLOURS[i % len(COLOURS)], [(px(a), py(b)) for a, b in zip(line.x, line.y, strict=True)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        body.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.7" stroke-dasharray="{line.dash}" points="{path}"/>'
        )
        body += (
            [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6" fill="{colour}"/>' for a, b in points] if line.marks else []
        )
        body.append(
            f'<path d="M{names} {TOP + 11 + 15 * i} h20" stroke="{colour}" stroke-width="2" stroke-dasharray="{line.dash}"/>'
            f'<text x="{names + 26}" y="{TOP + 15 + 15 * i}">{html.escape(line.name)}</text>'
        )
    body.append(
        f'<path d="M{LEFT} {TOP} V{HEIGHT - BOTTOM} H{WIDTH - RIGHT}" fill="none" stroke="#888"/>'
        f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(x.label)}</text>'
        f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2})">{html.escape(y.label)}</text>'
    )
    return (
        f'<figure><svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        + "".join(body)
        + f"</svg><figcaption>{html.escape(title)}</figcaption></figure>"
    )


def histograms(mated: Float64Array, non_mated: Float64Array, threshold: float | None = None) -> str:
    """Densities of the two kinds of scores (finite ones)."""
    title = "Comparison scores" + (": the rule is the threshold" if threshold is not None else "")
    return densities(title, {"mated": mated, "non-mated": non_mated}, threshold)


def densities(title: str, scores: Mapping[str, Float64Array], threshold: float | None = None) -> str:
    """Densities of several kinds of scores (finite ones) over one range."""
    finite = {name: s[np.isfinite(s)] for name, s in scores.items()}
    both = np.concatenate(list(finite.values()))
    if not both.size:
        return ""
    edges = np.linspace(float(both.min()), float(both.max()) + 1e-9, 61)
    middle = ((edges[1:] + edges[:-1]) / 2).tolist()
    curves = [(name, np.histogram(s, edges, density=True)[0]) for name, s in finite.items() if s.size]
    top = max(float(c.max()) for _, c in curves)
    return chart(
        title,
        Axis("comparison score", float(edges[0]), float(edges[-1])),
        Axis("density", 0.0, top),
        [Line(name, middle, c.tolist()) for name, c in curves],
        threshold,
    )


def det(title: str, false_positive: str, false_negative: str, missed: Float64Array, positive: Float64Array) -> str:
    """Detection error trade-off on normal deviate axes.

    missed: per mated trial, the score at which it stops being found (-inf: never found). positive: per non-mated trial,
    its score.
    """
    return dets(title, false_positive, false_negative, {"measured": (missed, positive)})


def dets(
    title: str, false_positive: str, false_negative: str, trials: Mapping[str, tuple[Float64Array, Float64Array]]
) -> str:
    """Several trade-offs in one figure: name -> (missed, positive), as `det` takes them."""
    lines, lowest = [], 0.4
    for name, (missed, positive) in trials.items():
        other, own = np.sort(positive), np.sort(missed)
        if not other.size or not own.size:
            continue
        least = max(1e-5, 1.0 / other.size)
        at = np.quantile(other, 1 - np.geomspace(least, 0.4, 120), method="higher")
        x = (other.size - np.searchsorted(other, at, side="right")) / other.size
        y = np.searchsorted(own, at, side="right") / own.size
        lines.append(Line(name, x[x >= least].tolist(), y[x >= least].tolist()))
        lowest = min(lowest, least)
    return (
        chart(
            title,
            Axis(false_positive, lowest, 0.4, "deviate", RATES),
            Axis(false_negative, 1e-3, 0.4, "deviate", RATES),
            lines,
        )
        if lines
        else ""
    )


def table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    def cells(values: Sequence[object], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape('' if v is None else str(v))}</{tag}>" for v in values)

    return (
        f"<table><tr>{cells(head, 'th')}</tr>" + "".join(f"<tr>{cells(row, 'td')}</tr>" for row in lines) + "</table>"
    )


def page(title: str, protocol: str, parts: Sequence[str], result: dict[str, Any]) -> str:
    """The whole page; `parts` are HTML already, and the result stands below them as JSON."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style></head>'
        f"<body><h1>{html.escape(title)}</h1><p>{html.escape(protocol)}</p>{''.join(parts)}"
        f"<h2>Record</h2><pre>{html.escape(json.dumps(result, indent=1, ensure_ascii=False))}</pre></body></html>\n"
    )
