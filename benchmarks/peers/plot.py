"""A plot of the field: TAR against CPU time, area = resident memory. SVG without a library."""

from __future__ import annotations

import math
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 420, 70, 30, 690, 360
COLOURS = {"edge-oneshot": "#0b6e4f", "yunet": "#2b6cb0", "face_recognition": "#b7791f"}
FONT = 'font-family="sans-serif" fill="#222"'


def plot(result: dict[str, Any]) -> str:
    """x: CPU ms of a frame with one face, every face undecided (hollow: steady state), logarithmic. y: TAR at FMR 1e-3."""
    points = [
        (
            name,
            peer["cpu_ms"]["1"],
            100 * peer["lfw"]["tar"],
            [100 * v for v in peer["lfw"]["interval"]],
            peer["rss_mb"],
        )
        for name, peer in result["peers"].items()
        if "lfw" in peer
    ]
    own = result["peers"].get("edge-oneshot", {})
    xs = [p[1] for p in points] + [own["steady"]["1"]["cpu_ms"]] * ("steady" in own)
    lows = [p[3][0] for p in points]
    x_low, x_high = 0.6 * min(xs), 1.8 * max(xs)
    y_low = math.floor(min([*lows, 99.0]) - 1)

    def x(ms: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(ms / x_low) / math.log(x_high / x_low)

    def y(tar: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (tar - y_low) / (100 - y_low)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        "<title>TAR against CPU time; area = resident memory</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_axes(x, y, x_low, x_high, y_low),
    ]
    for name, ms, tar, interval, mb in points:
        colour, radius = COLOURS.get(name, "#805ad5"), 2.2 * math.sqrt(mb)
        lines.append(
            f'<circle cx="{x(ms):.1f}" cy="{y(tar):.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity="0.55"/>'
        )
        lines.append(
            f'<path d="M{x(ms):.1f} {y(interval[0]):.1f}V{y(interval[1]):.1f}" stroke="{colour}" stroke-width="2"/>'
        )
        if name == "edge-oneshot" and "steady" in own:
            still = x(own["steady"]["1"]["cpu_ms"])
            lines.append(
                f'<circle cx="{still:.1f}" cy="{y(tar):.1f}" r="{radius:.1f}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            lines.append(_text(still - radius - 6, y(tar) + 4, "steady state", 12, "end"))
        # Ours above its interval and the others below theirs, so that near points keep their labels apart.
        at = y(interval[1]) - 24 if name == "edge-oneshot" else y(interval[0]) + 16
        lines.append(_text(x(ms), at, result["titles"][name].split(" + ")[0], 13))
        lines.append(_text(x(ms), at + 15, f"{mb:.0f} MB, {ms:.0f} ms, {tar:.1f} %", 12))
    return "\n".join([*lines, "</svg>", ""])


def _text(x: float, y: float, text: str, size: int, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {FONT}>{text}</text>'


def _axes(x: Any, y: Any, x_low: float, x_high: float, y_low: int) -> list[str]:
    lines = []
    ticks = [v * 10**e for e in range(-1, 5) for v in (1, 2, 3, 5, 7)]
    for ms in (t for t in ticks if x_low <= t <= x_high):
        lines.append(f'<path d="M{x(ms):.1f} {TOP}V{BOTTOM}" stroke="#ddd"/>')
        lines.append(_text(x(ms), BOTTOM + 18, f"{ms:g}", 12))
    step = max(1, round((100 - y_low) / 8))
    for tar in range(y_low, 101, step):
        lines.append(f'<path d="M{LEFT} {y(tar):.1f}H{RIGHT}" stroke="#ddd"/>')
        lines.append(_text(LEFT - 8, y(tar) + 4, f"{tar}", 12, "end"))
    lines.append(_text((LEFT + RIGHT) / 2, BOTTOM + 42, "CPU ms for a frame of 640x480 with one face, one thread", 13))
    lines.append(_text(LEFT - 55, TOP - 12, "TAR at FMR 1e-3, %; LFW sets 5-6", 13, "start"))
    return lines
