"""The requests of a review: visits with their labels and pictures, and this door's error rates from the labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edge_oneshot.control import review as rv
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.errors import ControlError, StorageError
from edge_oneshot.events.labels import Label, outcome_of
from edge_oneshot.events.visits import Visit, asked, visits_of
from edge_oneshot.matching.forecast import missed
from edge_oneshot.matching.interval import wilson
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.album import Album
from edge_oneshot.service.records import Records

RULE_OF_30 = (
    30  # errors from which an observed rate is within 30 % of the true one, at 90 % confidence (Doddington et al. 2000)
)


class Review:
    def __init__(self, recognizer: Recognizer, records: Records) -> None:
        self._recognizer, self._records = recognizer, records
        self._serve: dict[type, Callable[[Any], object]] = {
            rv.Visits: self._visits,
            rv.Label: self._label,
            rv.DoorRates: lambda _: self._rates(),
            rv.Ignore: self._ignore,
        }

    def start(self, pending: PendingRequest) -> None:
        """Answer a request of `review.REVIEW`; those that concern pictures are answered by another thread."""
        request = pending.request
        if isinstance(request, rv.VisitPicture):
            self._album().read(pending, request.picture)
        elif isinstance(request, rv.ErasePictures):
            self._album().erase(pending)
        else:
            pending.finish(self._serve[type(request)](request))

    def _album(self) -> Album:
        if self._records.album is None:
            raise ControlError("no pictures of visits are kept", "set visits.pictures = true (docs/how-to/page.md)")
        return self._records.album

    def _recorded(self) -> list[Visit]:
        if self._records.journal is None:
            raise ControlError("no visits are recorded here", "ask the running daemon; see decision.explain_tracks")
        return visits_of(self._records.journal.report()["tracks"])

    def _visits(self, _: rv.Visits) -> rv.VisitList:
        records, album = self._records, self._records.album
        faults = [part.fault for part in (records.journal, records.labels) if part is not None and part.fault]
        return rv.VisitList(
            visits=[self._record(visit) for visit in self._recorded()],
            kept=records.config.decision.explain_tracks,
            fault="; ".join(faults),
            pictures=None if album is None else album.state,
        )

    def _record(self, visit: Visit) -> rv.VisitRecord:
        label, best = self._label_of(visit), visit.best
        return rv.VisitRecord(
            visit=visit.key,
            first_at=visit.tracks[0]["first_at"],
            last_at=visit.last_at.isoformat(timespec="milliseconds"),
            in_sight=visit.in_sight,
            result=visit.result,
            identity=visit.identity,
            score=None if best is None or best["best"] is None else best["best"]["score"],
            threshold=None if best is None else best["threshold"],
            tracks=list(visit.tracks),
            pictures=self._pictures_of(visit),
            label=None if label is None else _shown(label),
            asked=self._asked(visit),
        )

    def _label_of(self, visit: Visit) -> Label | None:
        known = {} if self._records.labels is None else self._records.labels.all
        return next((known[key] for key in visit.keys if key in known), None)

    def _pictures_of(self, visit: Visit) -> list[str]:
        kept = {} if self._records.album is None else self._records.album.kept
        return [key for key in visit.keys if key in kept]

    def _asked(self, visit: Visit) -> bool:
        """Visits of which nothing was reported are too short to count for a rate."""
        return visit.result != "nothing" and asked(visit.key, self._records.config.visits.asked_share)

    # ---- labels

    def _label(self, request: rv.Label) -> rv.Labelled:
        labels = self._records.labels
        if labels is None:
            raise ControlError("no labels are kept here", "ask the running daemon")
        visit = next((v for v in self._recorded() if request.visit in v.keys), None)
        if visit is None:
            raise ControlError(
                f"no visit {request.visit!r} is recorded", "`edge-oneshot visits list` lists the recorded visits"
            )
        if visit.in_sight and visit.result == "nothing":
            raise ControlError("nothing was reported of this visit yet", "wait until the person has left")
        if (request.who == "person") != (request.person is not None):
            raise ControlError(
                f"label person: expected a name together with who = person alone, got {request.person!r}"
            )
        before = self._label_of(visit)
        if request.who == "none":
            done, label, name = before is None or labels.drop(before.visit), None, None
        else:
            label, name = self._new_label(visit, request, before)
            done = labels.put(label)
        if not done:
            raise StorageError(f"the label was not stored: {labels.fault}", "free space, then try again")
        pictures = self._pictures_of(visit)
        if pictures and self._records.album is not None:
            self._records.album.name(pictures, visit.identity if label is None else label.identity)
        return rv.Labelled(
            visit=visit.key,
            label=None if label is None else _shown(label),
            name=name,
            pictures=pictures,
            counts=label is not None and label.asked and label.result != "nothing",
        )

    def _new_label(self, visit: Visit, request: rv.Label, before: Label | None) -> tuple[Label, str | None]:
        person = None if request.person is None else self._recognizer.people.gallery.lookup(request.person)
        identity = None if person is None else person.identity_id
        assert request.who != "none"
        label = Label(
            visit=visit.key if before is None else before.visit,
            at=visit.tracks[0]["first_at"],
            result=visit.result,
            who=request.who,
            identity=identity,
            outcome=outcome_of(visit.result, visit.identity, request.who, identity),
            asked=self._asked(visit) if before is None else before.asked,
        )
        if person is not None and label.outcome == "missed":
            enrolled_at = self._recognizer.people.gallery.find(person.identity_id).created_at
            if visit.last_at < enrolled_at:
                label = replace(label, outcome="unclear")  # "unknown" was right at that time
        return label, None if person is None else person.name

    def _ignore(self, request: rv.Ignore) -> rv.Ignored:
        labels, person = self._records.labels, self._recognizer.people.gallery.lookup(request.name)
        if labels is None:
            raise ControlError("no one can be ignored here", "ask the running daemon")
        if not labels.ignore(person.identity_id, request.on):
            raise StorageError(f"nothing was changed: {labels.fault}", "free space, then try again")
        return rv.Ignored(identity=person.identity_id, name=person.name, ignored=request.on)

    # ---- rates

    def _rates(self) -> rv.LabelledRates:
        labels = [] if self._records.labels is None else list(self._records.labels.all.values())
        counted = [label for label in labels if label.result != "nothing"]
        sample = [label for label in counted if label.asked]
        strangers = [label.outcome for label in sample if label.who == "stranger"]
        people = [label.outcome for label in sample if label.who == "person" and label.outcome != "unclear"]
        outside = [label for label in labels if not label.asked or label.result == "nothing"]
        wanted = [] if self._records.journal is None else [v for v in self._recorded() if self._asked(v)]
        threshold = self._recognizer.threshold
        return rv.LabelledRates(
            false_match=_rate(strangers, ("false_match",), self._claimed_false_match()),
            missed=_rate(people, ("missed", "wrong_name"), missed(self._recognizer.rule, threshold.value)),
            wrong_name=_rate(people, ("wrong_name",), None),
            asked=len(wanted),
            answered=sum(self._label_of(v) is not None for v in wanted),
            unclear=sum(label.who == "unclear" for label in sample),
            outside=len(outside),
            outside_errors=sum(label.outcome not in ("right", "unclear") for label in outside),
        )

    def _claimed_false_match(self) -> float | None:
        """Against the whole gallery: as stated, or the stated rate of one comparison times the people."""
        rate, people = self._recognizer.threshold.rate, len(self._recognizer.people.names)
        if rate.fpir is not None or rate.fmr is None:
            return rate.fpir
        return float(f"{min(1.0, rate.fmr * people):.3g}")


def _shown(label: Label) -> rv.LabelRecord:
    return rv.LabelRecord(who=label.who, identity=label.identity, outcome=label.outcome)


def _rate(outcomes: Sequence[str], wrong: tuple[str, ...], claimed: float | None) -> rv.LabelledRate:
    errors, visits = sum(o in wrong for o in outcomes), len(outcomes)
    interval = wilson(errors, visits)
    needed = None if not claimed else math.ceil(RULE_OF_30 / claimed)
    return rv.LabelledRate(
        errors=errors,
        visits=visits,
        rate=round(errors / visits, 6) if visits else None,
        low=round(interval.low, 6),
        high=round(interval.high, 6),
        claimed=claimed,
        needed=needed,
        enough=errors >= RULE_OF_30 or (needed is not None and visits >= needed),
    )
