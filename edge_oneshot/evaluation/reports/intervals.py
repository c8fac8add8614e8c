"""A chart of rates with intervals, one row for each population, as inline SVG (see charts.py)."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edge_oneshot.evaluation.reports.charts import Axis
from edge_oneshot.evaluation.reports.html import escaped

WIDTH, LEFT, RIGHT, TOP, BOTTOM, ROW, STEP = 790, 220, 18, 12, 52, 46, 11
TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)


@dataclass(frozen=True, slots=True)
class Row:
    """values: for each series (rate, low, high, resolved). A rate that is not resolved is drawn hollow."""

    name: str
    values: Sequence[tuple[float, float, float, bool]]


def interval_chart(title: str, text: str, series: Sequence[str], claims: Sequence[float], rows: Sequence[Row]) -> str:
    """A figure with a logarithmic axis. series: names, such as the claimed rates; claims: a dashed line for each."""
    if not rows:
        return ""
    low = min(claims) / 20
    x = Axis("false match rate (%)", low, 1.0, "log", TICKS, percent=True)
    key, height = re.sub(r"\W+", "-", title.lower()), TOP + ROW * len(rows) + BOTTOM

    def px(value: float) -> float:
        return LEFT + x.at(max(value, low)) * (WIDTH - LEFT - RIGHT)

    floor = height - BOTTOM
    body = [
        f'<path class="grid" d="M{px(t):.1f} {TOP}V{floor}"/>'
        f'<text x="{px(t):.1f}" y="{floor + 18}" text-anchor="middle">{x.text(t)}</text>'
        for t in x.labelled()
    ]
    body += [
        f'<path class="s{i % 6}" stroke-dasharray="4 4" d="M{px(c):.1f} {TOP}V{floor}"/>' for i, c in enumerate(claims)
    ]
    for r, row in enumerate(rows):
        top = TOP + r * ROW
        body.append(
            f'<text x="{LEFT - 8}" y="{top + ROW / 2 + 5:.0f}" text-anchor="end">{html.escape(row.name)}</text>'
        )
        body.append(f'<path class="grid" d="M{LEFT} {top + ROW}H{WIDTH - RIGHT}"/>')
        for i, (rate, from_, to, resolved) in enumerate(row.values):
            y = top + ROW / 2 + (i - (len(row.values) - 1) / 2) * STEP
            body.append(f'<path class="s{i % 6}" d="M{px(from_):.1f} {y:.1f}H{px(to):.1f}"/>')
            fill = "" if resolved else ' style="fill:var(--page)"'
            body.append(f'<circle class="s{i % 6}" cx="{px(rate):.1f}" cy="{y:.1f}" r="3.5"{fill}/>')
    described = "; ".join(
        f"{row.name}: " + ", ".join(f"{x.text(v[0])} at {s}" for v, s in zip(row.values, series, strict=True))
        for row in rows
    )
    legend = "".join(
        f'<li><svg viewBox="0 0 30 10" aria-hidden="true"><path class="s{i % 6}" d="M0 5h30"/>'
        f'<circle class="s{i % 6}" cx="15" cy="5" r="3.5"/></svg>claimed {html.escape(name)}</li>'
        for i, name in enumerate(series)
    )
    return (
        f'<figure style="max-width:48rem"><figcaption><strong id="{key}">{html.escape(title)}</strong>{escaped(text)}</figcaption>'
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{key}" aria-describedby="{key}-d">'
        f'<desc id="{key}-d">{html.escape(f"Horizontal axis: {x.label}. {described}.")}</desc>{"".join(body)}'
        f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}"/>'
        f'<text x="{(WIDTH + LEFT - RIGHT) / 2}" y="{height - 10}" text-anchor="middle">{html.escape(x.label)}</text>'
        f'</svg><ul class="legend">{legend}</ul></figure>'
    )
