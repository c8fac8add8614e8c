"""Publishes for the loop: events through the outbox, states as retained topics. Without MQTT it only logs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from edge_oneshot.events.queue import EventQueue
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.homeassistant import HomeAssistant
from edge_oneshot.mqtt.payloads import Health, Info, Presence
from edge_oneshot.mqtt.topics import Topics
from edge_oneshot.types import Event

log = logging.getLogger(__name__)


class Reporter:
    """Belongs to the loop's thread. outbox and link are None if MQTT is disabled; home is None if discovery is."""

    def __init__(
        self, topics: Topics, outbox: EventQueue | None, link: MqttLink | None, home: HomeAssistant | None = None
    ) -> None:
        self._topics, self.outbox, self.link, self._home = topics, outbox, link, home
        self.events = 0
        self._present: tuple[tuple[str, ...], int] | None = None
        self._since = datetime.now(UTC)
        self._people: frozenset[str] = frozenset()

    def event(self, event: Event) -> None:
        """Commit an event before anything is published; the link takes it from the outbox."""
        self.events += 1
        who = event.body.get("identity") or ""
        log.info(
            "%s %s",
            event.event_type,
            " ".join(
                f"{k}={v}"
                for k, v in (
                    ("identity", who),
                    ("track", event.body.get("track")),
                    ("score", event.body.get("score")),
                    ("threshold", event.body.get("threshold")),
                    ("faults", event.body.get("faults")),
                )
                if v not in (None, "")
            ),
        )
        if self.outbox is not None and self.link is not None:
            self.outbox.commit(event)
            self.link.wake()

    def picture(self, jpeg: bytes) -> None:
        """Publish the face of an event. It is not retained."""
        if self.link is not None:
            self.link.picture(jpeg)

    def people(self, names: Mapping[str, str]) -> None:
        """Publish a state for each enrolled person, and clear the states of people who were removed. names: identity_id -> name.

        This includes people who were removed while this daemon was not running: no name may stay at the broker.
        """
        self._people = frozenset(names)
        if self.link is None:
            return
        states = {self._topics.person_state(identity_id) for identity_id in self._people}
        self.link.clear_others(f"{self._topics.base}/person/", keep=states)
        self._publish_states(self._present[0] if self._present else ())
        if self._home is not None:
            self._home.announce(names)

    def presence(self, identity_ids: Iterable[str], unknown: int) -> None:
        """Publish who is in sight, if it has changed. unknown: number of unknown people."""
        present = tuple(sorted(identity_ids)), unknown
        if present == self._present:
            return
        self._present, self._since = present, datetime.now(UTC)
        if self.link is not None:
            message = Presence(identities=present[0], unknown=unknown, since=self._since, ts=self._since).message()
            self.link.set_state(self._topics.presence, message)
            self._publish_states(present[0])

    def _publish_states(self, present: Iterable[str]) -> None:
        assert self.link is not None
        here = set(present)
        for identity_id in sorted(self._people):
            self.link.set_state(self._topics.person_state(identity_id), "ON" if identity_id in here else "OFF")

    def health(self, health: Health) -> None:
        if self.link is not None:
            self.link.set_state(self._topics.health, health.message())

    def info(self, info: Info) -> None:
        if self.link is not None:
            self.link.set_state(self._topics.info, info.message())
