"""The gallery on disk: identities and their templates in SQLite. A picture only sealed and on request (gallery/captures.py).

What was reported as stored survives a power cut. A removed template is overwritten in the file. Mode 0600. With a key the file
holds nothing about a person that can be read without it (gallery/sealed.py). One `Gallery` belongs to one thread; several
processes may use the file at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery import access as access_rows
from edge_oneshot.gallery import captures as kept_captures
from edge_oneshot.gallery import fleet, rollback
from edge_oneshot.gallery.file import GalleryFile, rows_of
from edge_oneshot.gallery.reading import Enrolled, GalleryReader, unknown_id
from edge_oneshot.gallery.rows import GalleryRows
from edge_oneshot.gallery.taken import Taken, name_taken
from edge_oneshot.storage.database import Database
from edge_oneshot.types import AccessRules, Identity, Template

__all__ = ["Enrolled", "Gallery", "GalleryView", "Put", "rows_of"]

log = logging.getLogger(__name__)

_TEMPLATE = "template_id, identity_id, encoder_id, vector, quality, created_at, no_rate"
_IDENTITY = "identity_id, name, created_at"

NOTHING: Mapping[str, bytes] = MappingProxyType({})
NO_RULES: Mapping[str, AccessRules] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A person as another device of the fleet has them. rules: JSON values, of a later release perhaps; empty: none."""

    identity: Identity
    templates: Sequence[Template]
    rules: Mapping[str, object]


