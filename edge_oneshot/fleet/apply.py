"""The gallery of this device and the people of its fleet: what differs is taken from one to the other (fleet/plan.py).

A change of a thousand people is one transaction of the gallery, so the daemons read it once. The digests of all people stay in
memory, so a change of the fleet costs as much as it is large, and only a change of the gallery by another program reads it all.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from edge_oneshot.errors import StorageError
from edge_oneshot.fleet import topics
from edge_oneshot.fleet.applied import Applied
from edge_oneshot.fleet.attempts import each
from edge_oneshot.fleet.contents import Person
from edge_oneshot.fleet.fleet import Fleet
from edge_oneshot.fleet.plan import Plan, plan
from edge_oneshot.fleet.records import canonical
from edge_oneshot.gallery.reading import Enrolled
from edge_oneshot.gallery.store import Gallery, Put
from edge_oneshot.types import Template

log = logging.getLogger(__name__)

_CHANGED = "topic GLOB 'person/*' AND changed > ?"
AT_ONCE = 2000  # people of one transaction of the fleet's file


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """people: in force in the fleet. missing: those without a template of this encoder. alone: people of this gallery only.

    refused: people whom the gallery or the fleet did not take.
    """

    people: int = 0
    missing: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class _Side:
    """subject -> digest, of everyone."""

    digests: dict[str, str] = field(default_factory=dict)

    def set(self, subject: str, digest: str | None) -> None:
        if digest is None:
            self.digests.pop(subject, None)
        else:
            self.digests[subject] = digest


class Registry:
    """Belongs to the thread of the agent. Only templates of `encoder_id` are taken from the fleet."""

    def __init__(self, gallery: Gallery, encoder_id: str) -> None:
        self._gallery, self._encoder_id = gallery, encoder_id
        self._version: int | None = None
        self._seen = -1  # of the fleet's changes
        self._ids: dict[str, str] = {}  # subject -> identity_id
        self._lineages: dict[str, str] = {}  # subject -> of the enrollment in force
        self._here, self._there = _Side(), _Side()
        self._missing: set[str] = set()
        self._alone: set[str] = set()
        self._refused: dict[str, str] = {}  # subject -> why; tried again with each change
        self._said: dict[str, str] = {}  # of `_refused`, what was logged
        self._other: set[str] = set()  # people of the gallery who have templates of other encoders only
        if not gallery.in_fleet:
            gallery.join_fleet()

    @property
    def counts(self) -> Counts:
        def ids(subjects: Iterable[str]) -> tuple[str, ...]:
            return tuple(sorted(self._ids.get(s, s) for s in subjects))

        return Counts(
            people=len(self._there.digests) + len(self._missing - self._there.digests.keys()),
            missing=ids(self._missing),
            alone=ids(self._alone),
            refused=ids(self._refused),
        )

    def look_again(self) -> None:
        """Read the gallery again at the next `sync`: this connection has changed it."""
        self._version = None

    def report(self) -> dict[str, Any]:
        """For the state record, which names no one."""
        counts = self.counts
        return {
            "encoder": self._encoder_id[:23],
            "people": counts.people,
            "missing": len(counts.missing),
            "alone": len(counts.alone),
            "refused": len(counts.refused),
        }

    def sync(self, fleet: Fleet, *, writes: bool) -> bool:
        """Take what is new from each side to the other. True if something was. Raises StorageError if a file fails."""
        try:
            return self._sync(fleet, writes)
        except BaseException:
            self._version, self._seen = None, -1  # what was read may be lost
            raise

    def _sync(self, fleet: Fleet, writes: bool) -> bool:
        version = self._gallery.version()
        everything = version != self._version or self._seen < 0
        changed = self._read_fleet(fleet)
        if not everything and not changed:
            return False
        if everything:
            self._version = version
            self._read_gallery(fleet)
        removals = {fleet.subject(i): i for i in self._gallery.removals()}
        applied = Applied(fleet.store)
        number = self._gallery.fleet_number
        old = number < applied.number
        about = None if everything else changed | self._refused.keys()
        found = plan(
            _only(self._here.digests, about),
            _only(self._there.digests, about),
            _only(applied.both, about),
            removals=removals.keys(),
            missing=self._missing if about is None else self._missing & about,
            writes=writes,
            gone=applied.gone,
            replaced=applied.replaced(self._lineages),
            old=old,
        )
        self._ids.update(removals)
        self._alone = found.alone if about is None else (self._alone - about) | found.alone
        found.drop |= self._outlived(applied, about)
        if old:
            log.warning(
                "fleet: the gallery is an older copy: what the fleet has is taken, and nothing is published from it"
            )
        if old or found.changes_gallery or found.publish or found.remove or self._rows(applied, found.note):
            number = 1 + max(number, applied.number)  # in the gallery first: only an older copy has a lower one
            self._change_gallery(fleet, found, number)
            self._publish(fleet, found, applied, number)
            self._note(fleet, found, applied, number)
        if done := [i for subject, i in removals.items() if subject not in self._refused]:
            self._gallery.clear_removals(done)
        return True

    # ---- reading both

    def _read_gallery(self, fleet: Fleet) -> None:
        self._here, self._other = _Side(), set()
        for person in self._gallery.people():
            subject = fleet.subject(person.identity.identity_id)
            self._ids[subject] = person.identity.identity_id
            own = [t for t in person.templates if t.encoder_id == self._encoder_id]
            if own:
                self._here.set(subject, digest(person.identity.name, person.access.to_json(), own))
            else:
                self._other.add(subject)

    def _outlived(self, applied: Applied, about: Set[str] | None) -> set[str]:
        """People with templates of other encoders only, who were removed in the fleet."""
        in_force = self._there.digests.keys() | self._missing
        return {s for s in self._other & applied.both.keys() if s not in in_force and (about is None or s in about)}

    def _read_fleet(self, fleet: Fleet) -> set[str]:
        """The subjects that have changed since the last reading."""
        since, self._seen = max(self._seen, 0), fleet.store.last_change()
        if self._seen == since:
            return set()
        changed = {topics.subject_of(at.topic) for at in fleet.store.topics(_CHANGED, since)}
        for subject in changed:
            try:
                self._note_person(subject, _person(fleet, subject))
            except StorageError:
                raise
            except Exception as e:  # as if the person had no template that can be used here
                self._there.set(subject, None)
                self._missing.add(subject)
                self._refuse(subject, e)
        return changed

    def _note_person(self, subject: str, person: Person | None) -> None:
        self._missing.discard(subject)
        self._lineages.pop(subject, None)
        if person is None:
            self._there.set(subject, None)
            return
        self._ids[subject], self._lineages[subject] = person.identity.identity_id, person.lineage
        own = person.templates.get(self._encoder_id, ())
        if own:
            self._there.set(subject, digest(person.identity.name, person.rules or {}, own))
        else:
            self._missing.add(subject)
            self._there.set(subject, None)

    # ---- changing both

    def _publish(self, fleet: Fleet, found: Plan, applied: Applied, number: int) -> None:
        """Change the fleet. What is published is noted with it: a power cut must not make it look like a change of the fleet."""

        def one(subject: str) -> None:
            if subject in found.remove:
                fleet.remove(self._ids[subject])
                self._lineages.pop(subject, None)
                last = self._there.digests.get(subject)
                applied.put([] if last is None else [(subject, f"-{last}")])
            if subject in found.publish:
                self._enroll(fleet, self._gallery.find(self._ids[subject]), _person(fleet, subject))
                row = fleet.person_row(subject)
                applied.put([(subject, f"{self._here.digests[subject]} {row.lineage if row else ''}")])

        subjects = sorted(found.publish | found.remove)
        if subjects:
            with fleet.batch():
                applied.put_number(number)
        for start in range(0, len(subjects), AT_ONCE):
            each(fleet, subjects[start : start + AT_ONCE], one, self._refuse)
        if subjects:
            log.info("fleet: published %d people, removed %d", len(found.publish), len(found.remove))
            self._read_fleet(fleet)

    def _refuse(self, subject: str, why: Exception) -> None:
        said = f"{type(why).__name__}: {why}"
        if self._said.get(subject) != said:
            self._said[subject] = said
            log.error("fleet: %s was not taken: %s", self._ids.get(subject, subject), said)
        self._refused[subject] = said

    def _enroll(self, fleet: Fleet, person: Enrolled, known: Person | None) -> None:
        others = set() if known is None else known.templates.keys() - {self._encoder_id}
        templates = [t for t in person.templates if t.encoder_id not in others]
        fleet.enroll(person.identity, templates, person.access.to_json() or None)

    def _change_gallery(self, fleet: Fleet, found: Plan, number: int) -> None:
        for subject in found.note | found.put | found.drop | found.publish | found.remove:
            self._refused.pop(subject, None)
        put = []
        for subject in sorted(found.put):
            person = _person(fleet, subject)
            if person is not None:
                own = person.templates[self._encoder_id]
                put.append(Put(identity=person.identity, templates=own, rules=person.rules or {}))
        drop = [self._ids[subject] for subject in found.drop if subject in self._ids]
        refused = set(self._gallery.apply(put, drop, number=number))
        if not found.changes_gallery:
            return
        for subject in found.put:
            if self._ids[subject] in refused:
                self._refused[subject] = "refused by the gallery"
        if found.undone:
            log.warning(
                "fleet: undid %d changes of the gallery: this device is a door, which enrolls no one", len(found.undone)
            )
        if found.overruled:
            log.warning(
                "fleet: %d people were changed here and elsewhere: the change of the fleet stays", len(found.overruled)
            )
        if refused:
            log.error("fleet: the gallery did not take %d people: their template ids are in use", len(refused))
        log.info("fleet: took %d people, removed %d", len(put) - len(refused), len(drop))

    def _note(self, fleet: Fleet, found: Plan, applied: Applied, number: int) -> None:
        """Remember that both sides are equal now."""
        for subject in self._refused.keys() & found.put:
            self._here.set(subject, None)
        equal = (found.note | found.put | found.publish | found.remove | found.drop) - self._refused.keys()
        for subject in equal:
            self._here.set(subject, self._there.digests.get(subject))
        with fleet.batch():
            applied.put(self._rows(applied, equal))
            applied.put_number(number)

    def _rows(self, applied: Applied, subjects: Set[str]) -> list[tuple[str, str]]:
        there, lineages = self._there.digests, self._lineages
        return applied.differing((s, there.get(s), lineages.get(s, "")) for s in subjects)


def _person(fleet: Fleet, subject: str) -> Person | None:
    row = fleet.person_row(subject)
    return None if row is None or row.removed else fleet.person(row)


def digest(name: str, rules: Mapping[str, Any], templates: Sequence[Template]) -> str:
    """What must be equal on both sides: name, access rules, and the templates of one encoder."""
    about = [[t.template_id, t.embedding.vector.astype("<f4").tobytes().hex(), t.no_rate] for t in templates]
    return hashlib.sha256(canonical([name, dict(rules), sorted(about)])).hexdigest()[:32]


def _only(digests: Mapping[str, str], subjects: set[str] | None) -> Mapping[str, str]:
    return digests if subjects is None else {s: digests[s] for s in subjects if s in digests}


__all__ = ["Counts", "Registry", "digest"]
