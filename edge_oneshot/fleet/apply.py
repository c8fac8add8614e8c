"""The gallery of this device and the people of its fleet: what differs is taken from one to the other (fleet/plan.py).

A change of a thousand people is one transaction of the gallery, so the daemons read it once. The digests of all people stay in
memory, so a change of the fleet costs as much as it is large, and only a change of the gallery by another program reads it all.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_oneshot.fleet.contents import Person
from edge_oneshot.fleet.fleet import Fleet
from edge_oneshot.fleet.plan import Plan, plan
from edge_oneshot.fleet.records import canonical
from edge_oneshot.gallery.reading import Enrolled
from edge_oneshot.gallery.store import Gallery, Put
from edge_oneshot.types import Template

log = logging.getLogger(__name__)

AT_ONCE = 2000  # people of one transaction of the fleet's file


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """people: in force in the fleet. missing: those without a template of this encoder. alone: people of this gallery only.

    refused: people whom the gallery did not take.
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
        self._here, self._there = _Side(), _Side()
        self._missing: set[str] = set()
        self._alone: set[str] = set()
        self._refused: set[str] = set()
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
        version = self._gallery.version()
        everything = version != self._version or self._seen < 0
        changed = self._read_fleet(fleet)
        if not everything and not changed:
            return False
        if everything:
            self._version = version
            self._read_gallery(fleet)
        removals = {fleet.subject(i): i for i in self._gallery.removals()} if everything else {}
        applied = fleet.store.applied()
        about = None if everything else changed
        found = plan(
            _only(self._here.digests, about),
            _only(self._there.digests, about),
            _only(applied, about),
            removals=removals.keys(),
            missing=self._missing if about is None else self._missing & about,
            writes=writes,
        )
        self._ids.update(removals)
        self._alone = found.alone if about is None else (self._alone - about) | found.alone
        self._publish(fleet, found)
        self._change_gallery(fleet, found)
        self._note(fleet, found, applied)
        if removals:
            self._gallery.clear_removals(removals.values())
        return True

    # ---- reading both

    def _read_gallery(self, fleet: Fleet) -> None:
        self._here = _Side()
        for person in self._gallery.people():
            subject = fleet.subject(person.identity.identity_id)
            self._ids[subject] = person.identity.identity_id
            own = [t for t in person.templates if t.encoder_id == self._encoder_id]
            if own:
                self._here.set(subject, digest(person.identity.name, person.access.to_json(), own))

    def _read_fleet(self, fleet: Fleet) -> set[str]:
        """The subjects that have changed since the last reading."""
        self._seen, changed = fleet.changed_since(max(self._seen, 0))
        for subject, person in changed.items():
            self._note_person(subject, person)
        return set(changed)

    def _note_person(self, subject: str, person: Person | None) -> None:
        self._missing.discard(subject)
        if person is None:
            self._there.set(subject, None)
            return
        self._ids[subject] = person.identity.identity_id
        own = person.templates.get(self._encoder_id, ())
        if own:
            self._there.set(subject, digest(person.identity.name, person.rules or {}, own))
        else:
            self._missing.add(subject)
            self._there.set(subject, None)

    # ---- changing both

    def _publish(self, fleet: Fleet, found: Plan) -> None:
        publish, remove = sorted(found.publish), sorted(found.remove)
        for start in range(0, len(publish), AT_ONCE):
            with fleet.batch():
                for subject in publish[start : start + AT_ONCE]:
                    self._enroll(fleet, self._gallery.find(self._ids[subject]), _person(fleet, subject))
        with fleet.batch():
            for subject in remove:
                fleet.remove(self._ids[subject])
        if publish or remove:
            log.info("fleet: published %d people, removed %d", len(publish), len(remove))
            self._read_fleet(fleet)

    def _enroll(self, fleet: Fleet, person: Enrolled, known: Person | None) -> None:
        others = set() if known is None else known.templates.keys() - {self._encoder_id}
        templates = [t for t in person.templates if t.encoder_id not in others]
        fleet.enroll(person.identity, templates, person.access.to_json() or None)

    def _change_gallery(self, fleet: Fleet, found: Plan) -> None:
        if not found.changes_gallery:
            return
        put = []
        for subject in sorted(found.put):
            person = _person(fleet, subject)
            if person is not None:
                own = person.templates[self._encoder_id]
                put.append(Put(identity=person.identity, templates=own, rules=person.rules or {}))
        drop = [self._ids[subject] for subject in found.drop if subject in self._ids]
        refused = set(self._gallery.apply(put, drop))
        self._refused = {s for s in found.put if self._ids[s] in refused} | (self._refused - found.put - found.drop)
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

    def _note(self, fleet: Fleet, found: Plan, applied: Mapping[str, str]) -> None:
        """Remember that both sides are equal now."""
        equal = found.note | found.put | found.publish | found.remove | found.drop
        new: list[tuple[str, str | None]] = []
        for subject in equal:
            there = self._there.digests.get(subject)
            self._here.set(subject, there)
            if applied.get(subject) != there:
                new.append((subject, there))
        if new:
            with fleet.batch():
                fleet.store.put_applied(new)


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
