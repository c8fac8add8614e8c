"""Which slices differ from what the devices that enroll have in force: from their state records.

A difference is normal while a change is on its way, so it must last before a slice is fetched, and each difference is
fetched once: if it stays, the other device is the one that lacks something.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping

from edge_oneshot.fleet.fleet import Fleet
from edge_oneshot.fleet.members import DOOR
from edge_oneshot.fleet.slices import ALL

LASTS_S = 1.5
EVERY_S = 1.0


class Watch:
    def __init__(self, spread: random.Random) -> None:
        self._random = spread
        self._look = True
        self._looked = 0.0
        self._since: dict[tuple[str, str, str], float] = {}  # (slice, theirs, ours) -> when to fetch
        self._done: set[tuple[str, str, str]] = set()
        self._change, self._digests = -1, dict[str, str]()

    def reset(self) -> None:
        """A new connection: what was fetched before may have been cut off."""
        self._look = True
        self._since.clear()
        self._done.clear()

    def changed(self) -> None:
        """A state record has arrived."""
        self._look = True

    def digests(self, fleet: Fleet) -> Mapping[str, str]:
        """As Fleet.digests, computed only after a change."""
        change = fleet.store.last_change()
        if change != self._change:
            self._change, self._digests = change, fleet.digests()
        return self._digests

    def differing(self, fleet: Fleet, now: float) -> list[str]:
        """The slices to fetch now."""
        if now - self._looked < EVERY_S or not (self._look or self._since):
            return []
        self._look, self._looked = False, now
        ours = self.digests(fleet)
        found: set[tuple[str, str, str]] = set()
        states = fleet.states()
        for member in fleet.members():
            theirs = states.get(member.device_id, {}).get("slices")
            if member.role == DOOR or not member.in_force or member.key == fleet.key or not isinstance(theirs, dict):
                continue
            for name in theirs.keys() | ours.keys():
                pair = (str(name), str(theirs.get(name, "")), ours.get(name, ""))
                if pair[1] != pair[2] and pair not in self._done:
                    found.add(pair)
        self._since = {
            pair: self._since.get(pair, now + LASTS_S + self._random.uniform(0.0, LASTS_S)) for pair in found
        }
        due = [pair for pair, at in self._since.items() if now >= at]
        self._done.update(due)
        for pair in due:
            del self._since[pair]
        return sorted({name.rpartition("/")[2] for name, _, _ in due} & set(ALL))

    @staticmethod
    def total(digests: Mapping[str, str]) -> str:
        """One digest of all slices."""
        listed = "".join(f"{name}{digests[name]}" for name in sorted(digests))
        return hashlib.sha256(listed.encode()).hexdigest()[:32]
