"""Sealing the gallery's file, unsealing it, and giving it another key."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edge_oneshot.gallery import captures, rollback
from edge_oneshot.gallery.schema import SCHEMA
from edge_oneshot.gallery.store import GalleryView, put_person, put_templates, rows_of
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


def _rewrite(db: Database) -> Callable[[], None]:
    view = GalleryView(db)
    people = [(person, view.captures_of(person.identity.identity_id)) for person in view.people()]

    def write() -> None:
        rows = rows_of(db)
        for table in ("templates", "identities", captures.TABLE):
            db.execute(f"DELETE FROM {table}")
        for person, kept in people:
            put_person(db, rows, person.identity, person.created_at)
            put_templates(db, rows, person.templates)
            captures.write(db, rows, person.identity.identity_id, kept)  # a plain gallery keeps none

    return write
