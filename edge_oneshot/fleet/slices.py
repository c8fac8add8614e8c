"""Fetching what the broker has stored, slice by slice.

A broker drops what it cannot queue for one subscriber: mosquitto beyond 1,000 messages. People and templates are
therefore spread over 256 slices by the first two digits of their hashed topics, and a device subscribes to a few slices at a
time, in an order of its own, so that a thousand devices do not all ask for the same slice after a restart of the broker.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_oneshot.fleet.link import Link

ALL = tuple(f"{n:02x}" for n in range(256))
QUIET_S = 0.3  # a slice without a message for so long has been sent completely
GRANT_S = 10.0  # a subscription that is not granted for so long is asked for again
MOST_WAITING = 600  # messages that the broker may have to queue for this device at once
MOST_AT_ONCE = 16


@dataclass(slots=True)
class _Fetch:
    since: float
    granted: bool = False
    last: float = 0.0
    topics: set[str] = field(default_factory=set)


class Slices:
    """The slices that are to be fetched, and those that are being fetched."""

    def __init__(self, base: str, spread: random.Random) -> None:
        """base: `<prefix>/fleet/<fleet>`."""
        self._base, self._random = base, spread
        self._queue: deque[str] = deque()
        self._active: dict[str, _Fetch] = {}
        self._largest = 40  # messages of the largest slice so far

    @property
    def idle(self) -> bool:
        return not self._queue and not self._active

    @property
    def left(self) -> int:
        """Slices that are not fetched completely."""
        return len(self._queue) + len(self._active)

    def want(self, slices: Iterable[str]) -> None:
        """Fetch these, too, in random order."""
        new = [s for s in slices if s not in self._active and s not in self._queue]
        self._random.shuffle(new)
        self._queue.extend(new)

    def reset(self) -> None:
        """The connection is lost: nothing is under way."""
        self._queue.clear()
        self._active.clear()

    def arrived(self, topic: str, now: float) -> None:
        """A record arrived on `<base>/<kind>/<slice>/<hash>`."""
        parts = topic.rsplit("/", 2)
        if len(parts) == 3 and (fetch := self._active.get(parts[1])) is not None:
            fetch.last = now
            fetch.topics.add(topic)

    def step(self, link: Link, now: float) -> list[tuple[str, set[str]]]:
        """Go on. Returns the slices that were fetched completely, each with the topics that the broker has sent."""
        done = []
        for name, fetch in list(self._active.items()):
            topic_filter = self._filter(name)
            if not fetch.granted and topic_filter in link.granted:
                fetch.granted, fetch.last = True, now
            if fetch.granted and now - fetch.last >= QUIET_S:
                del self._active[name]
                self._largest = max(self._largest, len(fetch.topics))
                done.append((name, fetch.topics))
                if link.retain_handling:  # the live subscription covers it
                    link.unsubscribe(topic_filter)
            elif not fetch.granted and now - fetch.since > GRANT_S:
                del self._active[name]
                self._queue.append(name)
        at_once = max(1, min(MOST_AT_ONCE, MOST_WAITING // self._largest))
        while self._queue and len(self._active) < at_once:
            name = self._queue.popleft()
            link.granted.discard(self._filter(name))
            link.subscribe(self._filter(name))
            self._active[name] = _Fetch(since=now)
        return done

    def _filter(self, name: str) -> str:
        return f"{self._base}/+/{name}/+"
