"""How memory, threads, open files, disk and outbox have developed over the last hours: a leak shows as a slope."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edge_oneshot.service import system

EVERY_NS = 300_000_000_000  # between two samples
KEPT = 288  # samples: a day
SLOPE_AFTER_S = 3600.0  # the first minutes of a process say nothing of its later ones
Measures = Mapping[str, float | None]


def measure(state_dir: Path) -> dict[str, float | None]:
    """rss_bytes, threads, files (open descriptors) and disk_free_bytes of the disk with `state_dir`; None if unknown."""
    return {
        "rss_bytes": system.resident_bytes(),
        "threads": _entries(Path("/proc/self/task")),
        "files": _entries(Path("/proc/self/fd")),
        "disk_free_bytes": _free(state_dir),
    }


class Trends:
    """Samples of the last day, one in five minutes. Belongs to the loop's thread."""

    def __init__(self, read: Callable[[], Measures]) -> None:
        self._read = read
        self._samples: deque[tuple[int, Measures]] = deque(maxlen=KEPT)  # time.monotonic_ns, values
        self._report: dict[str, object] | None = None

    def update(self, now_ns: int, outbox_depth: int) -> dict[str, object] | None:
        """Take a sample if one is due. Returns the report: the hours that it covers, and for each measure its first, last,
        least and greatest value and its slope per hour (Theil-Sen: the median of the slopes of all pairs). None for a slope:
        less than an hour. None for the report: nothing can be measured."""
        if not self._samples or now_ns - self._samples[-1][0] >= EVERY_NS:
            self._samples.append((now_ns, {**self._read(), "outbox_depth": outbox_depth}))
            self._report = self._calculate()
        return self._report

    def _calculate(self) -> dict[str, object] | None:
        first_ns = self._samples[0][0]
        report: dict[str, object] = {"hours": round((self._samples[-1][0] - first_ns) / 3.6e12, 2)}
        for name in self._samples[-1][1]:
            known = [((at - first_ns) / 3.6e12, v) for at, m in self._samples if (v := m[name]) is not None]
            report[name] = _trend(known) if known else None
        return report


def _trend(known: list[tuple[float, float]]) -> dict[str, float | None]:
    """known: (hours, value), in order."""
    hours, values = (np.array(column, dtype=np.float64) for column in zip(*known, strict=True))
    slope = None
    if hours[-1] - hours[0] >= SLOPE_AFTER_S / 3600:
        a, b = np.triu_indices(len(hours), 1)
        slope = round(float(np.median((values[b] - values[a]) / (hours[b] - hours[a]))), 3)
    first, last = float(values[0]), float(values[-1])
    return {"first": first, "last": last, "least": float(values.min()), "most": float(values.max()), "per_hour": slope}


def _entries(folder: Path) -> int | None:
    try:
        return len(list(folder.iterdir()))
    except OSError:
        return None


def _free(folder: Path) -> int | None:
    """Bytes that this user may still write; of the nearest folder that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
