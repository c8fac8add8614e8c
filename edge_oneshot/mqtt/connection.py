"""One connection to the broker, from CONNECT to its end, with a client of its own and one thread.

Nothing outlives it: what was not acknowledged is in the outbox and is handed over anew, with a fresh payload, by the
next connection. paho would keep unacknowledged messages and send the *old* payload again, with an old `late`.
The thread is the link's; paho's loop_read, loop_write and loop_misc run in it, so callbacks need no locks.
"""

from __future__ import annotations

import logging
import math
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, topic_matches_sub
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_oneshot.errors import ConfigError
from edge_oneshot.events.stored import StoredEvent
from edge_oneshot.mqtt import broker
from edge_oneshot.mqtt.payloads import LATE_AFTER_S, OFFLINE, ONLINE, SCHEMA_VERSION, hand_over, message_expiry_s
from edge_oneshot.mqtt.shared import End, Incoming, Shared

log = logging.getLogger(__name__)

IN_FLIGHT = 16  # messages that wait for their PUBACK at one time; small, so that little is sent twice after a cut


@dataclass(slots=True)
class _Sent:
    """A message that waits for its PUBACK. event_id: None for a state."""

    topic: str
    payload: bytes
    at: float
    event_id: str | None = None


@dataclass(slots=True)
class _Delivery:
    """An event of which copies are on their way. refused: the topics that the broker did not take."""

    waiting: int = 0
    refused: list[str] = field(default_factory=list)


