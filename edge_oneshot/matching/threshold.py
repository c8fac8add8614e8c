"""A stated false match rate -> the comparison score that keeps it, from the measured points of the card."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_oneshot.card import Thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """value: comparison score. target_fmr: per comparison; None when the score was set by hand.

    extrapolated: the rate is lower than the card's counts resolve.
    """

    value: float
    target_fmr: float | None
    extrapolated: bool = False


def threshold_for_fmr(thresholds: Thresholds, fmr: float) -> Threshold:
    """The score at a false match rate per comparison, 0 < fmr < 1.

    Between measured points the score runs linearly in log(fmr), which the tail of a non-mated distribution follows
    closely; outside them the nearest two points are continued, and the result says so.
    """
    points = thresholds.points
    if len(points) == 1:
        return Threshold(value=points[0].threshold, target_fmr=fmr, extrapolated=fmr != points[0].fmr)
    i = next((i for i in range(1, len(points)) if fmr >= points[i].fmr), len(points) - 1)
    high, low = points[i - 1], points[i]
    t = (math.log(fmr) - math.log(high.fmr)) / (math.log(low.fmr) - math.log(high.fmr))
    value = high.threshold + t * (low.threshold - high.threshold)
    return Threshold(value=value, target_fmr=fmr, extrapolated=fmr < thresholds.measured_to_fmr or fmr > points[0].fmr)
