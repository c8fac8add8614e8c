"""Publishes the states that the loop posts, as retained topics and Home Assistant's discovery. Runs on the link's thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.homeassistant import HomeAssistant
from edge_oneshot.mqtt.payloads import Health, Info, Presence, iso


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """All enrolled people. names: identity_id -> name."""

    names: Mapping[str, str]


State = People | Presence | Health | Info


class StatePublisher:
    """home: None if discovery is disabled."""

    def __init__(self, link: MqttLink, home: HomeAssistant | None = None) -> None:
        self._link, self._home = link, home
        self._people: frozenset[str] = frozenset()
        self._present: frozenset[str] = frozenset()

    def __call__(self, state: object) -> None:
        topics = self._link.topics
        if isinstance(state, People):
            self._publish_people(state.names)
        elif isinstance(state, Presence):
            self._link.set_state(topics.presence, state.message())
            before, self._present = self._present, frozenset(state.identities)
            self._publish_person_states(self._people)
            for identity_id in sorted((before | self._present) & self._people):
                self._link.set_state(topics.person_seen(identity_id), iso(state.ts))
        elif isinstance(state, Health):
            self._link.set_state(topics.health, state.message())
        elif isinstance(state, Info):
            self._link.set_state(topics.info, state.message())
        else:
            raise TypeError(f"state: expected {State}, got {type(state).__name__}")

    def _publish_people(self, names: Mapping[str, str]) -> None:
        """Publish a state for each enrolled person, and clear the states of people who were removed.

        This includes people who were removed while this daemon was not running: no name may stay at the broker.
        """
        topics = self._link.topics
        self._people = frozenset(names)
        self._link.clear_others(f"{topics.base}/person/", keep={t for i in names for t in topics.of_person(i)})
        self._publish_person_states(self._people)
        if self._home is not None:
            self._home.announce(names)

    def _publish_person_states(self, identity_ids: Iterable[str]) -> None:
        for identity_id in sorted(identity_ids):
            state = "ON" if identity_id in self._present else "OFF"
            self._link.set_state(self._link.topics.person_state(identity_id), state)
