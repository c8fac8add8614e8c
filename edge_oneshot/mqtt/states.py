"""Retained states: the newest value of each topic, and which of them must still be sent.

The outbox file lists the topics at which the broker keeps a value, so that a later process can empty those that are no
longer in use.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

from edge_oneshot.events.ledger import TopicLedger


class RetainedStates:
    """Safe to use from several threads: each method holds one lock, also while it writes to the ledger.

    A value of b"" empties the topic at the broker.
    """

    def __init__(self, ledger: TopicLedger) -> None:
        self._lock = threading.Lock()
        self._ledger = ledger
        self._retained = set(ledger.retained())  # topics in use, those of earlier processes included
        self._emptying = set(ledger.to_empty())  # to be emptied, and the broker has not acknowledged it
        self._retained -= self._emptying
        self._values: dict[str, bytes] = dict.fromkeys(sorted(self._emptying), b"")
        self._unsent: dict[str, None] = dict.fromkeys(self._values)  # a set that keeps its order

    def keep_only(self, below: Collection[str], claimed: str) -> None:
        """Empty the topics of an earlier configuration: those that begin with none of `below`.

        claimed: a topic in use that gets its values elsewhere (availability, the will).
        """
        with self._lock:
            self._empty_now([t for t in self._retained - {claimed} if not t.startswith(tuple(below))])
            self._use(claimed)
            if self._values.get(claimed) == b"":
                del self._values[claimed]
                self._unsent.pop(claimed, None)

    def set(self, topic: str, payload: bytes) -> bool:
        """Store the value. True if it must be sent."""
        with self._lock:
            if not payload:
                self._empty([topic])
            else:
                self._use(topic)
            if self._values.get(topic) == payload:
                return False
            self._values[topic] = payload
            self._unsent[topic] = None
            return True

    def empty_others(self, below: str, keep: Collection[str]) -> bool:
        """Empty the topics that begin with `below` and are not in `keep`. True if there were any."""
        with self._lock:
            return self._empty_now([t for t in self._retained if t.startswith(below) and t not in keep])

    def send_all(self) -> None:
        """Send every value again: after a new connection the broker may have lost them."""
        with self._lock:
            self._unsent = dict.fromkeys(self._values)

    def send_below(self, prefix: str) -> None:
        """Send the values again whose topics begin with `prefix`."""
        with self._lock:
            self._unsent.update(dict.fromkeys(t for t in self._values if t.startswith(prefix)))

    @property
    def waiting(self) -> bool:
        """Whether a value must still be sent."""
        with self._lock:
            return bool(self._unsent)

    def next_unsent(self) -> tuple[str, bytes] | None:
        """Take one topic and its value to send."""
        with self._lock:
            if not self._unsent:
                return None
            topic = next(iter(self._unsent))
            del self._unsent[topic]
            return topic, self._values[topic]

    def acknowledged(self, topic: str, payload: bytes) -> None:
        """The broker has this value. A topic that it has emptied is removed from the ledger."""
        with self._lock:
            if payload or self._values.get(topic) != b"":
                return
            del self._values[topic]
            self._unsent.pop(topic, None)
            self._emptying.discard(topic)
            self._ledger.emptied(topic)

    def _use(self, topic: str) -> None:
        if topic not in self._retained:
            self._ledger.add(topic)
            self._retained.add(topic)
            self._emptying.discard(topic)

    def _empty_now(self, topics: list[str]) -> bool:
        self._empty(sorted(topics))
        for topic in sorted(topics):
            self._values[topic] = b""
            self._unsent[topic] = None
        return bool(topics)

    def _empty(self, topics: list[str]) -> None:
        self._retained.difference_update(topics)
        if new := [t for t in topics if t not in self._emptying]:
            self._emptying.update(new)
            self._ledger.empty(new)
