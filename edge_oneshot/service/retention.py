"""gallery.expire_days: people who were not recognized for so long are removed, as `gallery remove` does.

A day counts if a daemon ran on it with a synchronised clock. Days on which the device was off, or without a time server, do not
count, and neither do those that a wrong clock leaps over. After an absence of a week or more no one is removed on the first day.
Counting begins when the daemon first sees a person in the gallery with expire_days set.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_oneshot.config import Config
from edge_oneshot.errors import GalleryError, StorageError
from edge_oneshot.events.build import gallery_event
from edge_oneshot.events.clock import Clock, read_clock
from edge_oneshot.gallery.seen import LastSeen
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.storage.keys import Keys
from edge_oneshot.types import Event, Identity

log = logging.getLogger(__name__)

FIRST_NS, EVERY_NS = 600_000_000_000, 3_600_000_000_000  # ten minutes after the start, then each hour

MOST, PAUSE_NS = 5, 2_000_000_000  # people that are removed at once: meanwhile the loop looks at no frame

FIRST_YEAR = 2026
ABSENCE_DAYS = 7


class Retention:
    """Belongs to the thread of the daemon's loop. days: 0: no one is removed, and nothing is counted."""

    def __init__(self, days: int = 0, seen: LastSeen | None = None, clock: Clock = read_clock) -> None:
        self._days, self._seen, self._clock = days, seen, clock
        self._known: dict[str, int] = {}  # days that are in the file
        self._next_ns: int | None = None
        self._day: int | None = None  # the day that was counted last
        self._spared: int | None = None  # on this day no one is removed

    def matched(self, identity_id: str) -> None:
        """A person was recognized."""
        today = self._today()
        if self._seen is not None and today is not None and self._known.get(identity_id) != today:
            self._count(self._seen, today)
            self._known[identity_id] = today
            self._seen.set({identity_id: today})

    def forget_others(self, recognizer: Recognizer) -> None:
        """Delete what the file holds of people who are not in the gallery any more."""
        if self._seen is not None and recognizer.people.whole:
            gone = self._known.keys() - recognizer.people.names.keys()
            self._seen.forget(gone)
            self._known = {i: day for i, day in self._known.items() if i not in gone}

    def look(self, recognizer: Recognizer, now_ns: int, emit: Callable[[Event], None]) -> None:
        """Remove the people whose time is over; once an hour. now_ns: time.monotonic_ns. emit: takes the events."""
        if self._next_ns is None:
            self._next_ns = now_ns + FIRST_NS
        if self._seen is None or now_ns < self._next_ns:
            return
        self._next_ns = now_ns + EVERY_NS
        today, people = self._today(), recognizer.people
        if today is not None:
            self._count(self._seen, today)
        found = self._seen.days() if today is not None and not people.unchangeable else None
        if found is None or today is None:
            return
        begun = {i: today for i in people.names if i not in found}
        self._seen.set(begun)
        self._known = found | begun
        if today == self._spared:
            return
        gone = [(i, name) for i, name in people.names.items() if today - self._known[i] > self._days]
        for identity_id, name in gone[:MOST]:
            try:
                people.remove(identity_id)
            except GalleryError:  # another daemon was faster
                continue
            except StorageError as e:  # the door is served all the same
                log.error("a person whose time is over was not removed: %s; the next attempt is in an hour", e)
                return
            log.warning("a person was removed: not recognized for more than %d days", self._days)
            moment = self._clock()
            who = Identity(identity_id=identity_id, name=name)
            emit(gallery_event("forgotten", who, recognizer.encoder_id, now_ns, moment.wall))
        self.forget_others(recognizer)
        if len(gone) > MOST:
            self._next_ns = now_ns + PAUSE_NS

    def _count(self, seen: LastSeen, today: int) -> None:
        """Count this day, once. Before anyone's day is stored: a change of the clock moves what is in the file."""
        if today == self._day:
            return
        self._day = today
        skipped = seen.count(today)
        if skipped:
            self._known = {}
            log.info("gallery.expire_days: %d days are not counted: no daemon ran, or the clock was changed", skipped)
        if skipped >= ABSENCE_DAYS:
            self._spared = today

    def _today(self) -> int | None:
        """None while the wall clock is not synchronised, or shows a time before this program was written."""
        moment = self._clock()
        return moment.wall.date().toordinal() if moment.synced and moment.wall.year >= FIRST_YEAR else None


@contextmanager
def open_retention(config: Config) -> Iterator[Retention]:
    """That of the configuration."""
    if not config.gallery.expire_days:
        yield Retention()
        return
    seen = LastSeen(config.seen_path, Keys(config.key_path))
    try:
        yield Retention(config.gallery.expire_days, seen)
    finally:
        seen.close()
