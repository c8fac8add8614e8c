"""Sealing the gallery's file, unsealing it, and giving it another key."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edge_oneshot.gallery import rollback
from edge_oneshot.gallery.reading import GalleryReader
from edge_oneshot.gallery.schema import SCHEMA
from edge_oneshot.gallery.store import put_person, put_templates, rows_of
from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.storage.conversion import convert
from edge_oneshot.storage.database import Database
from edge_oneshot.storage.keys import Keys


def convert_gallery(path: Path, keys: Keys, key: Cipher | None) -> int:
    """Give the gallery this key; None: make it a plain file. Returns how many rows that were set aside it has lost.

    Everything is changed in one transaction, while no other process has the file open. Raises StorageError.
    """
    lost = convert(path, SCHEMA, keys, key, _rewrite)
    with closing(Database(path, SCHEMA, keys=keys)) as db:
        if lost is not None:
            rollback.begin(db, keys)
        else:
            rollback.check(db, keys)
    return lost or 0


class _Contents(GalleryReader):
    def __init__(self, db: Database) -> None:
        self._db, self._rows = db, rows_of(db)


def _rewrite(db: Database) -> Callable[[], None]:
    people = _Contents(db).people()

    def write() -> None:
        rows = rows_of(db)
        for table in ("templates", "identities"):
            db.execute(f"DELETE FROM {table}")
        for person in people:
            put_person(db, rows, person.identity, person.created_at)
            put_templates(db, rows, person.templates)

    return write