class Gallery(GalleryFile):
    """The gallery at `path`, which is created if it is absent."""

    # ---- writing

    def add(
        self,
        identity: Identity,
        templates: Sequence[Template],
        *,
        replace: bool = False,
        captures: Mapping[str, bytes] = NOTHING,
    ) -> None:
        """Store a person, all or nothing. Raises GalleryError if the id or the name is in use, unless `replace`.

        captures: template_id -> what is kept of its captures, in a sealed gallery. Those of templates that stay are kept.
        """
        self.add_all([(identity, templates)], replace=replace, captures=captures)

    def add_all(
        self,
        people: Sequence[tuple[Identity, Sequence[Template]]],
        *,
        replace: bool = False,
        captures: Mapping[str, bytes] = NOTHING,
        access: Mapping[str, AccessRules] = NO_RULES,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Store several people in one transaction. Raises GalleryError as `add` does; then nothing is stored.

        access: identity_id -> rules that the person has from then on; another one who is replaced keeps their own.
        progress: called after each person; thousands take seconds.
        """
        with self._writable().transaction():
            taken = Taken(self._alike(people[0][0]) if len(people) == 1 else self.identities())
            kept = captures if captures or kept_captures.any_in(self._db) else None
            for identity, templates in people:
                taken.check_free(identity, replace=replace)
                self._add(identity, templates, replace, kept)
                if (rules := access.get(identity.identity_id)) is not None:
                    access_rows.write(self._db, self._rows, identity.identity_id, rules)
                taken.add(identity)
                progress()
        rollback.store(self._db, self._keys)
        if replace:
            self._erase_removed(1.0)

    def check_free(self, identity: Identity, *, replace: bool = False) -> None:
        """Raises GalleryError if the id or the name is in use. `replace` allows the same person, by id and name."""
        Taken(self._alike(identity)).check_free(identity, replace=replace)

    def _add(
        self, identity: Identity, templates: Sequence[Template], replace: bool, captures: Mapping[str, bytes] | None
    ) -> None:
        """captures: None: there are none, neither new ones nor in the file."""
        key = self._rows.key(identity.identity_id)
        kept = None if captures is None else {**self.captures_of(identity.identity_id), **captures}
        self._db.execute("DELETE FROM templates WHERE identity_id = ?", (key,))
        if used := self._used_by_others(identity.identity_id, templates):
            raise GalleryError(
                f"template {used[0]} of {identity.identity_id!r}: the id is in use for another person",
                "each template needs an id of its own: export or enroll again",
            )
        before = self._db.rows("SELECT created_at FROM identities WHERE identity_id = ?", (key,))
        created = datetime.fromisoformat(before[0][0]) if before else templates[0].created_at
        put_person(self._db, self._rows, identity, created)
        if replace:
            self._delete_set_aside(identity.identity_id, but=access_rows.TABLE)
        put_templates(self._db, self._rows, templates)
        if kept is not None:
            own = {t.template_id: kept[t.template_id] for t in templates if t.template_id in kept}
            kept_captures.write(self._db, self._rows, identity.identity_id, own)

    def _used_by_others(self, identity_id: str, templates: Iterable[Template]) -> list[str]:
        """The ids of these templates that other people's templates have."""
        key, sql = self._rows.key(identity_id), "SELECT 1 FROM templates WHERE template_id = ? AND identity_id <> ?"
        return [t.template_id for t in templates if self._db.rows(sql, (t.template_id, key))]

    def forget_captures(self) -> None:
        """Delete all kept captures and overwrite their bytes."""
        if not self.with_captures():
            return
        with self._writable().transaction():
            self._db.execute(f"DELETE FROM {kept_captures.TABLE}")
        rollback.store(self._db, self._keys)
        self._erase_removed(1.0)

    def rename(self, identity_id: str, name: str) -> None:
        """Change the name; the id stays. Raises GalleryError if the id is unknown or the name is in use."""
        with self._writable().transaction():
            own = None
            for other, created in self._entries():
                if other.identity_id == identity_id:
                    own = created
                elif other.name.casefold() == name.casefold():
                    raise name_taken(name, other)
            if own is None:
                raise unknown_id(identity_id)
            put_person(self._db, self._rows, Identity(identity_id=identity_id, name=name), own, keep=True)
        rollback.store(self._db, self._keys)

    def remove(self, identity_id: str) -> None:
        """Remove a person and overwrite the bytes of the templates. Raises GalleryError if the id is unknown.

        The rows that are set aside go, too, if they name this person or no enrolled one.
        """
        with self._writable().transaction():
            if not self._remove(identity_id):
                raise unknown_id(identity_id)
            fleet.note(self._db, identity_id)
        rollback.store(self._db, self._keys)
        self._erase_removed(1.0)

    def _remove(self, identity_id: str) -> bool:
        """False: the id is unknown."""
        key = self._rows.key(identity_id)
        removed = sum(
            self._db.execute(f"DELETE FROM {table} WHERE identity_id = ?", (key,))
            for table in ("identities", "templates")
        )
        for table in (kept_captures.TABLE, access_rows.TABLE):
            self._db.execute(f"DELETE FROM {table} WHERE identity_id = ?", (key,))
        if removed:
            self._delete_set_aside(identity_id)
        return bool(removed)

    def _delete_set_aside(self, identity_id: str, *, but: str = "") -> None:
        """Delete what was set aside of this person, and of no person who is enrolled. but: not of this table."""
        if not self._db.count_set_aside():
            return
        others = [self._rows.key(i.identity_id) for i in self.identities() if i.identity_id != identity_id]
        self._db.delete_set_aside(lambda source, content: source == but or any(f"'{i}'" in content for i in others))

    # ---- access rules, and the fleet

    def set_access(self, identity_id: str, rules: AccessRules) -> None:
        """Replace the access rules of a person; rules without a limit end them. Raises GalleryError if the id is unknown."""
        with self._writable().transaction():
            self.find(identity_id)
            access_rows.write(self._db, self._rows, identity_id, rules)
        rollback.store(self._db, self._keys)

    def apply(self, put: Sequence[Put], remove: Iterable[str] = (), *, number: int | None = None) -> list[str]:
        """Take what other devices of the fleet have: store and remove people in one transaction, without noting the removals.

        A person is replaced: name, templates and rules; the id alone says who it is, and two people may have one name. Captures of
        templates that stay are kept. An unknown id in `remove` is skipped. number: from now on `fleet_number`. Returns the ids of
        the people who were not stored, since they have no template, or one whose id is in use twice, or that the file cannot
        hold; they are not in the gallery any more, since what it had of them is not in force.
        """
        refused = []
        with self._writable().transaction():
            removed = [self._remove(identity_id) for identity_id in remove]
            if put and self.sealed:
                self.identities()  # the keys of their captures
            for person in put:
                if not self._put(person):
                    self._remove(person.identity.identity_id)
                    refused.append(person.identity.identity_id)
            if number is not None:
                fleet.put_number(self._db, number)
        rollback.store(self._db, self._keys)
        if put or any(removed):
            self._erase_removed(1.0)
        return refused

    def _put(self, person: Put) -> bool:
        """Part of a transaction. False: it cannot be stored; a part of it may be."""
        identity_id, ids = person.identity.identity_id, {t.template_id for t in person.templates}
        once = 0 < len(ids) == len(person.templates)
        if not once or self._used_by_others(identity_id, person.templates):
            return False
        try:
            self._add(person.identity, person.templates, True, NOTHING)
            access_rows.write(self._db, self._rows, identity_id, person.rules)
        except (GalleryError, ValueError, TypeError, OverflowError) as e:
            log.error("gallery: %r of the fleet cannot be stored: %s", identity_id, e)
            return False
        return True

    def join_fleet(self) -> None:
        """From here on `removals` tells who was removed."""
        with self._writable().transaction():
            fleet.begin(self._db)
        rollback.store(self._db, self._keys)

    def leave_fleet(self) -> None:
        """The opposite of `join_fleet`: what was noted is deleted."""
        with self._writable().transaction():
            fleet.end(self._db)
        rollback.store(self._db, self._keys)

    def clear_removals(self, identity_ids: Iterable[str]) -> None:
        """Delete the notes that these people were removed: the fleet knows it."""
        with self._writable().transaction():
            fleet.clear(self._db, identity_ids)
        rollback.store(self._db, self._keys)


class GalleryView(GalleryReader):
    """The people in a database that is open already."""

    def __init__(self, db: Database) -> None:
        self._db, self._rows = db, rows_of(db)


def put_person(db: Database, rows: GalleryRows, identity: Identity, created: datetime, *, keep: bool = False) -> None:
    """Write the row of a person. keep: as in GalleryRows.identity_row."""
    db.execute(
        f"INSERT INTO identities ({_IDENTITY}) VALUES (?, ?, ?) "
        "ON CONFLICT (identity_id) DO UPDATE SET name = excluded.name",
        rows.identity_row(identity, created, keep=keep),
    )


def put_templates(db: Database, rows: GalleryRows, templates: Iterable[Template]) -> None:
    """Write the rows of new templates, whose person was written before."""
    marks = ", ".join("?" * 7)
    db.execute_many(f"INSERT INTO templates ({_TEMPLATE}) VALUES ({marks})", [rows.template_row(t) for t in templates])
