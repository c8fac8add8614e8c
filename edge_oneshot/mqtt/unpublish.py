"""Find and empty every retained topic of a device, those of Home Assistant's discovery included."""

from __future__ import annotations

import time
from collections.abc import Collection

from paho.mqtt.client import MQTTMessage

from edge_oneshot.config import MqttConfig
from edge_oneshot.errors import BrokerError
from edge_oneshot.mqtt.payloads import ONLINE
from edge_oneshot.mqtt.subscriber import Subscriber
from edge_oneshot.mqtt.topics import Topics

_QUIET_S = 1.0  # without another retained message, after which all have arrived


def unpublish(config: MqttConfig, device: str, *, force: bool = False, remembered: Collection[str] = ()) -> list[str]:
    """Empty the retained topics of `device`; returns them. Raises BrokerError.

    remembered: further topics that the device has published, under an earlier slug or prefix.
    Refused while the daemon is online, which would publish them again, unless `force`.
    """
    topics = Topics(config.prefix, device)
    node = f"edge_oneshot_{device}"
    filters = [
        f"{topics.base}/#",
        f"{config.discovery_prefix}/+/{node}/config",
        f"{config.discovery_prefix}/+/{node}/+/config",
    ]
    filters += sorted(remembered)
    kept = _retained(config, filters)
    if kept.get(topics.availability) == ONLINE.encode() and not force:
        raise BrokerError(
            f"{topics.availability} is online: the running daemon would publish the topics again",
            "stop the daemon first; use --force if the device no longer exists",
        )
    with Subscriber(config, filters, lambda message: None, "unpublish") as subscriber:
        waiting = [subscriber.publish(topic, b"", retain=True) for topic in sorted(kept)]
        end = time.monotonic() + 10.0
        while time.monotonic() < end and not all(info.is_published() for info in waiting):
            subscriber.step(0.1)
    left = _retained(config, filters)  # an acknowledgement proves nothing: MQTT 3.1.1 cannot refuse a message
    if left:
        raise BrokerError(
            f"{len(left)} topics were not emptied: {', '.join(sorted(left))}", "allow this account to write them"
        )
    return sorted(kept)


def _retained(config: MqttConfig, filters: list[str]) -> dict[str, bytes]:
    kept: dict[str, bytes] = {}

    def on_message(message: MQTTMessage) -> None:
        if message.retain and message.payload:
            kept[message.topic] = bytes(message.payload)

    with Subscriber(config, filters, on_message, "unpublish") as subscriber:
        count, quiet_since = -1, time.monotonic()
        while time.monotonic() - quiet_since < _QUIET_S:
            if len(kept) != count:
                count, quiet_since = len(kept), time.monotonic()
            if not subscriber.step(0.1):
                raise BrokerError("the connection was lost before all retained topics were received", "try again")
    return kept
