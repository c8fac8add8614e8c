"""Two brokers that keep the last message of each topic, a partition between them, and the devices on either side."""

from __future__ import annotations

import random
from collections import deque

from edge_oneshot.fleet.fleet import Fleet


class Device:
    """A member: its fleet, what the broker has sent and it has not read, and the side of the partition it is on; None: offline."""

    def __init__(self, fleet: Fleet, side: int | None) -> None:
        self.fleet, self.side = fleet, side
        self.inbox: deque[tuple[str, bytes]] = deque()


class Network:
    """The base of World."""

    def __init__(self, source: random.Random) -> None:
        self.random = source
        self.brokers: list[dict[str, bytes]] = [{}, {}]
        self.partitioned = False
        self.sent: list[tuple[str, bytes]] = []  # every message that a broker has seen
        self.devices: list[Device] = []

    def publish(self, side: int, topic: str, payload: bytes) -> None:
        self.sent.append((topic, payload))
        broker = self.brokers[side]
        broker.pop(topic, None)
        if payload:
            broker[topic] = payload
        for device in self.devices:
            if device.side == side:
                device.inbox.append((topic, payload))

    def _connect(self, device: Device) -> None:
        """Subscribe: the broker sends what it holds, in any order."""
        device.inbox.clear()
        if device.side is None:
            return
        held = list(self.brokers[device.side].items())
        self.random.shuffle(held)
        with device.fleet.batch():
            for topic, payload in held:
                device.fleet.take(topic, payload)
            device.fleet.absent("", {topic for topic, _ in held})

    def _flush(self, device: Device) -> int:
        """Publish what is due; the number of messages."""
        if device.side is None:
            return 0
        messages = list(device.fleet.outgoing())
        for message in messages:
            self.publish(device.side, message.topic, message.payload)
            device.fleet.acknowledged(message.topic, message.payload)
        return len(messages)

    def _read(self, device: Device, most: int) -> None:
        with device.fleet.batch():
            for _ in range(min(most, len(device.inbox))):
                device.fleet.take(*device.inbox.popleft())

    def _bridge(self) -> None:
        """Both brokers send each other what they hold; for each topic one of the two arrives last."""
        for topic, payload in list(self.brokers[1].items()):
            if topic not in self.brokers[0] or self.random.random() < 0.5:
                self.publish(0, topic, payload)
        self.brokers[1] = {}
