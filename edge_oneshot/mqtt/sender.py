"""What is sent over one connection: states, responses, pictures and events, and what their acknowledgements mean."""

from __future__ import annotations

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
from edge_oneshot.mqtt.payloads import LATE_AFTER_S, SCHEMA_VERSION, hand_over, message_expiry_s
from edge_oneshot.mqtt.shared import Shared

log = logging.getLogger(__name__)

IN_FLIGHT = 16  # messages that wait for their PUBACK; few, so that little is sent twice after a lost connection


@dataclass(slots=True)
class Sent:
    """A message that waits for its PUBACK. event_id: None unless it is an event."""

    topic: str
    payload: bytes
    at: float
    event_id: str | None = None


@dataclass(slots=True)
class _Copies:
    """The copies of one event that wait for their PUBACK. refused: the topics that the broker refused."""

    waiting: int = 0
    refused: list[str] = field(default_factory=list)


class Sender:
    """Belongs to one connection and to the link's thread."""

    def __init__(self, shared: Shared, client: Client, protocol: MQTTProtocolVersion) -> None:
        self._s, self._client, self._protocol = shared, client, protocol
        self.window = IN_FLIGHT
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

    @property
    def room(self) -> int:
        """How many more messages may wait for their PUBACK."""
        return self.window - len(self._sent)

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
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        # A failure to send appears as the end of the connection; the event is still in the outbox.
        self._sent[info.mid] = Sent(topic=topic, payload=payload, at=time.monotonic(), event_id=event_id)

    def send_all(self) -> None:
        """Send what waits, as far as the window allows."""
        s = self._s
        self.send_states()
        while self.room > 0 and not s.replies.empty():
            self.publish(*s.replies.get())
        if s.pictures and not self._client.want_write():  # after everything that waits to be written
            expiry_s = math.ceil(s.config.event_ttl_s)
            properties = broker.picture_properties(expiry_s) if self._protocol == broker.V5 else None
            self._client.publish(s.topics.snapshot, s.pictures.popleft(), qos=0, retain=False, properties=properties)
        self._send_events()

    def send_states(self) -> None:
        while self.room > 0 and (state := self._s.states.next_unsent()) is not None:
            self.publish(state[0], state[1], retain=True)

    def acknowledged(self, mid: int, reason: ReasonCode) -> None:
        """A PUBACK has arrived."""
        sent = self._sent.pop(mid, None)
        if sent is None:
            return
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
        if not self._refused:
            self._retry_at = time.monotonic() + self._s.limits.refused_retry_s
        self._refused[sent.event_id] = copies.refused
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
        # An event is one message or two.
        while (self.room >= 2 or self.idle) and (batch := self._next_events(max(1, self.room // 2))):
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
        self._copies[event.event_id] = _Copies(waiting=len(topics))
        for topic in topics:
            expiry = message_expiry_s(hand, trigger=topic != s.topics.event, max_age_s=s.config.event_max_age_s)
            self.publish(topic, hand.payload, event_id=event.event_id, expiry_s=expiry)
