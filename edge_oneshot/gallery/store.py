"""The gallery on disk: identities and their templates in SQLite. Never a picture.

What was reported as stored survives a power cut. A removed template is overwritten in the file. Mode 0600. One `Gallery`
belongs to one thread; several processes may use the file at once.
"""

from __future__ import annotations

import contextlib
import logging
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge_oneshot.errors import GalleryError, StorageError
from edge_oneshot.gallery.rows import identity_of, row_of, template_of
from edge_oneshot.gallery.schema import SCHEMA
from edge_oneshot.gallery.taken import Taken, name_taken
from edge_oneshot.storage.copy import Copy
from edge_oneshot.storage.database import Database
from edge_oneshot.types import Identity, Template

log = logging.getLogger(__name__)

_TEMPLATE = "template_id, identity_id, encoder_id, vector, quality, created_at, no_rate"
_IDENTITY = "identity_id, name, created_at"

REOPEN_S = 10.0  # between two attempts to open a file whose disk was full or read-only


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """One person of the gallery."""

    identity: Identity
    created_at: datetime
    templates: tuple[Template, ...]


class Gallery:
    """The gallery at `path`, which is created if it is absent.

    Each method raises StorageError if the file or its disk fails. A row that cannot be read is set aside (storage/rows.py),
    and the others are used. If the disk is full or read-only, `fault` says so, and the gallery can be read but not changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault: StorageError | None = None  # why the gallery cannot be changed
        self._opened, self._tried = 0, 0.0
        self._log_holds_removed = False  # the write-ahead log may still contain templates that were removed
        self._db = self._open()

    def _open(self) -> Database:
        self._tried = time.monotonic()
        self._opened += 1
        try:
            db = Database(self.path, SCHEMA)
        except StorageError as e:
            if not e.disk:
                raise
            copy = Copy(self.path, SCHEMA)
            log.error("%s; the people in it are recognized, and it cannot be changed", e)
            self.fault = e
            return copy
        self._log_holds_removed = not db.log_emptied
        return db

    def _writable(self) -> Database:
        """The database. Raises the fault of the disk if there still is one."""
        if self.fault is not None:
            try:
                db = Database(self.path, SCHEMA)
            except StorageError as e:
                self.fault = e if e.disk else self.fault
                raise
            finally:
                self._tried = time.monotonic()
            log.warning("the gallery %s can be changed again", self.path)
            self._db.close()
            self._db, self.fault = db, None
            self._opened += 1
        return self._db

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def version(self) -> int:
        """A number that changes when another connection has committed: a cheap test whether to read again.

        Raises StorageError if the file was moved, removed or replaced.
        """
        if self.fault is not None and time.monotonic() - self._tried >= REOPEN_S:
            with contextlib.suppress(StorageError):
                self._writable()
        version = self._db.data_version()
        if self._log_holds_removed:
            self._erase_removed(0.0)
        return (self._opened << 32) + version

    @property
    def set_aside(self) -> int:
        """Rows that cannot be read."""
        return self._db.count_set_aside()

    def contents_set_aside(self) -> list[str]:
        """The rows that are set aside, as SQL literals."""
        return self._db.contents_set_aside()

    # ---- reading

    def identities(self) -> list[Identity]:
        """All identities, by name. A person whose own row was set aside is named by the id that the templates hold."""
        return [identity for identity, _ in self._entries()]

    def templates(self) -> list[Template]:
        """All templates of all encoders."""
        return self._db.read("templates", template_of, "ORDER BY rowid")

    def templates_of(self, identity_id: str) -> list[Template]:
        """All templates of one identity; none if it is unknown."""
        return self._db.read("templates", template_of, "WHERE identity_id = ? ORDER BY rowid", (identity_id,))

    def people(self) -> list[Enrolled]:
        """All people with their templates, by name."""
        own: dict[str, list[Template]] = {}
        for template in self.templates():
            own.setdefault(template.identity_id, []).append(template)
        return [
            Enrolled(identity=i, created_at=created, templates=tuple(own.get(i.identity_id, ())))
            for i, created in self._entries()
        ]

    def _entries(self) -> list[tuple[Identity, datetime]]:
        """(identity, when it was enrolled), by name."""
        found = {i.identity_id: (i, created) for i, created in self._db.read("identities", identity_of)}
        # Their own row was set aside.
        orphans = "WHERE identity_id NOT IN (SELECT identity_id FROM identities) ORDER BY rowid"
        for template in self._db.read("templates", template_of, orphans):
            i = template.identity_id
            found.setdefault(i, (Identity(identity_id=i, name=i), template.created_at))
        return sorted(found.values(), key=lambda entry: (entry[0].name.casefold(), entry[0].identity_id))

    def find(self, identity_id: str) -> Enrolled:
        """One person. Raises GalleryError if the id is unknown."""
        own = self._db.read("identities", identity_of, "WHERE identity_id = ?", (identity_id,))
        templates = self.templates_of(identity_id)
        if not own and not templates:
            raise _unknown_id(identity_id)
        # Without their own row, which was set aside, they are named by the id.
        identity, created = (
            own[0] if own else (Identity(identity_id=identity_id, name=identity_id), templates[0].created_at)
        )
        return Enrolled(identity=identity, created_at=created, templates=tuple(templates))

    def lookup(self, name_or_id: str) -> Identity:
        """The identity of this id or name, in any case; `id:ID` is an id only. Raises GalleryError if none or several fit."""
        # Names are stored in NFC; some keyboards send ë as e and a combining mark.
        name_or_id = unicodedata.normalize("NFC", name_or_id).strip()
        by_id = name_or_id.removeprefix("id:")
        identities = self.identities()
        named = [i for i in identities if i.name.casefold() == name_or_id.casefold()]
        found = named + [i for i in identities if i.identity_id == by_id and i not in named]
        if by_id != name_or_id and not named:
            found = [i for i in identities if i.identity_id == by_id]
        if len(found) == 1:
            return found[0]
        if found:
            who = ", ".join(f"id:{i.identity_id} ({i.name})" for i in found)
            raise GalleryError(
                f"{name_or_id!r} is the name or the id of {len(found)} people: {who}", "give one of them"
            )
        raise GalleryError(
            f"no person with the name or id {name_or_id!r} is enrolled", "`edge-oneshot gallery list` lists the people"
        )

    # ---- writing

    def add(self, identity: Identity, templates: Sequence[Template], *, replace: bool = False) -> None:
        """Store a person, all or nothing. Raises GalleryError if the id or the name is in use, unless `replace`."""
        self.add_all([(identity, templates)], replace=replace)

    def add_all(self, people: Sequence[tuple[Identity, Sequence[Template]]], *, replace: bool = False) -> None:
        """Store several people in one transaction. Raises GalleryError as `add` does; then nothing is stored."""
        with self._writable().transaction():
            taken = Taken(self._alike(people[0][0]) if len(people) == 1 else self.identities())
            for identity, templates in people:
                taken.check_free(identity, replace=replace)
                self._add(identity, templates, replace)
                taken.add(identity)
        if replace:
            self._erase_removed(1.0)

    def check_free(self, identity: Identity, *, replace: bool = False) -> None:
        """Raises GalleryError if the id or the name is in use. `replace` allows the same person, by id and name."""
        Taken(self._alike(identity)).check_free(identity, replace=replace)

    def _alike(self, identity: Identity) -> list[Identity]:
        """The enrolled people with the id or the name of `identity`. To read everybody takes seconds in a large gallery."""
        same = (identity.identity_id, identity.name.casefold())
        clause = "WHERE identity_id = ? OR fold(CAST(name AS BLOB)) = ?"
        found = [i for i, _ in self._db.read("identities", identity_of, clause, same)]
        # Their own row was set aside: the name is the id.
        orphans = "WHERE identity_id IN (?, ?) AND identity_id NOT IN (SELECT identity_id FROM identities)"
        ids = {t.identity_id for t in self._db.read("templates", template_of, orphans, same)}
        return [*found, *(Identity(identity_id=i, name=i) for i in sorted(ids))]

    def _add(self, identity: Identity, templates: Sequence[Template], replace: bool) -> None:
        self._db.execute("DELETE FROM templates WHERE identity_id = ?", (identity.identity_id,))
        for template in templates:
            if used := self._db.rows(
                "SELECT identity_id FROM templates WHERE template_id = ?", (template.template_id,)
            ):
                raise GalleryError(
                    f"template {template.template_id} of {identity.identity_id!r}: the id is in use for {used[0][0]!r}",
                    "each template needs an id of its own: export or enroll again",
                )
        self._db.execute(
            f"INSERT INTO identities ({_IDENTITY}) VALUES (?, ?, ?) "
            "ON CONFLICT (identity_id) DO UPDATE SET name = excluded.name",
            (identity.identity_id, identity.name, templates[0].created_at.isoformat()),
        )
        if replace:
            self._delete_set_aside(identity.identity_id)
        self._db.execute_many(
            f"INSERT INTO templates ({_TEMPLATE}) VALUES (?, ?, ?, ?, ?, ?, ?)", [row_of(t) for t in templates]
        )

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
                raise _unknown_id(identity_id)
            self._db.execute(
                f"INSERT INTO identities ({_IDENTITY}) VALUES (?, ?, ?) "
                "ON CONFLICT (identity_id) DO UPDATE SET name = excluded.name",
                (identity_id, name, own.isoformat()),
            )

    def remove(self, identity_id: str) -> None:
        """Remove a person and overwrite the bytes of the templates. Raises GalleryError if the id is unknown.

        The rows that are set aside go, too, if they name this person or no enrolled one.
        """
        with self._writable().transaction():
            removed = self._db.execute("DELETE FROM identities WHERE identity_id = ?", (identity_id,))
            removed += self._db.execute("DELETE FROM templates WHERE identity_id = ?", (identity_id,))
            if not removed:
                raise _unknown_id(identity_id)
            self._delete_set_aside(identity_id)
        self._erase_removed(1.0)

    def _delete_set_aside(self, identity_id: str) -> None:
        """Delete what was set aside of this person, and of no person who is enrolled."""
        if not self._db.count_set_aside():
            return
        others = [i.identity_id for i in self.identities() if i.identity_id != identity_id]
        self._db.delete_set_aside(lambda content: any(f"'{i}'" in content for i in others))

    def _erase_removed(self, wait_s: float) -> None:
        """Remove the old pages from the write-ahead log, too. A reader delays that: `version` then tries it again."""
        erased = self._db.truncate_log(wait_s)
        if not erased and not self._log_holds_removed:
            log.warning(
                "%s: another program is reading; the removed templates are overwritten when it has finished", self.path
            )
        self._log_holds_removed = not erased


def _unknown_id(identity_id: str) -> GalleryError:
    hint = "`edge-oneshot gallery list` lists the people"
    return GalleryError(f"no person with the id {identity_id!r} is enrolled", hint)
