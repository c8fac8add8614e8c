"""Whether a recognized person is allowed here and now: the access rules of the gallery, applied to this device and its clock.

A clock that was synchronised once since this program began is known from then on: without a network the kernel calls it
unsynchronised after some 9 hours, although it has drifted by less than a second. From then on the time is counted from the last
synchronised moment with the monotonic clock, so that a wall clock which is set by hand changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from edge_oneshot.config.access import AccessConfig
from edge_oneshot.events.clock import Clock, Moment, read_clock
from edge_oneshot.types.access import AccessRules, Denied, denial


class Access:
    """The rules of one device. Belongs to one thread."""

    def __init__(self, config: AccessConfig, slug: str, clock: Clock = read_clock) -> None:
        """slug: of the device."""
        self._slug, self._clock = slug, clock
        self._synced: Moment | None = None
        self.reconfigure(config)

    def reconfigure(self, config: AccessConfig) -> None:
        self._unsynchronised = config.unsynchronised
        self.here = frozenset((self._slug, *config.names))

    def look(self) -> None:
        """Note that the clock is synchronised, if it is. Call it regularly: later, without a network, it may not be."""
        self.now()

    def now(self) -> tuple[datetime, bool]:
        """The local time of the device, and whether it is known."""
        moment = self._clock()
        if moment.synced:
            self._synced = moment
        if self._synced is None:
            return moment.wall.astimezone(), False
        passed = timedelta(microseconds=(moment.boottime_ns - self._synced.boottime_ns) / 1000)
        return (self._synced.wall + passed).astimezone(), True

    def denial(self, rules: AccessRules | None) -> Denied | None:
        """Why a person with these rules is not allowed here now; None: the person is allowed. rules: None: the person has none."""
        if not rules:
            return None
        now, known = self.now()
        found = denial(rules, self.here, now, known=known or self._unsynchronised == "trust")
        return None if found is Denied.CLOCK and self._unsynchronised == "allow" else found
