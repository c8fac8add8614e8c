"""A blocking subscriber on the caller's thread, for `listen`, `mqtt test` and `mqtt unpublish`. The daemon has none."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, MQTTMessageInfo
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_oneshot.config import MqttConfig
from edge_oneshot.errors import BrokerRefused, BrokerUnreachable
from edge_oneshot.mqtt import broker

_CREDENTIALS_HINT = "check mqtt.username, mqtt.password_file and the broker's ACL"


class Subscriber:
    """One connection and its subscriptions: MQTT 5, or 3.1.1 if the broker does not support 5. A context manager."""

    def __init__(
        self, config: MqttConfig, topics: Sequence[str], on_message: Callable[[MQTTMessage], None], role: str
    ) -> None:
        self._config, self._topics, self._on_message = config, list(topics), on_message
        self._client_id = f"edge-oneshot-{role}-{socket.gethostname()}-{os.getpid()}"
        self._client: Client | None = None
        self._refused = ""
        self._ready = False

    def __enter__(self) -> Subscriber:
        self.connect()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def subscribed(self) -> bool:
        return self._ready and self._client is not None

    def connect(self, timeout_s: float = 10.0) -> None:
        """Connect and subscribe. Raises BrokerUnreachable, BrokerRefused or ConfigError."""
        for protocol in broker.protocols(self._config):
            client = broker.make_client(self._config, self._client_id, protocol)
            client.on_connect, client.on_subscribe = self._connected, self._subscribed
            client.on_message = lambda _c, _u, message: self._on_message(message)
            self._client, self._refused, self._ready = client, "", False
            where = "{}:{}".format(*broker.address(self._config))
            try:
                broker.connect(client, self._config, protocol, session_expiry_s=0)
            except ssl.SSLCertVerificationError as e:
                why, hint = broker.untrusted(e)
                raise BrokerRefused(f"broker {where}: expected a trusted certificate, got: {why}", hint) from None
            except (OSError, ValueError) as e:  # ValueError: a name that cannot be looked up
                raise BrokerUnreachable(
                    f"broker {where}: cannot be reached: {e}", "check mqtt.host, mqtt.port, and that the broker runs"
                ) from None
            end = time.monotonic() + timeout_s
            while not self._ready and not self._refused and client.socket() is not None and time.monotonic() < end:
                client.loop(0.1)
            if self._ready:
                return
            self.close()
            if self._refused and self._refused != "Unsupported protocol version":
                raise BrokerRefused(f"broker {where}: {self._refused}", _CREDENTIALS_HINT)
        raise BrokerUnreachable(
            f"broker {where}: expected a CONNACK and a SUBACK within {timeout_s:g} s, got none",
            "check that it is an MQTT broker, and that mqtt.tls fits its port",
        )

    def step(self, timeout_s: float) -> bool:
        """Wait for messages; False once the connection is lost."""
        assert self._client is not None
        if self._client.socket() is not None:
            self._client.loop(timeout_s)
        return self._client.socket() is not None

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> MQTTMessageInfo:
        """Hand a QoS 1 message to paho; `is_published()` of the result becomes true in a later step."""
        assert self._client is not None
        return self._client.publish(topic, payload, qos=1, retain=retain)

    def close(self) -> None:
        if self._client is not None:
            if self._client.socket() is not None:
                self._client.disconnect()
            self._client = None

    def _connected(
        self, client: Client, _: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refused = str(reason)
        else:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _subscribed(
        self, client: Client, _: object, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        failed = [
            f"{topic}: {reason}" for topic, reason in zip(self._topics, reasons, strict=False) if reason.is_failure
        ]
        self._refused = f"subscription refused: {', '.join(failed)}" if failed else ""
        self._ready = not failed
