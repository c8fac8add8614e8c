"""The state of the link: written by the link's thread, read by any."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from edge_oneshot.events.stored import OutboxStatus

log = logging.getLogger(__name__)

_MOST_REFUSED = 200  # an ACL may refuse the topic of each person who was ever enrolled


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """state: stopped, connecting, online, unreachable, refused. error: the last failure, "" while online.

    protocol: "5" or "3.1.1", "" before the first CONNACK. connects: accepted ones. refused_events: events that the
    broker refused and that wait for the next attempt. refused_topics: topic -> the broker's reason.
    """

    state: str
    error: str
    protocol: str
    connects: int
    refused_events: int
    refused_topics: dict[str, str]
    outbox: OutboxStatus


class LinkState:
    """Safe to use from several threads: each method holds one lock, and none of them blocks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state, self._error, self._protocol, self._connects = "stopped", "", "", 0
        self._refused_events = 0
        self._refused_topics: dict[str, str] = {}

    @property
    def state(self) -> str:
        with self._lock:
            return self._state

    @property
    def error(self) -> str:
        with self._lock:
            return self._error

    @property
    def connects(self) -> int:
        with self._lock:
            return self._connects

    def set(self, state: str, error: str | None = None) -> None:
        """error: None keeps the last one."""
        with self._lock:
            self._state = state
            self._error = self._error if error is None else error

    def online(self, protocol: str) -> None:
        """The broker has accepted a connection."""
        with self._lock:
            self._state, self._error, self._protocol = "online", "", protocol
            self._connects += 1

    def set_refused_events(self, number: int) -> None:
        with self._lock:
            self._refused_events = number

    def set_refused_topic(self, topic: str, reason: str, fix: str = "allow it in the broker's ACL") -> None:
        """The broker refuses this topic, for this reason; "" if it accepts it. Only a change is logged."""
        with self._lock:
            known = self._refused_topics.pop(topic, "")
            if reason:
                self._refused_topics[topic] = reason
                if len(self._refused_topics) > _MOST_REFUSED:
                    del self._refused_topics[next(iter(self._refused_topics))]
        if reason and not known:
            log.error("mqtt: the broker refuses %s: %s. Fix: %s. Events are kept and sent again", topic, reason, fix)
        elif known and not reason:
            log.info("mqtt: the broker accepts %s again", topic)

    def status(self, outbox: OutboxStatus) -> LinkStatus:
        with self._lock:
            return LinkStatus(
                state=self._state,
                error=self._error,
                protocol=self._protocol,
                connects=self._connects,
                refused_events=self._refused_events,
                refused_topics=dict(self._refused_topics),
                outbox=outbox,
            )