class Connection:
    """Use once: `run()` returns when the connection is over."""

    def __init__(self, shared: Shared, protocol: MQTTProtocolVersion) -> None:
        self._s, self._protocol = shared, protocol
        self._end: tuple[End, str] | None = None
        self._accepted = False
        self._window = IN_FLIGHT
        self._sent: dict[int, _Sent] = {}
        self._deliveries: dict[str, _Delivery] = {}
        self._refused: dict[str, list[str]] = {}  # event_id -> the topics that did not take it
        self._retry: dict[str, list[str]] = {}  # the same, when it is time to try again
        self._retry_at = 0.0
        self._cursor = 0  # everything up to this place in the outbox was handed over on this connection
        self._fresh_cursor = 0  # and what is fresh, up to this place: it goes past a backlog
        self._done: list[str] = []  # acknowledged events, deleted together
        self._said_online = self._said_offline = self._disconnecting = False
        self._stop_by: float | None = None
        self._subscribed: list[str] = []

    def run(self) -> tuple[End, str]:
        """Connect, work until the end, and say why it ended."""
        s = self._s
        try:
            client = broker.make_client(s.config, s.client_id, self._protocol)
            broker.set_will(client, s.topics.availability, self._protocol, s.limits.session_expiry_s)
            client.on_connect, client.on_disconnect, client.on_publish = (
                self._on_connect,
                self._on_disconnect,
                self._on_publish,
            )
            client.on_subscribe, client.on_message = self._on_subscribe, self._on_message
            broker.connect(client, s.config, self._protocol, s.limits.session_expiry_s)
        except ConfigError as e:
            return End.REFUSED, str(e)
        except ssl.SSLCertVerificationError as e:
            return (
                End.REFUSED,
                f"the broker's certificate is not trusted: {e.verify_message}; see mqtt.ca_file and mqtt.host",
            )
        except (OSError, ValueError) as e:
            return End.UNREACHABLE, f"{e}" or type(e).__name__
        self._connack_by = time.monotonic() + s.limits.connack_s
        end = End.UNREACHABLE, "the connection ended in an error"
        try:
            while self._end is None:
                self._step(client)
            end = self._end
        except Exception as e:  # paho raises what it likes on bytes that are no MQTT; the link must live on
            log.debug("mqtt: %s", end[1], exc_info=True)
            end = End.UNREACHABLE, f"{end[1]}: {type(e).__name__}: {e}"
        finally:
            self._flush_deletions()
            s.refused_events = 0
            _abort(client)
        return end

    def _step(self, client: Client) -> None:
        """Hand over what there is to hand over, then wait for the network or for wake()."""
        if self._accepted:
            self._flush_deletions()
            self._pump(client)
        sock: Any = client.socket()
        if sock is None:
            self._end = self._end or (End.UNREACHABLE, "the connection was lost")
            return
        poller = select.poll()
        poller.register(sock, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        poller.register(self._s.wake, select.POLLIN)
        ready = dict(poller.poll(100 if self._stop_by else 1000))
        if self._s.wake.fileno() in ready:
            self._s.wake.recv(4096)
        events = ready.get(sock.fileno(), 0)
        if events & ~select.POLLOUT:
            client.loop_read()
            while (
                client.socket() is sock and getattr(sock, "pending", int)()
            ):  # TLS decrypts more than it was asked for
                client.loop_read()
        if events & select.POLLOUT and client.socket() is not None:
            client.loop_write()
        if client.socket() is not None:
            client.loop_misc()
        self._check_times()

    def _check_times(self) -> None:
        now = time.monotonic()
        if self._end is None and not self._accepted:
            if self._s.stopping():
                self._end = End.STOPPED, ""
            elif now > self._connack_by:
                self._end = End.NO_CONNACK, f"no CONNACK within {self._s.limits.connack_s:g} s"
        if self._end is None and self._stop_by is not None and now > self._stop_by:
            self._end = End.STOPPED, f"the broker did not acknowledge `offline` within {self._s.limits.stop_s:g} s"
        oldest = next(iter(self._sent.values()), None)
        if self._end is None and oldest is not None and now - oldest.at > self._s.limits.ack_timeout_s:
            self._end = End.UNREACHABLE, f"no PUBACK for {oldest.topic} within {self._s.limits.ack_timeout_s:g} s"

    # ---- handing over

    def _pump(self, client: Client) -> None:
        s = self._s
        if s.stopping():
            self._say_goodbye(client)
            return
        if not self._said_online:
            self._publish(client, s.topics.availability, ONLINE.encode(), retain=True)
            self._said_online = True
            if filters := list(s.subscriptions):
                client.subscribe([(f, 1) for f in filters])
                self._subscribed = filters
        self._publish_states(client)
        while len(self._sent) < self._window and not s.replies.empty():
            self._publish(client, *s.replies.get())
        if s.pictures and not client.want_write():  # after all that is waiting to be written
            expiry_s = math.ceil(s.config.event_ttl_s)
            properties = broker.picture_properties(expiry_s) if self._protocol == broker.V5 else None
            client.publish(s.topics.snapshot, s.pictures.popleft(), qos=0, retain=False, properties=properties)
        if self._refused and time.monotonic() >= self._retry_at:
            self._cursor = 0  # look at the refused ones again; those in flight are skipped by their id
            self._retry.update(self._refused)
            self._refused.clear()
        # An event is one message or two.
        while ((room := self._window - len(self._sent)) >= 2 or not self._sent) and (
            batch := self._next_events(max(1, room // 2))
        ):
            for stored in batch:
                # In flight, acknowledged, or refused and not due: seen already.
                if not any(stored.event.event_id in seen for seen in (self._deliveries, self._done, self._refused)):
                    self._hand_over(client, stored, past=stored.seq > self._cursor)

    def _next_events(self, limit: int) -> list[StoredEvent]:
        """What to hand over next: in the order of the outbox, but past a backlog what is fresh goes first.

        Somebody stands before a door now: they must not wait until ten thousand old events have gone.
        """
        batch = self._s.outbox.pending(self._cursor, limit + 1)
        if len(batch) > limit:
            batch.pop()
            if fresh := self._s.outbox.fresh(max(self._cursor, self._fresh_cursor), limit, LATE_AFTER_S):
                self._fresh_cursor = fresh[-1].seq
                return fresh
        if batch:
            self._cursor = batch[-1].seq
        return batch

    def _publish_states(self, client: Client) -> None:
        while len(self._sent) < self._window and (state := self._s.states.next_dirty()) is not None:
            self._publish(client, state[0], state[1], retain=True)

    def _hand_over(self, client: Client, stored: StoredEvent, past: bool) -> None:
        """past: it goes past others; not if it has become late on the way from the outbox to here, then it waits its turn."""
        s, event = self._s, stored.event
        try:
            hand = hand_over(stored, s.topics.device, s.config.event_ttl_s, s.clock(), s.sign)
            if past and hand.late:
                return
            topics = self._retry.pop(event.event_id, None) or s.topics.of_event(
                event.event_type, event.body.get("identity")
            )
        except (ValueError, TypeError, OverflowError) as e:  # a row that no build of this program would have stored
            log.error("mqtt: event %s cannot be sent and is dropped: %s", event.event_id, e)
            self._done.append(event.event_id)
            return
        self._deliveries[event.event_id] = _Delivery(waiting=len(topics))
        for topic in topics:
            expiry = message_expiry_s(hand, trigger=topic != s.topics.event, max_age_s=s.config.event_max_age_s)
            self._publish(client, topic, hand.payload, event_id=event.event_id, expiry_s=expiry)

    def _publish(
        self,
        client: Client,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        event_id: str | None = None,
        expiry_s: int = 0,
    ) -> None:
        properties: Properties | None = None
        if self._protocol == broker.V5 and event_id is not None:
            properties = broker.event_properties(SCHEMA_VERSION, expiry_s)
        info = client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        # A failure to send shows as the end of the connection; the row is still in the outbox.
        self._sent[info.mid] = _Sent(topic=topic, payload=payload, at=time.monotonic(), event_id=event_id)

    def _say_goodbye(self, client: Client) -> None:
        """States first (the daemon may just have set them), `offline` last; then a clean DISCONNECT, which drops the will."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self._s.limits.stop_s
        if not self._said_offline:
            self._publish_states(client)
            if len(self._sent) < self._window:
                self._publish(client, self._s.topics.availability, OFFLINE.encode(), retain=True)
                self._said_offline = True
        elif not self._sent and not self._disconnecting:
            self._disconnecting = True
            client.disconnect()  # paho closes the socket once the packet is written, and calls on_disconnect

    def _flush_deletions(self) -> None:
        if self._done:
            self._s.outbox.delete(self._done)
            self._done = []

    # ---- paho's callbacks, on this same thread

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            if reason.value == broker.UNSUPPORTED_PROTOCOL:
                self._end = End.UNSUPPORTED, str(reason)
            else:
                end = End.REFUSED if broker.is_permanent(reason) else End.UNREACHABLE
                self._end = end, f"the broker refused the connection: {reason}"
            return
        self._accepted = True
        self._window = min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", IN_FLIGHT))
        self._s.states.all_dirty()
        self._s.pictures.clear()  # of before the outage
        self._s.on_online("5" if self._protocol == broker.V5 else "3.1.1")

    def _on_disconnect(
        self, _c: Client, _: Any, flags: DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if self._end is not None:
            return
        if self._disconnecting:
            self._end = End.STOPPED, ""
        elif not self._accepted:
            hint = "is it a TLS port? then set mqtt.tls" if not self._s.config.tls else "is it a port without TLS?"
            self._end = End.NO_CONNACK, f"the broker closed the connection before its CONNACK; {hint}"
        elif flags.is_disconnect_packet_from_server:
            end = End.REFUSED if broker.is_permanent(reason) else End.UNREACHABLE
            hint = "; another client uses this mqtt.client_id" if reason.value == broker.TAKEN_OVER else ""
            self._end = end, f"the broker ended the connection: {reason}{hint}"
        else:
            self._end = End.UNREACHABLE, f"the connection was lost ({reason})"

    def _on_subscribe(self, _c: Client, _: Any, mid: int, reasons: list[ReasonCode], _p: Properties | None) -> None:
        for topic, reason in zip(self._subscribed, reasons, strict=False):
            self._s.on_refusal(topic, f"subscription: {reason}" if reason.is_failure else "")

    def _on_message(self, _c: Client, _: Any, message: MQTTMessage) -> None:
        incoming = Incoming(topic=message.topic, payload=bytes(message.payload), retained=message.retain)
        for topic_filter, handler in self._s.subscriptions.items():
            if topic_matches_sub(topic_filter, incoming.topic):
                try:
                    handler(incoming)
                except Exception:  # whoever may publish must not be able to end the connection
                    log.exception("mqtt: a message on %s could not be handled", incoming.topic)

    def _on_publish(self, _c: Client, _: Any, mid: int, reason: ReasonCode, _p: Properties | None) -> None:
        sent = self._sent.pop(mid, None)
        if sent is None:
            return
        self._s.on_refusal(sent.topic, str(reason) if reason.is_failure else "")
        if sent.event_id is None:
            if not reason.is_failure and self._s.states.acknowledged(sent.topic, sent.payload):
                self._s.outbox.forget_clear(sent.topic, emptied=True)
            return
        delivery = self._deliveries[sent.event_id]
        delivery.waiting -= 1
        if reason.is_failure:
            delivery.refused.append(sent.topic)
        if delivery.waiting:
            return
        del self._deliveries[sent.event_id]
        if not delivery.refused:
            self._done.append(sent.event_id)
            return
        if not self._refused:
            self._retry_at = time.monotonic() + self._s.limits.refused_retry_s
        self._refused[sent.event_id] = delivery.refused
        self._s.refused_events = len(self._refused) + len(self._retry)


def _abort(client: Client) -> None:
    """Close at once and let the kernel forget unsent bytes: a network that comes back must not deliver old payloads."""
    sock: Any = client.socket()
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
