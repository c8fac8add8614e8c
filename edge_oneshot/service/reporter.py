"""What the loop publishes: events through the outbox, states through the link's thread. Without MQTT it only logs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from edge_oneshot import __version__
from edge_oneshot.config import Config
from edge_oneshot.events.queue import EventQueue
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.payloads import Health, Info, Presence, iso
from edge_oneshot.mqtt.publisher import People
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import Event

log = logging.getLogger(__name__)
LOGGED = ("track", "score", "threshold", "faults", "reason")  # fields of an event


class Reporter:
    """Belongs to the loop's thread. outbox and link are None if MQTT is disabled. named: the log names the identities."""

    def __init__(self, outbox: EventQueue | None = None, link: MqttLink | None = None, *, named: bool = True) -> None:
        self.outbox, self.link, self._logged = outbox, link, (("identity",) if named else ()) + LOGGED
        self.events = 0
        self._present: tuple[tuple[str, ...], int, tuple[str, ...]] | None = None

    def event(self, event: Event) -> None:
        """Commit an event before anything is published; the link takes it from the outbox."""
        self.events += 1
        fields = (f"{key}={value}" for key in self._logged if (value := event.body.get(key)) not in (None, ""))
        journal = {"EVENT_ID": event.event_id, "EVENT_TYPE": event.event_type}
        if "identity" in self._logged and event.body.get("identity"):
            journal["IDENTITY"] = str(event.body["identity"])
        log.info("%s %s", event.event_type, " ".join(fields), extra={"journal": journal})
        if self.outbox is not None and self.link is not None:
            self.outbox.commit(event)
            self.link.wake()
            if event.event_type == "match":
                self.link.set_state(self.link.topics.person_match(str(event.body["identity"])), iso(event.ts))

    def forget(self, identity_id: str) -> None:
        """Delete what was not delivered of a person who was removed."""
        if self.outbox is not None:
            self.outbox.forget(identity_id)

    def keep_only(self, identity_ids: Iterable[str]) -> None:
        """As `forget`, for everybody but these people."""
        if self.outbox is not None:
            self.outbox.keep_only(identity_ids)

    def picture(self, jpeg: bytes, event: Event) -> None:
        """Publish the face of an event. It is not retained."""
        if self.link is not None:
            body = {key: event.body[key] for key in ("event_type", "identity", "name", "ts") if event.body.get(key)}
            self.link.picture(jpeg, {"event_id": event.event_id, **body})

    def people(self, names: Mapping[str, str]) -> None:
        """Publish a state for each enrolled person. names: identity_id -> name."""
        self._post(People(names=dict(names)))

    def presence(self, identity_ids: Iterable[str], unknown: int, denied: Iterable[str] = ()) -> None:
        """Publish who is in sight, if it has changed. unknown: number of unknown people. denied: those who are not allowed."""
        present = tuple(sorted(identity_ids)), unknown, tuple(sorted(denied))
        if present == self._present:
            return
        self._present, now = present, datetime.now(UTC)
        self._post(Presence(identities=present[0], unknown=unknown, denied=present[2], since=now, ts=now))

    def health(self, health: Health) -> None:
        self._post(health)

    def info(self, config: Config, recognizer: Recognizer) -> None:
        """Publish what the device is. The threshold moves with the gallery under target_fpir."""
        threshold = recognizer.threshold
        info = Info(
            version=__version__,
            encoder_id=recognizer.encoder_id,
            target_fmr=threshold.target_fmr,
            target_fpir=threshold.target_fpir,
            rate=threshold.rate,
            threshold=round(threshold.value, 4),
            pad=recognizer.pipeline.pad_method,
            gallery_encrypted=recognizer.people.gallery.sealed,
            signed_events=bool(config.mqtt.sign_key_file),
            requests=config.mqtt.requests,
            ts=datetime.now(UTC),
        )
        self._post(info)

    def _post(self, state: People | Presence | Health | Info) -> None:
        if self.link is not None:
            self.link.post(state)
