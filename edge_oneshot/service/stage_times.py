"""Times of the last frames per stage, for health and bench."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

KEPT = 300  # frames


class StageTimes:
    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._seconds: dict[str, deque[float]] = {}

    def add(self, seconds: Mapping[str, float]) -> None:
        for name, value in seconds.items():
            self._seconds.setdefault(name, deque(maxlen=self._kept)).append(value)

    def percentiles_ms(self) -> dict[str, tuple[float, float]]:
        """stage -> (p50, p95) in ms, over the last frames in which the stage ran."""
        return {
            name: (round(float(np.percentile(v, 50)) * 1e3, 2), round(float(np.percentile(v, 95)) * 1e3, 2))
            for name, v in self._seconds.items()
        }
