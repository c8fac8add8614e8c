"""How long the loop pauses after a frame, so that the processor stays below the temperature at which it is throttled.

A throttled processor delays every frame, including the first one of a visitor. If the loop processes fewer frames, each of them is on
time. The loop does not pause while the temperature is more than EASY_C below the limit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from edge_oneshot.cameras.latest import LatestFrame
from edge_oneshot.service import system
from edge_oneshot.types import Frame

log = logging.getLogger(__name__)

READ_EVERY_NS = 5_000_000_000
LIMIT_C = 80.0  # of a Raspberry Pi, whose kernel states none
EASY_C, HARD_C = 8.0, 1.0  # below the limit: where the loop begins to rest, and where it works for LEAST of the time
LEAST = 0.25
MOST_REST_S = 0.5
# Of system.throttled: the frequency is capped, the processor throttled, the soft limit reached; now.
SLOWED = 0x2 | 0x4 | 0x8


class Pace:
    """The share of the time in which the loop computes. Belongs to the loop's thread."""

    def __init__(
        self,
        temperature_c: Callable[[], float | None] = system.temperature_c,
        throttled: Callable[[], int | None] = system.throttled,
        limit_c: Callable[[], float | None] = system.limit_c,
    ) -> None:
        self._temperature_c, self._throttled = temperature_c, throttled
        self._limit_c = limit_c() or LIMIT_C
        self._read_ns: int | None = None
        self._rest_until_ns = 0
        self.share = 1.0

    def take(self, camera: LatestFrame, stop: threading.Event, tick_s: float) -> Frame | None:
        """The camera's next frame; None after tick_s, and while the loop rests."""
        rest_s = (self._rest_until_ns - time.monotonic_ns()) / 1e9
        if rest_s <= 0:
            return camera.get(tick_s)
        stop.wait(min(tick_s, rest_s))
        return None

    def done(self, start_ns: int, end_ns: int) -> None:
        """A frame was processed from start_ns to end_ns (time.monotonic_ns)."""
        self._rest_until_ns = end_ns + round(self.rest_s((end_ns - start_ns) / 1e9, end_ns) * 1e9)

    def rest_s(self, busy_s: float, now_ns: int) -> float:
        """How long to take no frame after one that took busy_s seconds; 0 on a cool processor."""
        if self._read_ns is None or now_ns - self._read_ns >= READ_EVERY_NS:
            self._read_ns = now_ns
            self._read()
        return min(MOST_REST_S, busy_s * (1 / self.share - 1))

    def _read(self) -> None:
        celsius, bits, before = self._temperature_c(), self._throttled(), self.share
        slowed = bits is not None and bool(bits & SLOWED)
        below = EASY_C if celsius is None else self._limit_c - celsius
        cool = min(1.0, max(0.0, (below - HARD_C) / (EASY_C - HARD_C)))
        self.share = LEAST if slowed else LEAST + (1 - LEAST) * cool
        if self.share < 1 <= before:
            state = "the processor is throttled" if slowed else f"the processor is at {celsius:.0f} degrees Celsius"
            log.warning("%s: processing fewer frames until it cools down", state)
        elif self.share == 1 > before:
            log.info("the processor has cooled down: processing every frame again")
