"""What the result types of the evaluations share: their JSON form, and their rounding.

A result is a frozen dataclass. Its fields, in order, are the keys of the JSON that `--json` prints.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from edge_oneshot.evaluation.metrics import Interval


def to_json(result: Any) -> dict[str, Any]:
    """A result as values that json.dumps takes."""
    return asdict(result)


def rounded(interval: Interval, digits: int) -> Interval:
    return Interval(low=round(interval.low, digits), high=round(interval.high, digits))


def rate(value: float) -> float | None:
    """Six digits; None for NaN: there was nothing to measure."""
    return round(value, 6) if np.isfinite(value) else None


def three_digits(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")
