"""Line charts as inline SVG, coloured by the stylesheet of html.py. Lines differ by dash pattern as well as by colour."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from edge_oneshot.evaluation.reports.html import escaped
from edge_oneshot.types import Float64Array

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 480, 330, 62, 18, 52, 24
RATES = (1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.2, 0.4)  # the labelled values of an axis for rates
DASHES = ("", "8 4", "2 3", "10 3 2 3", "14 4", "5 2")
HIGHEST_RATE, LOWEST_FNMR = 0.4, 1e-3  # of an error trade-off


@dataclass(frozen=True, slots=True)
class Axis:
    """kind: "linear", "log", or "deviate" (normal deviate, for rates: ISO/IEC 19795-1). ticks: the labelled values.

    percent: the values are rates, labelled in per cent.
    """

    label: str
    low: float
    high: float
    kind: str = "linear"
    ticks: tuple[float, ...] = ()
    percent: bool = False

    def at(self, value: float) -> float:
        """0 at the low end, 1 at the high end. A value outside is drawn at the end."""
        v = min(max(value, self.low), self.high)
        a, b, c = (self._scale(x) for x in (self.low, self.high, v))
        return (c - a) / (b - a) if b > a else 0.0

    def _scale(self, value: float) -> float:
        if self.kind == "log":
            return math.log(value)
        return NormalDist().inv_cdf(min(max(value, 1e-9), 1 - 1e-9)) if self.kind == "deviate" else value

    def labelled(self) -> tuple[float, ...]:
        if inside := tuple(t for t in self.ticks if self.low <= t <= self.high):
            return inside
        step = 10 ** math.floor(math.log10(max(self.high - self.low, 1e-12) / 5))
        step *= next(f for f in (1, 2, 5, 10) if (self.high - self.low) / (f * step) <= 6)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(round(i * step, 12) for i in range(first, last + 1))

    def text(self, value: float) -> str:
        return f"{100 * value if self.percent else value:.4g}"


@dataclass(frozen=True, slots=True)
class Line:
    """x, y: numbers of the same length. marks: draw the points, too. reference: drawn thin, such as a claim."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    marks: bool = False
    reference: bool = False


def chart(
    title: str, text: str, x: Axis, y: Axis, lines: Sequence[Line], upright: tuple[float, str] | None = None
) -> str:
    """A figure. text: one sentence on what it shows. upright: a labelled vertical rule, such as the threshold."""
    key = re.sub(r"\W+", "-", title.lower())
    lines_text = "; ".join(_described(line, x, y) for line in lines if len(line.x))
    return (
        f'<figure><figcaption><strong id="{key}">{html.escape(title)}</strong>{escaped(text)}</figcaption>'
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{key}" aria-describedby="{key}-d">'
        f'<desc id="{key}-d">{html.escape(f"Horizontal axis: {x.label}. Vertical axis: {y.label}. {lines_text}.")}</desc>'
        + _axes(x, y)
        + ("" if upright is None else _upright(x, *upright))
        + "".join(_drawn(i, line, x, y) for i, line in enumerate(lines))
        + "</svg>"
        + _legend(lines)
        + "</figure>"
    )


def _px(x: Axis, value: float) -> float:
    return LEFT + x.at(value) * (WIDTH - LEFT - RIGHT)


def _py(y: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - y.at(value) * (HEIGHT - BOTTOM - TOP)


def _described(line: Line, x: Axis, y: Axis) -> str:
    first, last = ((x.text(line.x[i]), y.text(line.y[i])) for i in (0, -1))
    return f"{line.name or 'curve'}: from {first[1]} at {first[0]} to {last[1]} at {last[0]}"


def _axes(x: Axis, y: Axis) -> str:
    floor, middle = HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
    body = [
        f'<path class="grid" d="M{_px(x, t):.1f} {TOP}V{floor}"/>'
        f'<text x="{_px(x, t):.1f}" y="{floor + 18}" text-anchor="middle">{x.text(t)}</text>'
        for t in x.labelled()
    ]
    body += [
        f'<path class="grid" d="M{LEFT} {_py(y, t):.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 7}" y="{_py(y, t) + 4.5:.1f}" text-anchor="end">{y.text(t)}</text>'
        for t in y.labelled()
    ]
    return "".join(body) + (
        f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}"/>'
        f'<text x="{(WIDTH + LEFT - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{html.escape(x.label)}</text>'
        f'<text x="15" y="{middle}" text-anchor="middle" transform="rotate(-90 15 {middle})">{html.escape(y.label)}</text>'
    )


