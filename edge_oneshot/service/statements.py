"""What the loop states about the people in sight: events, who is present, and the second factor, each by the access rules.

A person who is recognized and not allowed is stated as denied, and nowhere as a match. A rule that begins or ends while the person
is in sight, by time or by a change, is followed at once.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from edge_oneshot.cameras.images import to_jpeg
from edge_oneshot.config import Config
from edge_oneshot.control.responses import Present
from edge_oneshot.events.build import track_event
from edge_oneshot.matching.track import ResultKind, Tracker, TrackResult
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.records import Records
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.retention import Retention
from edge_oneshot.service.second_factor import SecondFactor
from edge_oneshot.types import Event


class Statements:
    """Belongs to the loop's thread."""

    def __init__(
        self,
        config: Config,
        recognizer: Recognizer,
        tracker: Tracker,
        reporter: Reporter,
        records: Records,
        retention: Retention,
    ) -> None:
        self._recognizer, self._tracker, self._reporter = recognizer, tracker, reporter
        self._records, self._retention = records, retention
        self.second_factor = SecondFactor(config.decision.second_factor_s, reporter.event, refusal=recognizer.refusal)
        self._stated: dict[str, bool] = {}  # identity_id -> whether it was stated as denied, of those in sight

    def publish(self, result: TrackResult, config: Config) -> Event | None:
        """The event of a result; None for a person who is ignored, whose visit is only recorded."""
        people, identity_id = self._recognizer.people, result.identity_id
        denied = None
        if result.kind is ResultKind.MATCH and identity_id is not None:
            denied = self._recognizer.refusal(identity_id)
            self._stated[identity_id] = denied is not None
        now_ns, now = time.monotonic_ns(), datetime.now(UTC)
        about = (people.names, config.camera.name, self._recognizer.encoder_id)
        event = track_event(result, *about, now_ns, now, people.no_rate, None if denied is None else denied.reason)
        self._records.add_event(event)
        if result.kind is ResultKind.MATCH:
            self._retention.matched(event.body["identity"])
        if identity_id in self._records.ignored:
            return None
        self._reporter.event(event)
        if config.mqtt.snapshot and result.kind in (ResultKind.MATCH, ResultKind.UNKNOWN):
            self._reporter.picture(to_jpeg(result.observation.sample.chip.pixels), event)
        if event.event_type == "match":
            self.second_factor.matched(event)
        return event

    def follow(self) -> None:
        """Publish who is in sight, and let a person whose rule has begun or ended be stated again. In each turn of the loop."""
        known, _ = self._tracker.present
        denied = {i for i in known if self._recognizer.refusal(i) is not None}
        for identity_id in known:
            if self._stated.get(identity_id, identity_id in denied) != (identity_id in denied):
                self._tracker.report_again(identity_id)
        self._stated = {i: self._stated[i] for i in known if i in self._stated}
        present = self.present()
        self._reporter.presence(present.identities, present.unknown, present.denied)
        self.second_factor.in_sight([i for i in known if i not in denied])

    def present(self) -> Present:
        """Who is in sight, but for those who are ignored."""
        known, unknown = self._tracker.present
        shown = [i for i in known if i not in self._records.ignored]
        denied = [i for i in shown if self._recognizer.refusal(i) is not None]
        return Present(identities=[i for i in shown if i not in denied], unknown=unknown, denied=denied)
