"""What is sent over one connection: states, responses, pictures and events, and what their acknowledgements mean."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass, field

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_oneshot.events.stored import StoredEvent
from edge_oneshot.mqtt import broker
from edge_oneshot.mqtt.payloads import LATE_AFTER_S, SCHEMA_VERSION, encode, hand_over, message_expiry_s
from edge_oneshot.mqtt.shared import Shared
from edge_oneshot.mqtt.sizes import FIX

log = logging.getLogger(__name__)

IN_FLIGHT = 16  # messages that wait for their PUBACK; few, so that little is sent twice after a lost connection


@dataclass(slots=True)
class Sent:
    """A message that waits for its PUBACK. size: of the packet, bytes. event_id: None unless it is an event."""

    topic: str
    payload: bytes
    at: float
    size: int
    event_id: str | None = None

    @property
    def key(self) -> str:
        """What identifies it on the next connection: an event, or the newest value of a topic."""
        return self.event_id or self.topic


@dataclass(slots=True)
class _Copies:
    """The copies of one event that wait for their PUBACK. refused: the topics that the broker refused."""

    waiting: int = 0
    refused: list[str] = field(default_factory=list)


class Sender:
    """Belongs to one connection and to the link's thread."""

    def __init__(self, shared: Shared, client: Client, protocol: MQTTProtocolVersion) -> None:
        self._s, self._client, self._protocol = shared, client, protocol
        self._window = IN_FLIGHT
        self._sent: dict[int, Sent] = {}
        self._copies: dict[str, _Copies] = {}
        self._refused: dict[str, list[str]] = {}  # event_id -> the topics that the broker refused
        self._retry: dict[str, list[str]] = {}  # the same, when they are due to be sent again
        self._retry_at = 0.0
        self._cursor = 0  # all events up to this seq were sent on this connection
        self._fresh_cursor = 0  # the fresh events up to this seq, too: they overtake a backlog
        self._done: list[str] = []  # acknowledged events, to be deleted together

    @property
    def idle(self) -> bool:
        """Whether each message was acknowledged."""
        return not self._sent

    def begin(self, receive_maximum: int, packet_maximum: int | None) -> None:
        """The broker has accepted the connection, with these limits."""
        self._window = min(IN_FLIGHT, receive_maximum)
        self._s.sizes.maximum = packet_maximum

    @property
    def room(self) -> int:
        """How many more messages may wait for their PUBACK."""
        return (1 if self._s.sizes.careful else self._window) - len(self._sent)

    @property
    def in_flight(self) -> list[Sent]:
        return list(self._sent.values())

    @property
    def oldest(self) -> Sent | None:
        """The message that has waited longest for its PUBACK."""
        return next(iter(self._sent.values()), None)

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, event_id: str | None = None, expiry_s: int = 0
    ) -> None:
        """Send one message with QoS 1."""
        properties: Properties | None = None
        if self._protocol == broker.V5 and event_id is not None:
            properties = broker.event_properties(SCHEMA_VERSION, expiry_s)
        size = broker.packet_bytes(topic, payload, self._protocol, properties)
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        # A failure to send appears as the end of the connection; the event is still in the outbox.
        self._sent[info.mid] = Sent(topic=topic, payload=payload, at=time.monotonic(), size=size, event_id=event_id)

    def send_all(self) -> None:
        """Send what waits, as far as the window allows: events first."""
        s = self._s
        self._send_events()
        while self.room > 0 and not s.replies.empty():
            self._send_reply(*s.replies.get())
        self.send_states()
        if s.pictures and not self._client.want_write():  # after everything that waits to be written
            self._send_picture(*s.pictures.popleft())
        if self.idle:
            s.sizes.all_sent()

    def send_states(self) -> None:
        while self.room > 0 and (state := self._s.states.next_unsent()) is not None:
            if self._fits(*state):
                self.publish(state[0], state[1], retain=True)

    def _send_reply(self, topic: str, payload: bytes) -> None:
        if not self._fits(topic, payload):
            error = {"status": "error", "error": "the answer is too large for the broker", "hint": FIX}
            request = json.loads(payload)
            payload = encode(error | {k: request[k] for k in ("transaction",) if k in request})
        self.publish(topic, payload)

    def _send_picture(self, jpeg: bytes, about: bytes) -> None:
        topic, expiry_s = self._s.topics.snapshot, math.ceil(self._s.config.event_ttl_s)
        properties = broker.picture_properties(expiry_s) if self._protocol == broker.V5 else None
        if self._s.sizes.fits(topic, topic, broker.packet_bytes(topic, jpeg, self._protocol, properties)):
            if about:
                self._client.publish(self._s.topics.snapshot_about, about, qos=0, retain=False)
            self._client.publish(topic, jpeg, qos=0, retain=False, properties=properties)

    def _fits(self, topic: str, payload: bytes) -> bool:
        return self._s.sizes.fits(topic, topic, broker.packet_bytes(topic, payload, self._protocol))

    def acknowledged(self, mid: int, reason: ReasonCode) -> None:
        """A PUBACK has arrived."""
        sent = self._sent.pop(mid, None)
        if sent is None:
            return
        self._s.sizes.acknowledged(sent.key)
        self._s.state.set_refused_topic(sent.topic, str(reason) if reason.is_failure else "")
        if sent.event_id is None:
            if not reason.is_failure:
                self._s.states.acknowledged(sent.topic, sent.payload)
            return
        copies = self._copies[sent.event_id]
        copies.waiting -= 1
        if reason.is_failure:
            copies.refused.append(sent.topic)
        if copies.waiting:
            return
        del self._copies[sent.event_id]
        if not copies.refused:
            self._done.append(sent.event_id)
            return
        self._set_refused(sent.event_id, copies.refused)

    def _set_refused(self, event_id: str, topics: list[str]) -> None:
        """The broker does not take these copies of an event: they are sent again later."""
        if not self._refused:
            self._retry_at = time.monotonic() + self._s.limits.refused_retry_s
        self._refused[event_id] = topics
        self._s.state.set_refused_events(len(self._refused) + len(self._retry))

    def delete_acknowledged(self) -> None:
        """Delete the acknowledged events from the outbox."""
        if self._done:
            self._s.events.delete(self._done)
            self._done = []

    # ---- events

    def _send_events(self) -> None:
        if self._refused and time.monotonic() >= self._retry_at:
            self._cursor = 0  # read the refused ones again; those that wait for a PUBACK are skipped by their id
            self._retry.update(self._refused)
            self._refused.clear()
        # An event is one message or two. A long backlog leaves a quarter of the window to the states.
        spare = self._window // 4 if self._s.states.waiting else 0
        while (self.room - spare >= 2 or self.idle) and (batch := self._next_events(max(1, (self.room - spare) // 2))):
            for stored in batch:
                # Waiting for a PUBACK, acknowledged, or refused and not due.
                if not any(stored.event.event_id in known for known in (self._copies, self._done, self._refused)):
                    self._send_event(stored, overtakes=stored.seq > self._cursor)

    def _next_events(self, limit: int) -> list[StoredEvent]:
        """The events to send next, in the order of the outbox; but fresh events overtake a backlog.

        A person who is at the door now must not wait until ten thousand old events are sent.
        """
        batch = self._s.events.pending(self._cursor, limit + 1)
        if len(batch) > limit:
            batch.pop()
            if fresh := self._s.events.fresh(max(self._cursor, self._fresh_cursor), limit, LATE_AFTER_S):
                self._fresh_cursor = fresh[-1].seq
                return fresh
        if batch:
            self._cursor = batch[-1].seq
        return batch

    def _send_event(self, stored: StoredEvent, overtakes: bool) -> None:
        """overtakes: it was taken before older ones. If it has become late since, it waits for its turn."""
        s, event = self._s, stored.event
        try:
            hand = hand_over(stored, s.topics.device, s.config.event_ttl_s, s.clock(), s.sign)
            if overtakes and hand.late:
                return
            topics = self._retry.pop(event.event_id, None) or s.topics.of_event(
                event.event_type, event.body.get("identity")
            )
        except (ValueError, TypeError, OverflowError) as e:  # no release stores such an event: the row was changed
            log.error("mqtt: event %s cannot be sent and is set aside: %s", event.event_id, e)
            s.events.set_aside(stored, f"it cannot be sent: {e}")
            return
        properties = broker.event_properties(SCHEMA_VERSION, 1) if self._protocol == broker.V5 else None
        longest = max(topics, key=len)
        size = broker.packet_bytes(longest, hand.payload, self._protocol, properties)
        if not s.sizes.fits(event.event_id, longest, size):
            self._set_refused(event.event_id, list(topics))
            return
        self._copies[event.event_id] = _Copies(waiting=len(topics))
        for topic in topics:
            expiry = message_expiry_s(hand, trigger=topic != s.topics.event, max_age_s=s.config.event_max_age_s)
            self.publish(topic, hand.payload, event_id=event.event_id, expiry_s=expiry)
