"""Publishes who is enrolled, and erases people who were removed from the records and the outbox."""

from __future__ import annotations

from edge_oneshot.matching.track import Tracker
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.records import Records
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.second_factor import SecondFactor


class Roll:
    """records: what is kept of visits."""

    def __init__(
        self,
        recognizer: Recognizer,
        tracker: Tracker,
        reporter: Reporter,
        records: Records,
        second_factor: SecondFactor,
    ) -> None:
        self._recognizer, self._tracker, self._reporter = recognizer, tracker, reporter
        self._records, self._second_factor = records, second_factor
        self._enrolled = frozenset(recognizer.people.names)
        self._published = recognizer.references

    @property
    def outdated(self) -> bool:
        """Whether the gallery has changed since `publish`."""
        return self._recognizer.references is not self._published

    def publish(self) -> None:
        """Forget the people who were removed, and publish who is enrolled."""
        people = self._recognizer.people
        self._published = self._recognizer.references
        now = frozenset(people.names)
        for identity_id in self._enrolled - now:
            self._tracker.forget(identity_id)
            self._second_factor.forget(identity_id)
            if people.may_hold(identity_id):
                continue  # the row cannot be read; the person was not removed
            self._reporter.forget(identity_id)
            self._records.forget(identity_id)
        self._enrolled = now
        self._reporter.people(people.names)

    def erase_removed(self) -> None:
        """Erase what the records and the outbox hold of people who were removed meanwhile, by another instance perhaps.

        Not while the gallery has a fault: it may not name all of its people.
        """
        people = self._recognizer.people
        if people.whole:
            self._reporter.keep_only(people.names)
            self._records.keep_only(people.names)
