"""One connection to the broker, from CONNECT to its end, with a paho client of its own.

Nothing outlives it: an event that was not acknowledged is still in the outbox, and the next connection sends it again
with a new payload. paho would keep unacknowledged messages and send the *old* payload again, with an old `late`.
Everything here runs on the link's thread, paho's loop_read, loop_write and loop_misc included, so callbacks need no lock.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import struct
import time

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, topic_matches_sub
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_oneshot.errors import ConfigError
from edge_oneshot.mqtt import broker
from edge_oneshot.mqtt.payloads import OFFLINE, ONLINE
from edge_oneshot.mqtt.sender import IN_FLIGHT, Sender
from edge_oneshot.mqtt.shared import End, Incoming, Shared

log = logging.getLogger(__name__)


class Connection:
    """Use once: `run()` returns when the connection has ended."""

    def __init__(self, shared: Shared, protocol: MQTTProtocolVersion) -> None:
        self._s, self._protocol = shared, protocol
        self._end: tuple[End, str] | None = None
        self._too_large = False
        self.online_at: float | None = None  # time.monotonic() of the CONNACK, if the broker accepted
        self._connack_by = time.monotonic() + shared.limits.connack_s
        self._sent_online = self._sent_offline = self._disconnecting = False
        self._stop_by: float | None = None
        self._subscribed: list[str] = []

    def run(self) -> tuple[End, str]:
        """Connect, work until the end, and return why it ended."""
        s = self._s
        try:
            client = broker.make_client(s.config, s.client_id, self._protocol)
            broker.set_will(client, s.topics.availability, self._protocol, s.limits.session_expiry_s)
            client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
            client.on_publish, client.on_subscribe = self._on_publish, self._on_subscribe
            client.on_message = self._on_message
            self._sender = Sender(s, client, self._protocol)
            broker.connect(client, s.config, self._protocol, s.limits.session_expiry_s)
        except ConfigError as e:
            return End.REFUSED, str(e)
        except ssl.SSLCertVerificationError as e:
            why, hint = broker.untrusted(e)
            return End.REFUSED, f"the broker's certificate is not trusted: {why}; {hint}"
        except (OSError, ValueError) as e:
            return End.UNREACHABLE, f"{e}" or type(e).__name__
        self._connack_by = time.monotonic() + s.limits.connack_s
        end = End.UNREACHABLE, "the connection ended in an error"
        try:
            while self._end is None:
                self._step(client)
            end = self._end
        except Exception as e:  # paho raises various errors on bytes that are not MQTT; the link must continue
            log.debug("mqtt: %s", end[1], exc_info=True)
            end = End.UNREACHABLE, f"{end[1]}: {type(e).__name__}: {e}"
        finally:
            self._sender.delete_acknowledged()
            if self.online_at is not None and end[0] is End.UNREACHABLE:
                suspects = [sent for sent in self._sender.in_flight if sent.topic != s.topics.availability]
                end = end[0], end[1] + s.sizes.lost(suspects, too_large=self._too_large)
            s.state.set_refused_events(0)
            if client.too_large:
                end = End.UNREACHABLE, s.sizes.arrived(client.too_large)
            _abort(client)
        return end

    def _step(self, client: Client) -> None:
        """Send what waits, then wait for the network or for wake()."""
        if self.online_at is not None:
            self._sender.delete_acknowledged()
            self._send(client)
        sock = client.socket()
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
            # TLS decrypts more bytes than one read takes.
            while client.socket() is sock and isinstance(sock, ssl.SSLSocket) and sock.pending():
                client.loop_read()
        if events & select.POLLOUT and client.socket() is not None:
            client.loop_write()
        if client.socket() is not None:
            client.loop_misc()
        self._end = self._end or self._overdue()

    def _overdue(self) -> tuple[End, str] | None:
        """The end of a connection on which an answer did not come in time."""
        now, limits = time.monotonic(), self._s.limits
        if self.online_at is None:
            if self._s.stopping():
                return End.STOPPED, ""
            if now > self._connack_by:
                return End.NO_CONNACK, f"no CONNACK within {limits.connack_s:g} s"
        if self._stop_by is not None and now > self._stop_by:
            return End.STOPPED, f"the broker did not acknowledge `offline` within {limits.stop_s:g} s"
        oldest = self._sender.oldest
        if oldest is not None and now - oldest.at > limits.ack_timeout_s:
            return End.UNREACHABLE, f"no PUBACK for {oldest.topic} within {limits.ack_timeout_s:g} s"
        return None

    def _send(self, client: Client) -> None:
        self._s.publish_posted()
        if self._s.stopping():
            self._send_goodbye(client)
            return
        if not self._sent_online:
            self._sender.publish(self._s.topics.availability, ONLINE.encode(), retain=True)
            self._sent_online = True
        if not self._subscribed and not self._s.sizes.deaf and (filters := list(self._s.subscriptions)):
            client.subscribe([(f, 1) for f in filters])
            self._subscribed = filters
        self._sender.send_all()

    def _send_goodbye(self, client: Client) -> None:
        """States first (the daemon may just have set them), then `offline`, then DISCONNECT, which discards the will."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self._s.limits.stop_s
        if not self._sent_offline:
            self._sender.send_states()
            if self._sender.room > 0:
                self._sender.publish(self._s.topics.availability, OFFLINE.encode(), retain=True)
                self._sent_offline = True
        elif self._sender.idle and not self._disconnecting:
            self._disconnecting = True
            client.disconnect()  # paho closes the socket when the packet is written, and calls on_disconnect

    # ---- paho's callbacks, on this same thread

    def _on_connect(
        self, client: Client, _: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            if reason.value == broker.UNSUPPORTED_PROTOCOL:
                self._end = End.UNSUPPORTED, str(reason)
            else:
                end = End.REFUSED if broker.is_permanent(reason) else End.UNREACHABLE
                self._end = end, f"the broker refused the connection: {reason}"
            return
        self.online_at = time.monotonic()
        self._sender.begin(
            getattr(properties, "ReceiveMaximum", IN_FLIGHT), getattr(properties, "MaximumPacketSize", None)
        )
        self._s.states.send_all()
        self._s.pictures.clear()  # those from before the connection are old
        version = "5" if self._protocol == broker.V5 else "3.1.1"
        self._s.state.online(version)
        log.info("mqtt: online at %s:%s, MQTT %s", *broker.address(self._s.config), version)

    def _on_disconnect(
        self, _c: Client, _: object, flags: DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if self._end is not None:
            return
        if self._disconnecting:
            self._end = End.STOPPED, ""
        elif self.online_at is None:
            hint = "if it is a TLS port, set mqtt.tls" if not self._s.config.tls else "check that it is a TLS port"
            self._end = End.NO_CONNACK, f"the broker closed the connection before its CONNACK; {hint}"
        elif flags.is_disconnect_packet_from_server:
            self._too_large = reason.value == broker.PACKET_TOO_LARGE
            end = End.REFUSED if broker.is_permanent(reason) and not self._too_large else End.UNREACHABLE
            hint = "; another client uses this mqtt.client_id" if reason.value == broker.TAKEN_OVER else ""
            self._end = end, f"the broker ended the connection: {reason}{hint}"
        else:
            self._end = End.UNREACHABLE, f"the connection was lost ({reason})"

    def _on_subscribe(self, _c: Client, _: object, mid: int, reasons: list[ReasonCode], _p: Properties | None) -> None:
        for topic, reason in zip(self._subscribed, reasons, strict=False):
            self._s.state.set_refused_topic(topic, f"subscription: {reason}" if reason.is_failure else "")

    def _on_message(self, _c: Client, _: object, message: MQTTMessage) -> None:
        incoming = Incoming(topic=message.topic, payload=bytes(message.payload), retained=message.retain)
        for topic_filter, handler in self._s.subscriptions.items():
            if topic_matches_sub(topic_filter, incoming.topic):
                try:
                    handler(incoming)
                except Exception:  # a message must not be able to end the connection
                    log.exception("mqtt: a message on %s could not be handled", incoming.topic)

    def _on_publish(self, _c: Client, _: object, mid: int, reason: ReasonCode, _p: Properties | None) -> None:
        self._sender.acknowledged(mid, reason)


def _abort(client: Client) -> None:
    """Close at once and discard unsent bytes: they must not be delivered when the network returns."""
    sock = client.socket()
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
