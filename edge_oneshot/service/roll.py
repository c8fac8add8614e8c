"""Publishes who is enrolled, and erases people who were removed from journal and outbox."""

from __future__ import annotations

from edge_oneshot.events.journal import Journal
from edge_oneshot.matching.track import Tracker
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.second_factor import SecondFactor


class Roll:
    """journal: the records for `explain`, if any are kept."""

    def __init__(
        self,
        recognizer: Recognizer,
        tracker: Tracker,
        reporter: Reporter,
        journal: Journal | None,
        second_factor: SecondFactor,
    ) -> None:
        self._recognizer, self._tracker, self._reporter = recognizer, tracker, reporter
        self._journal, self._second_factor = journal, second_factor
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
            if self._journal is not None:
                self._journal.forget(identity_id)
        self._enrolled = now
        self._reporter.people(people.names)

    def erase_removed(self) -> None:
        """Erase what journal and outbox hold of people who were removed meanwhile, by another instance perhaps.

        Not while the gallery has a fault: it may not name all of its people.
        """
        people = self._recognizer.people
        if people.whole:
            self._reporter.keep_only(people.names)
            if self._journal is not None:
                self._journal.keep_only(people.names)
