"""When a device fetches everything: once before it may publish, and again after more was held than fits. Once a day it expires removals."""

from __future__ import annotations

import random
import time

from edge_oneshot.fleet.fleet import Fleet

FETCHED = "fetched"  # in the fleet's file: everything was fetched once
AGAIN_S = 600.0
HOUR_S, DAY_S = 3600.0, 86400.0


class Upkeep:
    """Times are of time.monotonic()."""

    def __init__(self, fleet: Fleet, spread: random.Random) -> None:
        self._fleet, self._random = fleet, spread
        self.complete = fleet.store.secret(FETCHED) is not None
        self._fetching = False
        self._again_at: float | None = None
        self._expire_at = time.monotonic() + spread.uniform(0.0, HOUR_S)

    def began(self, everything: bool) -> None:
        """A fetch has begun; False: a new connection, so nothing is under way."""
        self._fetching = everything

    def fetched(self) -> None:
        """Nothing is under way any more."""
        if self._fetching:
            self._fetching = False
            if not self.complete and not self._fleet.lost_held and self._again_at is None:
                with self._fleet.batch():
                    self._fleet.store.put_secret(FETCHED, b"1")
                self.complete = True

    def again(self, now: float) -> bool:
        """Whether to fetch everything again, since messages were given up: some minutes later, for the broker may go on with it."""
        if self._fleet.lost_held:
            self._fleet.lost_held = False
            self._again_at = self._again_at or now + self._random.uniform(0.5, 1.0) * AGAIN_S
        if self._again_at is None or now < self._again_at:
            return False
        self._again_at = None
        return True

    def expire(self, now: float) -> None:
        """Once a day: the broker need not hold old removals any more."""
        if now >= self._expire_at:
            self._expire_at = now + DAY_S
            self._fleet.expire()
