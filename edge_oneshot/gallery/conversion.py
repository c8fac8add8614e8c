"""Sealing the gallery's file, unsealing it, and giving it another key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge_oneshot.gallery import access, captures, fleet, rollback
from edge_oneshot.gallery.schema import SCHEMA
from edge_oneshot.gallery.store import GalleryView, put_person, put_templates, rows_of
from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.storage.conversion import Alone
from edge_oneshot.storage.database import Database
from edge_oneshot.storage.keys import Keys


@contextmanager
def gallery_alone(path: Path, keys: Keys) -> Iterator[Alone]:
    """The gallery, while no other process has it open or can open it: no daemon runs. Raises StorageError."""
    with closing(Alone(path, SCHEMA, keys)) as db:
        yield db


def convert_gallery(db: Alone, keys: Keys, key: Cipher | None) -> int:
    """Give the gallery this key; None: make it a plain file. Returns how many rows that were set aside it has lost.

    Everything is changed in one transaction. Raises StorageError.
    """
    if db.has_key(key):
        rollback.check(db, keys)
        return 0
    lost = db.convert(key, _rewrite)
    rollback.begin(db, keys)
    return lost


def _rewrite(db: Database) -> Callable[[], None]:
    view = GalleryView(db)
    people = [(person, view.captures_of(person.identity.identity_id)) for person in view.people()]
    in_fleet, removals, number = view.in_fleet, view.removals(), view.fleet_number

    def write() -> None:
        rows = rows_of(db)
        for table in ("templates", "identities", captures.TABLE, access.TABLE, fleet.TABLE):
            db.execute(f"DELETE FROM {table}")
        if in_fleet:
            fleet.begin(db)
            fleet.put_number(db, number)
        for identity_id in removals:
            fleet.note(db, identity_id)
        for person, kept in people:
            put_person(db, rows, person.identity, person.created_at)
            put_templates(db, rows, person.templates)
            captures.write(db, rows, person.identity.identity_id, kept)  # a plain gallery keeps none
            access.write(db, rows, person.identity.identity_id, person.access)

    return write
