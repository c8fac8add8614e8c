"""Fits a slope to each measure of a soak run's CSV, and writes <out>.json and <out>.svg (scripts/soak.py)."""

from __future__ import annotations

import argparse
import csv
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from fault_report import code_version
from numpy.typing import NDArray

GOAL_MB_PER_HOUR = 0.5
BLOCK_S = 300.0  # neighbouring samples are alike, so the resampling draws blocks of this length
RESAMPLES = 400
MEMORY = ("rss_bytes", "anonymous_bytes", "pss_bytes", "private_bytes", "data_bytes")
FILES = ("gallery_bytes", "outbox_bytes", "other_sqlite_bytes", "written_bytes")
COUNTS = ("threads", "descriptors", "children", "outbox_depth")

Array = NDArray[np.float64]


def theil_sen(hours: Array, values: Array, sessions: Array) -> float:
    """The median slope of all pairs of samples of the same session, per hour: outliers do not move it."""
    slopes = []
    for number in np.unique(sessions):
        x, y = hours[sessions == number], values[sessions == number]
        first, second = np.triu_indices(len(x), k=1)
        apart = x[second] > x[first]
        slopes.append((y[second] - y[first])[apart] / (x[second] - x[first])[apart])
    return float(np.median(np.concatenate(slopes)))


def interval(hours: Array, values: Array, sessions: Array, slope: float, every_s: float) -> tuple[float, float]:
    """95 % interval of the slope by a moving-block bootstrap of the residuals."""
    rng = np.random.default_rng(0)
    thin = max(1, len(values) // 100)  # a hundred samples are enough for an interval
    hours, values, sessions, every_s = hours[::thin], values[::thin], sessions[::thin], every_s * thin
    length = max(1, min(round(BLOCK_S / every_s), len(values) // 3))
    residuals = values - slope * hours
    found = []
    for _ in range(RESAMPLES):
        starts = rng.integers(0, len(values) - length + 1, -(-len(values) // length))
        drawn = np.concatenate([residuals[s : s + length] for s in starts])[: len(values)]
        found.append(theil_sen(hours, slope * hours + drawn, sessions))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def fit(rows: dict[str, Array], warm_up_s: float) -> dict[str, dict[str, float]]:
    """measure -> slope per hour with its interval, over the samples after the warm-up of each session."""
    warm = rows["elapsed_s"] >= warm_up_s
    hours, sessions = rows["elapsed_s"][warm] / 3600, rows["session"][warm]
    every_s = float(np.median(np.diff(rows["elapsed_s"])))
    result = {}
    for name in (n for n in (*MEMORY, *COUNTS, *FILES) if n in rows):
        values = rows[name][warm]
        slope = theil_sen(hours, values, sessions)
        low, high = interval(hours, values, sessions, slope, every_s) if np.ptp(values) else (slope, slope)
        result[name] = {
            "per_hour": slope,
            "low_95": low,
            "high_95": high,
            "first": float(values[0]),
            "last": float(values[-1]),
            "most": float(values.max()),
        }
    return result


def draw(rows: dict[str, Array], fits: dict[str, dict[str, float]], warm_up_s: float, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "soak"  # the same picture for the same numbers
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 1, figsize=(8, 8), sharex=True, layout="constrained")
    panels = ((("rss_bytes", "pss_bytes", "private_bytes"), "MB"), (COUNTS[:3], "count"), (FILES[:3], "kB"))
    for axis, (names, unit) in zip(axes, panels, strict=True):
        for name in names:
            scale = {"MB": 1e6, "kB": 1e3}.get(unit, 1.0)
            for number in np.unique(rows["session"]):
                own = rows["session"] == number
                (line,) = axis.plot(rows["elapsed_s"][own] / 60, rows[name][own] / scale, lw=1)
            line.set_label(f"{name.removesuffix('_bytes')}: {fits[name]['per_hour'] / scale:+.2f} {unit} per hour")
        axis.axvline(warm_up_s / 60, color="grey", lw=0.8, ls=":")
        axis.set_ylabel(unit)
        axis.legend(loc="best", fontsize="small")
    axes[-1].set_xlabel("minutes; the fit begins at the dotted line")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def report(path: Path, options: argparse.Namespace) -> int:
    """Write what the CSV shows. 0: the upper end of the interval of RSS and of PSS is below the goal."""
    with path.open() as file:
        table = list(csv.DictReader(file))
    rows = {name: np.array([float(row[name]) for row in table]) for name in table[0]}
    warm_up_s = options.warm_up * 60
    if (rows["elapsed_s"] >= warm_up_s).sum() < 10:
        print(f"{path}: fewer than 10 samples after the warm-up of {options.warm_up:g} min", file=sys.stderr)
        return 1
    fits = fit(rows, warm_up_s)
    summary: dict[str, Any] = {
        "written_by": "scripts/soak" + (" --flap" if options.flap else ""),
        "commit": code_version(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.machine()}, Python {platform.python_version()}, {platform.libc_ver()[0]} {platform.libc_ver()[1]}",
        "sessions": len(np.unique(rows["session"])),
        "minutes": round(float(rows["elapsed_s"].max()) / 60, 1),
        "warm_up_minutes": options.warm_up,
        "samples_after_warm_up": int((rows["elapsed_s"] >= warm_up_s).sum()),
        "frames": int(rows["frames"].max()),
        "events": int(rows["events"].max()),
        "method": f"Theil-Sen; 95 % interval by a moving-block bootstrap of the residuals, blocks of {BLOCK_S:g} s, {RESAMPLES} draws",
        "fits": {name: {key: round(value, 1) for key, value in f.items()} for name, f in fits.items()},
    }
    path.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")
    draw(rows, fits, warm_up_s, path.with_suffix(".svg"))
    for name, f in fits.items():
        scale, unit = (1e6, " MB") if name.endswith("_bytes") else (1.0, "")
        numbers = [f[key] / scale for key in ("per_hour", "low_95", "high_95")]
        print(f"{name:20} {numbers[0]:+9.3f}{unit} per hour ({numbers[1]:+.3f} to {numbers[2]:+.3f})")
    return int(max(fits[name]["high_95"] for name in ("rss_bytes", "pss_bytes")) / 1e6 > GOAL_MB_PER_HOUR)
