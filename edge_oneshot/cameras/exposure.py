"""How much brighter the camera should be because faces are too dark: `camera.exposure = "faces"`. Pure, no clock of its own.

A camera exposes for the whole picture, so a face before a window is dark. While faces are seen and dark, the exposure is raised
step by step; it falls when they are too bright, and returns to the camera's own when no face was seen for a while.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

TOO_DARK, WANTED, TOO_BRIGHT = 60.0, 90.0, 150.0  # mean luma of the largest face; nothing changes between the outer two
GAMMA = 2.2  # luma ** GAMMA is about proportional to light
MOST_STOPS = 2.0
STEP_STOPS = 0.5
SETTLE_NS = 500_000_000  # the camera needs some frames for a change
ALONE_NS = 5_000_000_000


class FaceExposure:
    """Follows the faces of one camera. Belongs to one thread. stops: what the exposure is raised by, [0, MOST_STOPS]."""

    def __init__(self) -> None:
        self.stops = 0.0
        self._changed_ns = self._seen_ns = 0

    def follow(self, lumas: Sequence[float], now_ns: int) -> None:
        """lumas: mean luma of each face of a frame, [0, 255], largest face first. now_ns: when it was captured."""
        if now_ns < self._changed_ns:  # another clock, as of another file
            self._changed_ns = self._seen_ns = now_ns
        if not lumas:
            if now_ns - self._seen_ns >= ALONE_NS:
                self.stops = 0.0
            return
        self._seen_ns = now_ns
        if now_ns - self._changed_ns < SETTLE_NS or TOO_DARK <= lumas[0] <= TOO_BRIGHT:
            return
        self._changed_ns = now_ns
        step = GAMMA * math.log2(WANTED / max(lumas[0], 1.0))
        self.stops = min(max(self.stops + min(max(step, -STEP_STOPS), STEP_STOPS), 0.0), MOST_STOPS)


def bounded(value: float, limits: tuple[Any, Any, Any]) -> float:
    """The value within the least and the most of a control of libcamera, which gives (least, most, default)."""
    return float(min(max(value, limits[0]), limits[1]))