def _upright(x: Axis, value: float, label: str) -> str:
    at = _px(x, value)
    anchor = "start" if at < WIDTH / 3 else "end" if at > WIDTH * 2 / 3 else "middle"
    return (
        f'<path class="mark" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        f'<text x="{at:.1f}" y="{TOP - 8}" text-anchor="{anchor}">{html.escape(label)}</text>'
    )


def _stroke(i: int, line: Line) -> str:
    dash = "4 3" if line.reference else DASHES[i % len(DASHES)]
    return ('class="axis"' if line.reference else f'class="s{i % 6}"') + (f' stroke-dasharray="{dash}"' if dash else "")


def _drawn(i: int, line: Line, x: Axis, y: Axis) -> str:
    points = [(_px(x, a), _py(y, b)) for a, b in zip(line.x, line.y, strict=True)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    dots = [f'<circle class="s{i % 6}" cx="{a:.1f}" cy="{b:.1f}" r="2.8"/>' for a, b in points] if line.marks else []
    return f'<polyline {_stroke(i, line)} points="{path}"/>' + "".join(dots)


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) == 1 and not lines[0].name:
        return ""
    entries = [
        f'<li><svg viewBox="0 0 30 10" aria-hidden="true"><path {_stroke(i, line)} d="M0 5h30"/>'
        + (f'<circle class="s{i % 6}" cx="15" cy="5" r="2.8"/>' if line.marks else "")
        + f"</svg>{html.escape(line.name)}</li>"
        for i, line in enumerate(lines)
    ]
    return f'<ul class="legend">{"".join(entries)}</ul>'


def densities(title: str, text: str, scores: Mapping[str, Float64Array], threshold: float | None = None) -> str:
    """Densities of several kinds of scores over one range. Scores that are not finite are ignored."""
    finite = {name: s[np.isfinite(s)] for name, s in scores.items()}
    both = np.concatenate(list(finite.values()))
    if not both.size:
        return ""
    bins = int(np.clip(2.5 * np.sqrt(min(s.size for s in finite.values() if s.size)), 12, 60))
    edges = np.linspace(float(both.min()), float(both.max()) + 1e-9, bins + 1)
    middle = ((edges[1:] + edges[:-1]) / 2).tolist()
    curves = [(name, np.histogram(s, edges, density=True)[0]) for name, s in finite.items() if s.size]
    top = max(float(c.max()) for _, c in curves)
    return chart(
        title,
        text,
        Axis("comparison score", float(edges[0]), float(edges[-1])),
        Axis("density", 0.0, top * 1.05),
        [Line(name, middle, c.tolist()) for name, c in curves],
        None if threshold is None else (threshold, f"threshold {threshold:.3f}"),
    )


def trade_off(
    title: str, text: str, rates: tuple[str, str], trials: Mapping[str, tuple[Float64Array, Float64Array]]
) -> str:
    """Error trade-offs (DET) on normal deviate axes. rates: the names of the false positive and false negative rate.

    trials: name of the line -> (missed, positive). missed: for each mated trial, the score up to which it is found
    (-inf: never). positive: the score of each non-mated trial.
    """
    lines, lowest = [], HIGHEST_RATE
    for name, (missed, positive) in trials.items():
        other, own = np.sort(positive), np.sort(missed)
        if not other.size or not own.size:
            continue
        least = max(1e-5, 1.0 / other.size)
        at = np.quantile(other, 1 - np.geomspace(least, HIGHEST_RATE, 120), method="higher")
        x = (other.size - np.searchsorted(other, at, side="right")) / other.size
        y = np.searchsorted(own, at, side="right") / own.size
        lines.append(Line(name, x[x >= least].tolist(), y[x >= least].tolist()))
        lowest = min(lowest, least)
    if not lines:
        return ""
    x_axis = Axis(f"{rates[0]} (%)", lowest, HIGHEST_RATE, "deviate", RATES, percent=True)
    y_axis = Axis(f"{rates[1]} (%)", LOWEST_FNMR, HIGHEST_RATE, "deviate", RATES, percent=True)
    return chart(title, text, x_axis, y_axis, lines)
