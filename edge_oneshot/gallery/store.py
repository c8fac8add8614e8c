"""The gallery on disk: identities and their templates in SQLite. A picture only sealed and on request (gallery/captures.py).

What was reported as stored survives a power cut. A removed template is overwritten in the file. Mode 0600. With a key the file
holds nothing about a person that can be read without it (gallery/sealed.py). One `Gallery` belongs to one thread; several
processes may use the file at once.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from edge_oneshot.errors import GalleryError, StorageError
from edge_oneshot.gallery import captures as kept_captures
from edge_oneshot.gallery import rollback
from edge_oneshot.gallery.reading import Enrolled, GalleryReader, unknown_id
from edge_oneshot.gallery.rows import GalleryRows, PlainRows
from edge_oneshot.gallery.schema import SCHEMA
from edge_oneshot.gallery.sealed import SealedGalleryRows
from edge_oneshot.gallery.taken import Taken, name_taken
from edge_oneshot.storage.copy import Copy
from edge_oneshot.storage.database import Database
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.types import Identity, Template

__all__ = ["Enrolled", "Gallery"]

log = logging.getLogger(__name__)

_TEMPLATE = "template_id, identity_id, encoder_id, vector, quality, created_at, no_rate"
_IDENTITY = "identity_id, name, created_at"

NOTHING: Mapping[str, bytes] = MappingProxyType({})
REOPEN_S = 10.0  # between two attempts to open a file whose disk was full or read-only


class Gallery(GalleryReader):
    """The gallery at `path`, which is created if it is absent.

    Each method raises StorageError if the file or its disk fails. A row that cannot be read is set aside (storage/rows.py),
    and the others are used. If the disk is full or read-only, `fault` says so, and the gallery can be read but not changed.
    """

    def __init__(self, path: Path, keys: Keys = NO_KEYS, *, keep_captures: bool = False) -> None:
        """keys: of a sealed gallery. A new gallery is sealed if there is a current key. keep_captures: as `keeps_captures`."""
        self.path, self._keys, self._keep_captures = path, keys, keep_captures
        self.fault: StorageError | None = None  # why the gallery cannot be changed
        self._opened, self._tried = 0, 0.0
        self._log_holds_removed = False  # the write-ahead log may still contain templates that were removed
        self._db = self._open()

    def _open(self) -> Database:
        self._tried = time.monotonic()
        self._opened += 1
        try:
            db = self._connect()
        except StorageError as e:
            if not e.disk:
                raise
            copy = Copy(self.path, SCHEMA, keys=self._keys)
            log.error("%s; the people in it are recognized, and it cannot be changed", e)
            self.fault = e
            return self._take(copy)
        self._log_holds_removed = not db.log_emptied
        return self._take(db)

    def _connect(self) -> Database:
        db = Database(self.path, SCHEMA, keys=self._keys)
        try:
            rollback.check(db, self._keys)
        except BaseException:
            db.close()
            raise
        return db

    def _take(self, db: Database) -> Database:
        self._rows = rows_of(db)
        return db

    def _writable(self) -> Database:
        """The database. Raises the fault of the disk if there still is one."""
        if self.fault is not None:
            try:
                db = self._connect()
            except StorageError as e:
                self.fault = e if e.disk else self.fault
                raise
            finally:
                self._tried = time.monotonic()
            log.warning("the gallery %s can be changed again", self.path)
            self._db.close()
            self._db, self.fault = self._take(db), None
            self._opened += 1
        return self._db

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def keeps_captures(self) -> bool:
        """Whether enrollments pass their captures to `add`. Only a sealed gallery keeps them."""
        return self._keep_captures and self.sealed

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
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Store several people in one transaction. Raises GalleryError as `add` does; then nothing is stored.

        progress: called after each person; thousands take seconds.
        """
        with self._writable().transaction():
            taken = Taken(self._alike(people[0][0]) if len(people) == 1 else self.identities())
            kept = captures if captures or kept_captures.any_in(self._db) else None
            for identity, templates in people:
                taken.check_free(identity, replace=replace)
                self._add(identity, templates, replace, kept)
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
        for template in templates:
            if self._db.rows("SELECT 1 FROM templates WHERE template_id = ?", (template.template_id,)):
                raise GalleryError(
                    f"template {template.template_id} of {identity.identity_id!r}: the id is in use for another person",
                    "each template needs an id of its own: export or enroll again",
                )
        before = self._db.rows("SELECT created_at FROM identities WHERE identity_id = ?", (key,))
        created = datetime.fromisoformat(before[0][0]) if before else templates[0].created_at
        put_person(self._db, self._rows, identity, created)
        if replace:
            self._delete_set_aside(identity.identity_id)
        put_templates(self._db, self._rows, templates)
        if kept is not None:
            own = {t.template_id: kept[t.template_id] for t in templates if t.template_id in kept}
            kept_captures.write(self._db, self._rows, identity.identity_id, own)

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
        key = self._rows.key(identity_id)
        with self._writable().transaction():
            removed = self._db.execute("DELETE FROM identities WHERE identity_id = ?", (key,))
            removed += self._db.execute("DELETE FROM templates WHERE identity_id = ?", (key,))
            self._db.execute(f"DELETE FROM {kept_captures.TABLE} WHERE identity_id = ?", (key,))
            if not removed:
                raise unknown_id(identity_id)
            self._delete_set_aside(identity_id)
        rollback.store(self._db, self._keys)
        self._erase_removed(1.0)

    def _delete_set_aside(self, identity_id: str) -> None:
        """Delete what was set aside of this person, and of no person who is enrolled."""
        if not self._db.count_set_aside():
            return
        others = [self._rows.key(i.identity_id) for i in self.identities() if i.identity_id != identity_id]
        self._db.delete_set_aside(lambda content: any(f"'{i}'" in content for i in others))

    def _erase_removed(self, wait_s: float) -> None:
        """Remove the old pages from the write-ahead log, too. A reader delays that: `version` then tries it again."""
        erased = self._db.truncate_log(wait_s)
        if not erased and not self._log_holds_removed:
            log.warning(
                "%s: another program is reading; the removed templates are overwritten when it has finished", self.path
            )
        self._log_holds_removed = not erased


class GalleryView(GalleryReader):
    """The people in a database that is open already."""

    def __init__(self, db: Database) -> None:
        self._db, self._rows = db, rows_of(db)


def rows_of(db: Database) -> GalleryRows:
    """How this file holds people and templates."""
    return PlainRows() if db.cipher is None else SealedGalleryRows(db.cipher)


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
