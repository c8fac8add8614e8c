"""Which messages are too large for the broker, by its word or by what became of earlier connections.

MQTT 5 has a Maximum Packet Size in the CONNACK. With 3.1.1, and with mosquitto's `message_size_limit`, a broker only cuts
the connection. One such message would then prevent everything behind it, for ever. So after two connections that ended
soon after a message was sent, one message at a time is sent (`careful`), and a message that was alone in flight when
three connections ended is left out until it is smaller, or for an hour.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from edge_oneshot.mqtt.broker import MAX_PACKET_BYTES
from edge_oneshot.mqtt.link_state import LinkState

log = logging.getLogger(__name__)

FIX = "raise the broker's limit (mosquitto: max_packet_size, message_size_limit)"
FIX_ARRIVED = "limit what clients may publish (mosquitto: message_size_limit), or use MQTT 5"
_CAREFUL_AFTER = 2  # connections in a row
_STRIKES = 3  # lost connections until a message is left out
_MOST_SUSPECTS = 1000


class InFlight(Protocol):
    """A message that waits for its acknowledgement. key: what identifies it on the next connection. at: monotonic, s."""

    @property
    def key(self) -> str: ...
    @property
    def topic(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def at(self) -> float: ...


@dataclass(slots=True)
class _Suspect:
    size: int
    strikes: int = 0
    until: float = 0.0  # time.monotonic() until which it is left out


class Sizes:
    """Outlives the connections of a link; used by the link's thread alone. Sizes are those of whole packets, in bytes."""

    def __init__(self, state: LinkState, *, soon_s: float, retry_s: float) -> None:
        """soon_s: a connection that ends so soon after a message was sent may have ended because of it."""
        self._state, self._soon_s, self._retry_s = state, soon_s, retry_s
        self.maximum: int | None = None  # of the present connection
        self._losses = 0
        self._arrived_at = self._deaf_until = -math.inf
        self._suspects: OrderedDict[str, _Suspect] = OrderedDict()
        self._named: OrderedDict[str, str] = OrderedDict()  # key -> what was reported as refused

    @property
    def deaf(self) -> bool:
        """Whether to subscribe to nothing."""
        return time.monotonic() < self._deaf_until

    def arrived(self, size: int) -> str:
        """A message that is too large for the device has ended the connection; what to report.

        If two did, subscriptions end for a time: a retained one would arrive on every connection, and no event would leave.
        """
        now = time.monotonic()
        why = f"a message of {size} bytes arrived, expected at most {MAX_PACKET_BYTES}"
        if now - self._arrived_at < self._retry_s:
            self._deaf_until = now + self._retry_s
            minutes = round(self._retry_s / 60)
            log.error("mqtt: %s; the device subscribes to nothing for %d minutes. Fix: %s", why, minutes, FIX_ARRIVED)
        self._arrived_at = now
        return why

    @property
    def careful(self) -> bool:
        """Whether one message at a time must be sent."""
        return self._losses >= _CAREFUL_AFTER

    def fits(self, key: str, topic: str, size: int) -> bool:
        """Whether to send a message. If not, the topic is reported as refused."""
        suspect = self._suspects.get(key)
        if self.maximum is not None and size > self.maximum:
            why = f"{size} bytes are more than the broker's limit of {self.maximum} bytes"
        elif suspect is None or suspect.strikes < _STRIKES or size < suspect.size:
            return True
        elif time.monotonic() >= suspect.until:
            suspect.strikes = _STRIKES - 1
            return True
        else:
            why = f"{size} bytes; {_STRIKES} connections ended when {suspect.size} bytes were sent there"
        self._named[key] = topic if key == topic else f"an event on {topic}"
        self._state.set_refused_topic(self._named[key], f"too large: {why}", FIX)
        if len(self._named) > _MOST_SUSPECTS:
            self._named.popitem(last=False)
        return False

    def acknowledged(self, key: str) -> None:
        self._suspects.pop(key, None)
        if (name := self._named.pop(key, None)) is not None:
            self._state.set_refused_topic(name, "")

    def all_sent(self) -> None:
        """Nothing waits any more, and the connection lives."""
        self._losses = 0

    def lost(self, in_flight: Collection[InFlight], *, too_large: bool) -> str:
        """A connection has ended with these messages in flight; what to add to the report of its end.

        too_large: the broker gave that as its reason.
        """
        now = time.monotonic()
        recent = [sent for sent in in_flight if now - sent.at < self._soon_s]
        if not recent:
            self._losses = 0
            return ""
        self._losses = max(self._losses + 1, _CAREFUL_AFTER if too_large else 0)
        largest = max(recent, key=lambda sent: sent.size)
        if len({sent.key for sent in recent}) == 1:
            suspect = self._suspects.setdefault(largest.key, _Suspect(largest.size))
            suspect.size, suspect.until = largest.size, now + self._retry_s
            suspect.strikes += _STRIKES if too_large else 1
            while len(self._suspects) > _MOST_SUSPECTS:
                self._suspects.popitem(last=False)
        return f"; {len(recent)} messages were in flight, the largest on {largest.topic} ({largest.size} bytes)"
