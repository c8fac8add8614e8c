"""The fleet's connection to the broker: subscriptions, retained records, reconnection. One thread drives it.

Nothing waits in a session of the broker: each connection starts clean, and fleet/slices.py finds out what was missed. The
socket can be polled from outside (`fileno`, `work`), so that a simulation runs hundreds of links in one thread.
"""

from __future__ import annotations

import contextlib
import logging
import random
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_oneshot.config import MqttConfig
from edge_oneshot.errors import ConfigError
from edge_oneshot.mqtt import broker

log = logging.getLogger(__name__)

_TRY_OLD_AFTER = 3  # connections in a row without a CONNACK
WINDOW = 20  # unacknowledged records; mosquitto's receive maximum is the same


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTimes:
    """Seconds. After the n-th failure the next attempt waits for a random part of base * 2^n, at most for a random part of max.

    The random part spreads the reconnection of a thousand devices after a restart of the broker. refused: after a refusal that
    only another configuration can change. ack: without an acknowledgement for so long the connection is given up.
    """

    base: float = 2.0
    max: float = 30.0
    refused: float = 30.0
    connack: float = 10.0
    ack: float = 20.0


class Link:
    """Call `work` at least once a second, and whenever the socket is readable. `online` says whether it is connected."""

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        on_message: Callable[[str, bytes], None],
        *,
        times: LinkTimes | None = None,
        spread: random.Random | None = None,
    ) -> None:
        """on_message: is called within `work` with topic and payload. Opens nothing yet."""
        self._config, self._client_id, self._on_message = config, client_id, on_message
        self._times, self._random = times or LinkTimes(), spread or random.Random()
        self._protocols = list(broker.protocols(config))
        self._client: Client | None = None
        self._failures, self._next, self._silent = 0, 0.0, 0
        self._deadline = 0.0
        self._sent: dict[int, tuple[str, bytes, float]] = {}
        self._asked: dict[int, str] = {}
        self.online = False
        self.session = 0  # the number of connections that the broker accepted
        self.fault = ""  # why the last connection ended, or was refused
        self.acknowledged: list[tuple[str, bytes]] = []  # records that the broker has; the caller takes them out
        self.granted: set[str] = set()  # topic filters that the broker has subscribed
        self.refused: dict[str, str] = {}  # topic or topic filter -> why the broker's access list refuses it
        self.received_bytes = 0

    @property
    def retain_handling(self) -> bool:
        """Whether a subscription without its retained messages is possible (MQTT 5)."""
        return self._protocols[0] == broker.V5

    def fileno(self) -> int:
        """The socket, for a poller; -1 while there is none."""
        sock = None if self._client is None else self._client.socket()
        return -1 if sock is None else sock.fileno()

    @property
    def wants_write(self) -> bool:
        return self._client is not None and self._client.want_write()

    def wait(self, timeout_s: float) -> None:
        """Wait until something arrives, or for `timeout_s`, then `work`."""
        if (fd := self.fileno()) < 0:
            time.sleep(timeout_s)
        else:
            poller = select.poll()
            poller.register(fd, select.POLLIN | (select.POLLOUT if self.wants_write else 0))
            poller.poll(timeout_s * 1000)
        self.work()

    def work(self) -> None:
        """Connect if it is time, read what has arrived, write what waits. Blocks only to connect, for at most 5 s."""
        now = time.monotonic()
        client = self._client
        if client is None:
            if now >= self._next:
                self._connect()
            return
        try:
            while client.socket() is not None and _readable(client):
                client.loop_read()
            if client.socket() is not None and client.want_write():
                client.loop_write()
            if client.socket() is not None:
                client.loop_misc()
        except Exception as e:  # paho raises various errors on bytes that are not MQTT
            if self._client is client:
                self._lost(f"{type(e).__name__}: {e}")
        if self._client is not client:
            return
        if client.socket() is None:
            self._lost(self.fault or "the connection was lost")
        elif now > self._deadline and not self.online:
            self._silent_end(f"no CONNACK within {self._times.connack:g} s")
        elif self._sent and now - next(iter(self._sent.values()))[2] > self._times.ack:
            self._lost(f"no acknowledgement within {self._times.ack:g} s")

    @property
    def room(self) -> int:
        """How many records can be published now."""
        return WINDOW - len(self._sent) if self.online else 0

    def publish(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        """Publish with QoS 1; `acknowledged` gets it when the broker has it. Raises ValueError without `room`."""
        if self._client is None or self.room <= 0:
            raise ValueError("expected an online link with room for another record")
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._sent[info.mid] = topic, payload, time.monotonic()

    def subscribe(self, topic_filter: str, *, retained: bool = True) -> None:
        """Subscribe with QoS 1. retained: the broker also sends what it has stored; without MQTT 5 it always does."""
        if self._client is None:
            return
        if self.retain_handling:
            how = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if retained else SubscribeOptions.RETAIN_DO_NOT_SEND
            options = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=how)
            _, mid = self._client.subscribe(topic_filter, options=options)
        else:
            _, mid = self._client.subscribe(topic_filter, 1)
        if mid is not None:
            self._asked[mid] = topic_filter

    def unsubscribe(self, topic_filter: str) -> None:
        self.granted.discard(topic_filter)
        if self._client is not None:
            self._client.unsubscribe(topic_filter)

    def close(self) -> None:
        """Disconnect. A later `work` connects again."""
        client, self._client, self.online = self._client, None, False
        if client is not None and client.socket() is not None:
            client.on_disconnect = None
            client.disconnect()
            with contextlib.suppress(OSError, ValueError):
                client.loop_write()
            _drop(client)

    # ---- the connection

    def _connect(self) -> None:
        self._sent.clear()
        self._asked.clear()
        self.granted.clear()
        protocol = self._protocols[0]
        self._deadline = time.monotonic() + broker.CONNECT_TIMEOUT_S + self._times.connack
        try:
            client = broker.make_client(self._config, self._client_id, protocol)
            client.on_connect, client.on_disconnect = self._connected, self._disconnected
            client.on_publish, client.on_subscribe = self._published, self._subscribed
            client.on_message = self._message
            self._client = client
            broker.connect(client, self._config, protocol, session_expiry_s=0)
        except ConfigError as e:
            self._lost(str(e), refused=True)
        except ssl.SSLCertVerificationError as e:
            self._lost("the broker's certificate is not trusted: " + "; ".join(broker.untrusted(e)), refused=True)
        except (OSError, ValueError) as e:
            self._lost(f"{e}" or type(e).__name__)

    def _silent_end(self, why: str) -> None:
        """The broker accepted the connection and sent no CONNACK: one that knows MQTT 3.1.1 only may do so."""
        self._silent += 1
        if self._silent % _TRY_OLD_AFTER == 0:
            self._protocols.reverse()
        self._lost(why)

    def _lost(self, why: str, *, refused: bool = False) -> None:
        client, self._client = self._client, None
        was_online, self.online = self.online, False
        if client is not None:
            client.on_disconnect = None
            _drop(client)
        most = (
            self._times.refused if refused else min(self._times.max, self._times.base * 2.0 ** min(self._failures, 16))
        )
        self._next = time.monotonic() + self._random.uniform(most / 2 if refused else 0.0, most)
        self._failures += 1
        if why != self.fault or was_online:
            where = "{}:{}".format(*broker.address(self._config))
            log.warning("fleet: broker %s: %s; the gallery stays in use as it is", where, why)
        self.fault = why

    # ---- paho's callbacks, within `work`

    def _connected(
        self, client: Client, _: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            if reason.value == broker.UNSUPPORTED_PROTOCOL and len(self._protocols) > 1:
                log.info("fleet: the broker does not support MQTT 5; using 3.1.1")
                del self._protocols[0]
            self._lost(f"the broker refused the connection: {reason}", refused=broker.is_permanent(reason))
            if reason.value == broker.UNSUPPORTED_PROTOCOL:
                self._next = 0.0
            return
        self.online, self.fault, self._failures, self._silent = True, "", 0, 0
        self.refused.clear()
        self.session += 1
        log.info("fleet: online at %s:%s", *broker.address(self._config))

    def _disconnected(
        self, client: Client, _: object, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if self._client is client:
            taken = reason.value == broker.TAKEN_OVER
            if self.online:
                hint = "; another client uses this client id" if taken else ""
                self._lost(f"the connection ended ({reason}){hint}", refused=taken)
            else:
                self._silent_end(f"the broker closed the connection before its CONNACK ({reason})")

    def _published(
        self, client: Client, _: object, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if (sent := self._sent.pop(mid, None)) is None:
            return
        if reason.is_failure:
            self.refused[sent[0]] = str(reason)
        else:
            self.acknowledged.append(sent[:2])

    def _subscribed(
        self, client: Client, _: object, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        topic_filter = self._asked.pop(mid, None)
        if topic_filter is None:
            return
        if reasons and reasons[0].is_failure:
            if topic_filter not in self.refused:
                log.error("fleet: the broker refuses to subscribe %s: %s", topic_filter, reasons[0])
            self.refused[topic_filter] = str(reasons[0])
        else:
            self.granted.add(topic_filter)

    def _message(self, client: Client, _: object, message: MQTTMessage) -> None:
        self.received_bytes += len(message.payload)
        try:
            self._on_message(message.topic, bytes(message.payload))
        except Exception:  # a message must not be able to end the connection
            log.exception("fleet: a message on %s could not be handled", message.topic)


def _readable(client: Client) -> bool:
    sock = client.socket()
    if sock is None:
        return False
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def _drop(client: Client) -> None:
    sock = client.socket()
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            sock.close()
