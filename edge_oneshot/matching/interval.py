"""The interval of a proportion."""

from __future__ import annotations

import math
from typing import NamedTuple


class Interval(NamedTuple):
    """A 95 % interval; a JSON list of two numbers."""

    low: float
    high: float


def wilson(hits: int, trials: int) -> Interval:
    """95 % interval of a proportion of independent trials (Wilson 1927)."""
    if trials == 0:
        return Interval(low=0.0, high=1.0)
    z, p = 1.959964, hits / trials
    centre, spread = p + z * z / (2 * trials), z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials**2))
    scale = 1 + z * z / trials
    return Interval(low=max(0.0, (centre - spread) / scale), high=min(1.0, (centre + spread) / scale))
