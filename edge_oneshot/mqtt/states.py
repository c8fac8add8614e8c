"""Retained states: the newest value of each topic, and which of them the broker still has to be told."""

from __future__ import annotations

import threading


class RetainedStates:
    """Written by the daemon's threads, read by the link's. A value of b"" empties the topic at the broker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, bytes] = {}
        self._dirty: dict[str, None] = {}  # a set that keeps its order

    def set(self, topic: str, payload: bytes) -> bool:
        """Remember the value; True if the broker must be told."""
        with self._lock:
            if self._values.get(topic) == payload:
                return False
            self._values[topic] = payload
            self._dirty[topic] = None
            return True

    def all_dirty(self) -> None:
        """A new connection: the broker may have forgotten everything."""
        with self._lock:
            self._dirty = dict.fromkeys(self._values)

    def dirty_below(self, prefix: str) -> None:
        with self._lock:
            self._dirty.update(dict.fromkeys(t for t in self._values if t.startswith(prefix)))

    def next_dirty(self) -> tuple[str, bytes] | None:
        """Take one topic to publish."""
        with self._lock:
            if not self._dirty:
                return None
            topic = next(iter(self._dirty))
            del self._dirty[topic]
            return topic, self._values[topic]

    def acknowledged(self, topic: str, payload: bytes) -> bool:
        """The broker took this value; True if the topic is emptied now and can be forgotten."""
        with self._lock:
            if payload or self._values.get(topic) != b"":
                return False
            del self._values[topic]
            self._dirty.pop(topic, None)
            return True

    def topics(self) -> list[str]:
        with self._lock:
            return sorted(self._values)
