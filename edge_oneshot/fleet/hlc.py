"""A hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): wall time where it helps, a counter where it does not.

It breaks ties between changes that two devices make without knowing of each other, and dates the audit log. It does not decide
which of two changes is the newer one: each change counts the changes of its topic (`Record.version`), so a device whose clock is
years ahead wins no more than a tie.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

MAX_WALL = 253_402_300_799_999  # the end of the year 9999, in ms
MAX_COUNT = 2**31 - 1
_TRUSTED_AHEAD = 24 * 3600 * 1000  # ms; a clock that is further ahead does not move this device's


class Hlc(NamedTuple):
    """wall: ms since 1970, UTC. tick: of the changes within it."""

    wall: int
    tick: int


ZERO = Hlc(0, 0)


def wall_ms() -> int:
    """The wall clock of this device, in ms since 1970, UTC."""
    return time.time_ns() // 1_000_000


class HlcClock:
    """The clock of one device. Every `tick` is greater than those before it, and than what was observed in good time."""

    def __init__(self, now_ms: Callable[[], int] = wall_ms, last: Hlc = ZERO) -> None:
        """last: the greatest that this device has used."""
        self.now_ms, self._last = now_ms, last

    def tick(self) -> Hlc:
        """The time of a change."""
        now = min(max(self.now_ms(), 0), MAX_WALL)
        if now > self._last.wall:
            self._last = Hlc(now, 0)
        elif self._last.tick < MAX_COUNT:
            self._last = Hlc(self._last.wall, self._last.tick + 1)
        else:
            self._last = Hlc(self._last.wall + 1, 0)
        return self._last

    def observe(self, seen: Hlc) -> None:
        """Another device has used `seen`. More than a day ahead of this clock: ignored."""
        if seen.wall <= self.now_ms() + _TRUSTED_AHEAD:
            self._last = max(self._last, seen)
