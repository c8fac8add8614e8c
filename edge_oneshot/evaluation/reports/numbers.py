"""How the reports write numbers: rounded to what the interval can resolve."""

from __future__ import annotations

import math

from edge_oneshot.evaluation.metrics import Interval

NOT_MEASURED = "not measured"


def percent(rate: float | None, ci95: Interval | None = None) -> str:
    """`1.4 %`. With an interval: as many decimals as the interval has; otherwise at least two significant digits."""
    if rate is None or math.isnan(rate):
        return NOT_MEASURED
    value = 100 * rate
    if ci95 is None:
        distance = min(abs(value), abs(100 - value))
        decimals = 0 if distance == 0 else max(1, _decimals(distance))
    else:
        decimals = _decimals(100 * (ci95.high - ci95.low))
    return f"{_number(value, decimals)} %"


def interval(ci95: Interval | None) -> str:
    """`0.7 to 2.9 %`: two significant digits of the width."""
    if ci95 is None:
        return NOT_MEASURED
    decimals = _decimals(100 * (ci95.high - ci95.low))
    return f"{_number(100 * ci95.low, decimals)} to {_number(100 * ci95.high, decimals)} %"


def percent_with_interval(rate: float | None, ci95: Interval | None) -> str:
    """`1.4 % (95 % interval 0.7 to 2.9 %)`."""
    return f"{percent(rate, ci95)} (95 % interval {interval(ci95)})" if rate is not None else NOT_MEASURED


def exact_percent(rate: float) -> str:
    """`0.01 %`: a rate that was chosen, not measured."""
    return f"{100 * rate:.10g} %"


def score(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.3f}"


def count(value: int, one: str, many: str = "") -> str:
    """`1 person`, `3 people`, `1,234 images`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def _number(value: float, decimals: int) -> str:
    """Exactly 0 and 100 have no decimals."""
    return f"{value:.{0 if value in (0.0, 100.0) else decimals}f}"


def _decimals(size: float) -> int:
    """So many decimals show two significant digits of `size`."""
    return 0 if size <= 0 else min(7, max(0, 1 - math.floor(math.log10(size))))
