"""A new fleet key after a revocation, as soon as the broker has the revocation: the key record of each member takes longer."""

from __future__ import annotations

import logging
import random

from edge_oneshot.fleet.fleet import Fleet

log = logging.getLogger(__name__)

SOON_S, LATER_S = (0.2, 1.0), (30.0, 60.0)


class Renewal:
    """Of an admin device. The admin who has revoked rotates soon; another one does so if that one fails."""

    def __init__(self, spread: random.Random) -> None:
        self._random = spread
        self.look = True  # the members may have changed
        self._at: float | None = None

    def step(self, fleet: Fleet, now: float) -> None:
        if self.look:
            self.look, self._at = False, None
            if by := fleet.stale_keys():
                self._at = now + self._random.uniform(*(SOON_S if by & {fleet.key, fleet.root} else LATER_S))
        if self._at is None or now < self._at or fleet.store.topics("due > 0 AND topic GLOB 'revoked/*'"):
            return
        self._at, self.look = None, True  # if it fails, another time
        if fleet.stale_keys():
            log.info("fleet: key %d is in use, which no revoked device has", fleet.rotate())
        self.look = False
