"""Home Assistant's MQTT discovery: who the device is, and the entities and triggers that stand for it.

One message for the whole device ("device", Home Assistant 2024.12 and later), or one per entity ("component", also for
openHAB). Everybody who is enrolled has an entity and a trigger from enrollment on, not from the first match on.
Keys are spelled out; Home Assistant's documentation of each platform explains them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.shared import Incoming
from edge_oneshot.mqtt.topics import Topics, slug
from edge_oneshot.types import EVENT_TYPES

# A trigger opens doors, so it says "act" only where docs/reference/mqtt.md allows it.
_ACT = """\
{{ 'act' if value_json.event_type == 'match' and not value_json.late and value_json.clock == 'synced' \
and as_timestamp(value_json.expires_at) > as_timestamp(utcnow()) else 'ignore' }}"""


_NOTE = "discovery"


class HomeAssistant:
    """Call `announce` at the start and whenever somebody is enrolled, renamed or forgotten. Make it before link.start()."""

    def __init__(self, link: MqttLink, mode: str, prefix: str, device_name: str, version: str) -> None:
        """mode: "device" or "component". prefix: Home Assistant's discovery prefix. device_name: for people."""
        self._link, self._mode, self._prefix = link, mode, slug("discovery prefix", prefix)
        self._node = f"edge_oneshot_{link.topics.device}"
        self._device = {
            "identifiers": [self._node],
            "name": device_name,
            "manufacturer": "edge-oneshot",
            "model": "one-shot recognition",
            "sw_version": version,
        }
        self._origin = {"name": "edge-oneshot", "sw_version": version}
        self._announced = self._earlier()  # component -> platform, of all that were ever told and not removed since
        link.subscribe(f"{prefix}/status", self._on_birth)

    def announce(self, people: Mapping[str, str]) -> None:
        """people: identity_id -> name, everybody who is enrolled."""
        wanted = components(self._link.topics, self._node, people)
        gone = {key: platform for key, platform in self._announced.items() if key not in wanted}
        told = {key: component["platform"] for key, component in wanted.items()}
        if self._mode == "device":
            # A component with nothing but its platform is removed. It stays so in the retained message, since Home
            # Assistant may be away just now, and until the next start but one, since we may have been away.
            removed = {key: {"platform": platform} for key, platform in gone.items()}
            self._announced = told | gone
            messages = {
                f"{self._prefix}/device/{self._node}/config": {
                    "device": self._device,
                    "origin": self._origin,
                    "availability_topic": self._link.topics.availability,
                    "qos": 1,
                    "components": wanted | removed,
                }
            }
        else:
            self._announced = told
            messages = {self._topic(c["platform"], key): self._single(c) for key, c in wanted.items()}
        for topic, message in messages.items():
            self._link.set_state(topic, message)
        self._link.clear_others(f"{self._prefix}/", messages)
        self._link.keep_note(_NOTE, json.dumps(told))

    def _earlier(self) -> dict[str, str]:
        """What the last process had announced when it ended."""
        try:
            return {str(k): str(v) for k, v in json.loads(self._link.note(_NOTE) or "{}").items()}
        except (ValueError, AttributeError):
            return {}

    def _single(self, component: dict[str, Any]) -> dict[str, Any]:
        """The message of one entity or trigger: it repeats who the device is."""
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


def components(topics: Topics, node: str, people: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The entities and triggers: key -> configuration with its `platform`. Keys are unique within the device."""
    found: dict[str, dict[str, Any]] = {
        "event": {
            "platform": "event",
            "name": "Event",
            "state_topic": topics.event,
            "event_types": list(EVENT_TYPES),
            "icon": "mdi:face-recognition",
        },
        "last_person": {
            "platform": "sensor",
            "name": "Last person",
            "state_topic": f"{topics.base}/match/+",
            "icon": "mdi:account",
            "value_template": "{{ value_json.name }}",
        },
        "unknown_person": {
            "platform": "binary_sensor",
            "name": "Unknown person",
            "device_class": "occupancy",
            "state_topic": topics.presence,
            "value_template": "{{ 'ON' if value_json.unknown > 0 else 'OFF' }}",
        },
        "state": _diagnostic(topics, "State", "{{ value_json.state }}"),
        "fps": _diagnostic(
            topics, "Frames per second", "{{ value_json.fps }}", unit_of_measurement="fps", state_class="measurement"
        ),
        "temperature": _diagnostic(
            topics,
            "Temperature",
            "{{ value_json.temperature_c }}",
            device_class="temperature",
            unit_of_measurement="°C",
            state_class="measurement",
        ),
        "outbox_depth": _diagnostic(
            topics, "Undelivered events", "{{ value_json.outbox.depth }}", state_class="measurement"
        ),
    }
    for identity_id, name in people.items():
        found[f"person_{identity_id}"] = {
            "platform": "binary_sensor",
            "name": name,
            "device_class": "occupancy",
            "state_topic": topics.person_state(identity_id),
        }
        found[f"match_{identity_id}"] = {
            "platform": "device_automation",
            "automation_type": "trigger",
            "type": "match",
            "subtype": name,
            "topic": topics.match(identity_id),
            "payload": "act",
            "value_template": _ACT,
        }
    for key, component in found.items():
        if component["platform"] != "device_automation":
            component["unique_id"] = f"{node}_{key}"
    return found


def _diagnostic(topics: Topics, name: str, template: str, **more: str) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": name,
        "entity_category": "diagnostic",
        "state_topic": topics.health,
        "value_template": template,
        **more,
    }
