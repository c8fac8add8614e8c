"""The gallery's file: opening it, the faults of its disk, and whether it has changed."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import Self

from edge_oneshot.errors import StorageError
from edge_oneshot.gallery import rollback
from edge_oneshot.gallery.reading import GalleryReader
from edge_oneshot.gallery.rows import GalleryRows, PlainRows
from edge_oneshot.gallery.schema import SCHEMA
from edge_oneshot.gallery.sealed import SealedGalleryRows
from edge_oneshot.storage.copy import Copy
from edge_oneshot.storage.database import Database
from edge_oneshot.storage.keys import NO_KEYS, Keys

log = logging.getLogger(__name__)

REOPEN_S = 10.0  # between two attempts to open a file whose disk was full or read-only


class GalleryFile(GalleryReader):
    """The gallery at `path`, which is created if it is absent; the base of Gallery.

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

    def __enter__(self) -> Self:
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

    def _erase_removed(self, wait_s: float) -> None:
        """Remove the old pages from the write-ahead log, too. A reader delays that: `version` then tries it again."""
        erased = self._db.truncate_log(wait_s)
        if not erased and not self._log_holds_removed:
            log.warning(
                "%s: another program is reading; the removed templates are overwritten when it has finished", self.path
            )
        self._log_holds_removed = not erased


def rows_of(db: Database) -> GalleryRows:
    """How this file holds people and templates."""
    return PlainRows() if db.cipher is None else SealedGalleryRows(db.cipher)
