"""Home Assistant's MQTT discovery: the device, and its entities and triggers.

One message for the whole device ("device", Home Assistant 2024.12 and later), or one per entity ("component", also for
openHAB). A message of a device with many people is divided, since brokers limit the size: each message describes the same
device, with some of its components. A component stays in its message.
Each enrolled person has an entity and a trigger from enrollment on, not from the first match on. entities.py has them all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from edge_oneshot.events.ledger import Notes
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.entities import Component, components
from edge_oneshot.mqtt.payloads import encode
from edge_oneshot.mqtt.shared import Incoming
from edge_oneshot.mqtt.topics import slug

_NOTE = "discovery"
_PART_BYTES = 8192  # of the components in one message; some six people
_MOST_REMOVED = 100  # components, of some 25 people, 5 kB: that are kept beside those that have just been removed


@dataclass(frozen=True, slots=True)
class _Announced:
    """platform and part: of a component that was announced."""

    platform: str
    part: int


class HomeAssistant:
    """Call `announce` at the start and whenever a person is enrolled, renamed or removed. Create it before link.start()."""

    def __init__(
        self,
        link: MqttLink,
        notes: Notes,
        mode: str,
        prefix: str,
        device_name: str,
        version: str,
        *,
        requests: bool = False,
        pictures: bool = False,
    ) -> None:
        """notes: where it keeps what it announced. mode: "device" or "component". prefix: the discovery prefix.

        requests: whether the device takes requests over MQTT, so that there are buttons and a switch. pictures: whether it
        publishes the faces of events (mqtt.snapshot), so that there is an image.
        """
        self._requests, self._pictures = requests, pictures
        self._link, self._notes, self._mode, self._prefix = link, notes, mode, slug("discovery prefix", prefix)
        self._node = f"edge_oneshot_{link.topics.device}"
        self._device = {
            "identifiers": [self._node],
            "name": device_name,
            "manufacturer": "edge-oneshot",
            "model": "one-shot recognition",
            "sw_version": version,
        }
        self._origin = {"name": "edge-oneshot", "sw_version": version}
        self._announced = self._earlier()
        self._removed: dict[str, _Announced] = {}  # newest first
        link.subscribe(f"{prefix}/status", self._on_birth)

    def announce(self, people: Mapping[str, str]) -> None:
        """people: identity_id -> name, of all enrolled people."""
        wanted = components(self._link.topics, self._node, people, requests=self._requests, pictures=self._pictures)
        gone, older = (
            {key: before for key, before in known.items() if key not in wanted}
            for known in (self._announced, self._removed)
        )
        self._announced = current = self._divide(wanted)
        if self._mode == "device":
            # Home Assistant removes a component that has its platform only. The retained message keeps these entries for
            # two starts, since Home Assistant may be away now, and this device may have been away before. It keeps the
            # newest only: with visitors who come and go it would grow until the broker refuses it.
            self._removed = gone | dict(islice(older.items(), _MOST_REMOVED))
            parts: dict[int, dict[str, Component]] = {}
            for key, at in (current | self._removed).items():
                parts.setdefault(at.part, {})[key] = wanted.get(key) or {"platform": at.platform}
            messages = {self._part_topic(part): self._device_message(parts[part]) for part in sorted(parts)}
        else:
            messages = {self._topic(str(c["platform"]), key): self._single(c) for key, c in wanted.items()}
        for topic, message in messages.items():
            self._link.set_state(topic, message)
        self._link.clear_others(f"{self._prefix}/", messages)
        self._notes.put(_NOTE, json.dumps({key: [a.platform, a.part] for key, a in current.items()}))

    def _earlier(self) -> dict[str, _Announced]:
        """What the last process had announced: component -> its platform and part."""
        try:
            noted = json.loads(self._notes.get(_NOTE) or "{}")
            return {str(key): _Announced(str(platform), int(part)) for key, (platform, part) in noted.items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    def _divide(self, wanted: Mapping[str, Component]) -> dict[str, _Announced]:
        """The part of each component: that of before, else the first part with room."""
        sizes = {key: len(encode({key: component})) for key, component in wanted.items()}
        before = self._removed | self._announced
        parts = {key: before[key].part for key in wanted if key in before}
        used: Counter[int] = Counter()
        for key, part in parts.items():
            used[part] += sizes[key]
        free = 0  # every part before it is full
        for key in wanted:
            if key not in parts:
                while used[free] and used[free] + sizes[key] > _PART_BYTES:
                    free += 1
                parts[key] = free
                used[free] += sizes[key]
        return {key: _Announced(str(wanted[key]["platform"]), part) for key, part in parts.items()}

    def _part_topic(self, part: int) -> str:
        return f"{self._prefix}/device/{self._node}/{f'part-{part}/' if part else ''}config"

    def _device_message(self, some: Mapping[str, Component]) -> Component:
        return {
            "device": self._device,
            "origin": self._origin,
            "availability_topic": self._link.topics.availability,
            "qos": 1,
            "components": some,
        }

    def _single(self, component: Component) -> Component:
        """The message of one entity or trigger, with the description of the device."""
        message = {k: v for k, v in component.items() if k != "platform"}
        if component["platform"] != "device_automation":
            message["availability_topic"] = self._link.topics.availability
        return message | {"device": self._device, "origin": self._origin, "qos": 1}

    def _topic(self, platform: str, key: str) -> str:
        return f"{self._prefix}/{platform}/{self._node}/{key}/config"

    def _on_birth(self, message: Incoming) -> None:
        if message.payload == b"online" and not message.retained:
            self._link.republish(f"{self._prefix}/")
            self._link.republish(f"{self._link.topics.base}/")
