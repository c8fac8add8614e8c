"""The entities and triggers that Home Assistant's discovery announces (homeassistant.py sends them).

The keys are unabbreviated; Home Assistant's documentation of each platform explains them.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_oneshot.mqtt.topics import Topics
from edge_oneshot.types import EVENT_TYPES

# A trigger can open a door, so its value is "act" only under the conditions of docs/reference/mqtt.md.
_ACT = """\
{{ 'act' if value_json.event_type == '%s' and not value_json.late and value_json.clock == 'synced' \
and as_timestamp(value_json.expires_at) > as_timestamp(utcnow()) and value_json.rate != 'none' else 'ignore' }}"""
_NOW = '"ts":"{{ utcnow().isoformat() }}"'
# The hint for the person in front of the camera, then the result; a state has at most 255 characters.
_ENROLLMENT = """\
{% if value_json.status == 'progress' %}{{ value_json.data.progress }}\
{% elif value_json.status == 'ok' %}Enrolled {{ value_json.data.name }}\
{% else %}{{ value_json.error[:250] }}{% endif %}"""
Component = dict[str, object]  # the configuration of one entity or trigger


def components(
    topics: Topics, node: str, people: Mapping[str, str], *, requests: bool = False, pictures: bool = False
) -> dict[str, Component]:
    """The entities and triggers: key -> configuration with its `platform`. Keys are unique within the device."""
    found = {**_of_device(topics), **(_of_requests(topics) if requests else {})}
    if pictures:
        found["last_face"] = {
            "platform": "image",
            "name": "Last face",
            "image_topic": topics.snapshot,
            "content_type": "image/jpeg",
            "json_attributes_topic": topics.snapshot_about,  # whose face, of which event
        }
    for identity_id, name in people.items():
        found |= _of_person(topics, identity_id, name)
    for key, component in found.items():
        if component["platform"] != "device_automation":
            component["unique_id"] = f"{node}_{key}"
    return found


def _of_device(topics: Topics) -> dict[str, Component]:
    return {
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
        "last_denied": {
            "platform": "sensor",
            "name": "Last denied person",
            "state_topic": topics.denied,
            "icon": "mdi:account-cancel",
            "value_template": "{{ value_json.name }}",
        },
        "denied": {  # for an alarm or a message, and not for a door
            "platform": "device_automation",
            "automation_type": "trigger",
            "type": "denied",
            "subtype": "Person",
            "topic": topics.denied,
            "payload": "act",
            "value_template": _ACT % "denied",
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


def _of_person(topics: Topics, identity_id: str, name: str) -> dict[str, Component]:
    return {
        f"person_{identity_id}": {
            "platform": "binary_sensor",
            "name": name,
            "device_class": "occupancy",
            "state_topic": topics.person_state(identity_id),
        },
        f"seen_{identity_id}": _moment(f"{name} last seen", topics.person_seen(identity_id)),
        f"last_match_{identity_id}": _moment(f"{name} last match", topics.person_match(identity_id)),
        f"match_{identity_id}": {
            "platform": "device_automation",
            "automation_type": "trigger",
            "type": "match",
            "subtype": name,
            "topic": topics.match(identity_id),
            "payload": "act",
            "value_template": _ACT % "match",
        },
    }


def _moment(name: str, topic: str) -> Component:
    return {"platform": "sensor", "name": name, "device_class": "timestamp", "state_topic": topic}


def _of_requests(topics: Topics) -> dict[str, Component]:
    """What sends requests (mqtt.requests). `ts`: the device refuses a request that waited too long on its way."""
    return {
        "recognition": {
            "platform": "switch",
            "name": "Recognition",
            "icon": "mdi:face-recognition",
            "command_topic": topics.request("pause"),
            "payload_on": '{"paused":false}',
            "payload_off": '{"paused":true}',
            "state_topic": topics.health,
            "value_template": "{{ 'OFF' if value_json.state == 'paused' else 'ON' }}",
            "state_on": "ON",
            "state_off": "OFF",
        },
        "reload": _button(topics, "Reload", "reload", "mdi:reload", entity_category="config"),
        "enroll_mode": _button(
            topics,
            "Enroll mode",
            "enroll",
            "mdi:account-plus",
            '"name":"Visitor {{ now().strftime(\'%Y-%m-%d %H:%M:%S\') }}",',
        ),
        "enroll_cancel": _button(topics, "Cancel enrollment", "cancel", "mdi:account-cancel"),
        "enroll_person": {
            "platform": "text",
            "name": "Enroll person",
            "icon": "mdi:account-plus",
            "max": 64,
            "command_topic": topics.request("enroll"),
            "command_template": f'{{"name":{{{{ value | to_json }}}},{_NOW}}}',
        },
        "enrollment": {
            "platform": "sensor",
            "name": "Enrollment",
            "icon": "mdi:account-voice",
            "state_topic": topics.response("enroll"),
            "value_template": _ENROLLMENT,
        },
    }


def _button(topics: Topics, name: str, verb: str, icon: str, arguments: str = "", **more: str) -> Component:
    return {
        "platform": "button",
        "name": name,
        "icon": icon,
        "command_topic": topics.request(verb),
        "command_template": f"{{{arguments}{_NOW}}}",
        **more,
    }


def _diagnostic(topics: Topics, name: str, template: str, **more: str) -> Component:
    return {
        "platform": "sensor",
        "name": name,
        "entity_category": "diagnostic",
        "state_topic": topics.health,
        "value_template": template,
        **more,
    }
