"""Measures this door's own false match rate, and raises the threshold while it is certainly above the stated one.

It counts the scores of each visit that ends unknown (gallery/door.py) and states the rate at the threshold in force
(matching/door.py). The raise is at most MAX_RAISE, falls by STEP a day when the evidence is gone, and is never negative: no
visitor can lower the threshold below the card's.

Only comparisons by the current encoder are measured, and only its threshold is raised: people with an old template are left
out. So are people for whom no rate can be stated: small children resemble each other, and the stated rate does not hold for them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np

from edge_oneshot.config import Config, DecisionConfig
from edge_oneshot.events.build import threshold_event
from edge_oneshot.gallery.door import DoorRecord
from edge_oneshot.matching import door
from edge_oneshot.matching.evidence import CREDIT, MAX_VIEWS
from edge_oneshot.matching.threshold import share
from edge_oneshot.matching.track import TrackResult
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import DoorReport, Event

log = logging.getLogger(__name__)

EVALUATE_EVERY = 10  # counted visits
MIN_GAP_NS = 60_000_000_000  # between two counted visits: one person whose track is lost and found again counts once


class Door:
    """Belongs to the loop's thread. It sets `recognizer.rule.raised`; call `reconfigure` after another rule was set."""

    def __init__(self, record: DoorRecord, recognizer: Recognizer, config: DecisionConfig, camera: str) -> None:
        """camera: its name in events."""
        self._record, self._recognizer, self._raises, self._camera = record, recognizer, config.door_raise, camera
        self._last_ns: int | None = None  # end of the last counted visit
        self._fit: door.Fit | None = None
        self._fitted = -1  # visits that the fit is of
        self._since = 0  # visits counted since the last evaluation
        self._day = 0
        self._apply()

    def reconfigure(self, config: DecisionConfig) -> None:
        self._raises, self._fitted = config.door_raise, -1
        self._apply()

    @property
    def set_aside(self) -> int:
        """Rows of the record that could not be read."""
        return self._record.set_aside

    def measure(self, results: Iterable[TrackResult], now: datetime) -> list[Event]:
        """Count the visits of unknown people among the results of a frame; the event of a change of the threshold."""
        day = now.date().toordinal()
        for result in results:
            self.visit(result, day)
        return [event] if (event := self.follow(day)) is not None else []

    def visit(self, result: TrackResult, day: int) -> bool:
        """Count the visit of an unknown person that has ended; day: of the calendar. True if it was counted."""
        references, threshold = self._recognizer.references, self._recognizer.threshold.value
        probe, places = result.visit, self._places()
        if probe is None or not self._measures or not places or probe.encoder_id != references.encoder_id:
            return False
        if self._last_ns is not None and result.first_ns - self._last_ns < MIN_GAP_NS:
            return False
        self._last_ns = result.last_ns
        # As tracks are judged: a track's evidence is the mean score of its frames times views ** CREDIT (1 for frames too
        # different to show one person), and the pooled embedding scores that mean times views ** (1 / 2).
        credit = CREDIT if result.views <= MAX_VIEWS else 0.0
        scores = references.best(probe)[places].astype(np.float64) * result.views ** (credit - 0.5)
        if not self._record.add(scores, threshold, day):
            return False
        self._since += 1
        return True

    def follow(self, day: int) -> Event | None:
        """Raise or lower the threshold if it is time to; the event of the change."""
        if self._since < EVALUATE_EVERY and day == self._day:
            return None
        new_day, self._day, self._since = day != self._day, day, 0
        wanted, raised = self._wanted(), self._record.raised
        if wanted < raised:
            # One step a day, also after a restart; and not for a step that the next visits may take back.
            falls = new_day and day != self._record.raise_day and (wanted == 0 or wanted <= raised - 2 * door.STEP)
            wanted = max(wanted, round(raised - door.STEP, 4)) if falls else raised
        return None if wanted == raised else self._set(wanted, day)

    def reset(self) -> tuple[int, list[Event]]:
        """Erase counts and raise: the number of visits that they came from, and the event of a change of the threshold."""
        event = self._set(0.0, 0) if self._record.raised else None
        visits, self._record.made_with = self._record.reset(), made_with(self._recognizer)
        self._fit, self._fitted, self._since, self._last_ns = None, -1, 0, None
        return visits, [] if event is None else [event]

    def report(self) -> DoorReport | None:
        """None if this encoder cannot be measured: its card has no cohort with mated scores, or the scores are no cosines."""
        if not self._measures:
            return None
        total = self._record.total()
        raised = self._recognizer.rule.raised
        report = DoorReport(visits=total.visits, needed=door.MIN_VISITS, days=self._record.days, raised=raised)
        fit, people = self._fitted_to(total), len(self._places())
        if fit is None or not people:
            return report
        threshold = self._recognizer.threshold
        fmr, low, high = fit.fmr(threshold.value)
        per_visit = max(1.0, people / fit.clump)
        claim = self._claim(fit)
        return replace(
            report,
            fmr=_digits(fmr),
            fmr_low=_digits(low),
            fmr_high=_digits(high),
            fpir=_digits(min(1.0, fmr * per_visit)),
            fpir_low=_digits(min(1.0, low * per_visit)),
            fpir_high=_digits(min(1.0, high * per_visit)),
            missed=_digits(fit.missed),
            above=claim is not None and low > claim,
        )

    def _places(self) -> list[int]:
        """The people who are measured: their places in the references of the current encoder."""
        no_rate = self._recognizer.people.no_rate
        return [i for i, who in enumerate(self._recognizer.references.identity_ids) if who not in no_rate]

    def words(self, report: DoorReport) -> str:
        """The report in one line, as a rate of the kind that is stated."""
        return report.words(fpir=self._recognizer.threshold.rate.fpir is not None)

    @property
    def _measures(self) -> bool:
        cohort = self._recognizer.rule.cohort
        cosine = self._recognizer.pipeline.encoder.card.comparator.kind == "cosine"
        return cosine and cohort is not None and bool(cohort.fnmrs)

    def _fitted_to(self, total: door.Histogram) -> door.Fit | None:
        """The fit of the counts, or None for too few; it is made again when the counts have changed."""
        if self._fitted != total.visits:
            self._fitted, self._fit = total.visits, None
            # Everybody, also where the stated rate is against the group that decided the threshold: the cohort only gives the
            # shape of the tail, and the door's own counts give its place. The people who come are no sample of that group, and
            # everybody's tail is counted to far lower rates than the group's, which continues by the same fitted shape.
            cohort = self._recognizer.rule.cohort
            if cohort is not None and door.enough(total):
                self._fit = door.Fit(total, cohort)
        return self._fit

    def _claim(self, fit: door.Fit) -> float | None:
        """The stated false match rate of one comparison; None for a threshold set by hand."""
        current = self._recognizer.matchers[0]
        rate, people = current.threshold.rate, len(current.references.identity_ids)
        if rate.fpir is not None:
            return rate.fpir * share(people, current.others) / max(1.0, len(self._places()) / fit.clump)
        return rate.fmr

    def _wanted(self) -> float:
        fit = self._fitted_to(self._record.total()) if self._raises and self._measures else None
        claim = None if fit is None else self._claim(fit)
        if fit is None or claim is None:
            return 0.0
        return door.wanted_raise(fit, self._recognizer.threshold.value - self._recognizer.threshold.raised, claim)

    def _set(self, raised: float, day: int) -> Event | None:
        before = self._recognizer.threshold.value
        self._record.set_raise(raised, day)
        self._apply()
        threshold, report = self._recognizer.threshold, self.report()
        if report is None or threshold.value == before:
            return None
        log.warning("threshold %.3f -> %.3f; %s", before, threshold.value, self.words(report))
        encoder_id, now_ns, now = self._recognizer.encoder_id, time.monotonic_ns(), datetime.now(UTC)
        return threshold_event(before, threshold, asdict(report), self._camera, encoder_id, now_ns, now)

    def _apply(self) -> None:
        raised = self._record.raised if self._raises and self._measures else 0.0
        if self._recognizer.rule.raised != raised:
            self._recognizer.rule = replace(self._recognizer.rule, raised=raised)


@contextmanager
def open_door(config: Config, recognizer: Recognizer) -> Iterator[Door]:
    """What measures this door's own error rates. Its counts depend on the encoder and on the adaptation to the site."""
    with closing(DoorRecord(config.door_path, made_with(recognizer))) as record:
        yield Door(record, recognizer, config.decision, config.camera.name)


def made_with(recognizer: Recognizer) -> str:
    """What scores depend on: the encoder and the adaptation to the site."""
    return f"{recognizer.encoder_id} {recognizer.people.references.version}".rstrip()


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
