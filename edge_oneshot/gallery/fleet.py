"""Who was removed from a gallery that belongs to a fleet, so that the other devices remove them, too.

Only a removal that was asked for is noted: a gallery that was lost or emptied removes no one elsewhere. The row with an empty
id says that the gallery belongs to a fleet; the row that begins with a colon, how often it was brought together with the fleet.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_oneshot.storage.database import Database, Row, text

TABLE = "removals"
_NUMBER = ":"  # no id contains it


def belongs(db: Database) -> bool:
    return bool(db.rows(f"SELECT 1 FROM {TABLE} WHERE identity_id = ''"))


def begin(db: Database) -> None:
    """From here on removals are noted. Part of a transaction."""
    if not belongs(db):
        db.execute(f"INSERT INTO {TABLE} (identity_id) VALUES ('')")


def end(db: Database) -> None:
    """Delete what was noted, and note nothing more. Part of a transaction."""
    db.execute(f"DELETE FROM {TABLE}")


def number(db: Database) -> int:
    """How often the gallery was brought together with the fleet. An older copy has a lower number."""
    found = [str(row[0])[1:] for row in db.rows(f"SELECT identity_id FROM {TABLE} WHERE identity_id GLOB '{_NUMBER}*'")]
    return max((int(n) for n in found if n.isdecimal()), default=0)


def put_number(db: Database, value: int) -> None:
    """Part of a transaction."""
    db.execute(f"DELETE FROM {TABLE} WHERE identity_id GLOB '{_NUMBER}*'")
    if value:
        db.execute(f"INSERT INTO {TABLE} (identity_id) VALUES (?)", (f"{_NUMBER}{value}",))


def note(db: Database, identity_id: str) -> None:
    """A person was removed. Part of a transaction. Nothing is noted outside of a fleet."""
    if belongs(db):
        db.execute(f"INSERT OR REPLACE INTO {TABLE} (identity_id) VALUES (?)", (_hidden(db, identity_id),))


def read(db: Database) -> list[str]:
    """The ids of the people who were removed."""

    def parse(row: Row) -> str:
        stored = text(row[0])
        return db.reveal(stored, TABLE, "identity_id") if stored and not stored.startswith(_NUMBER) else ""

    return [i for i in db.read(TABLE, parse, "ORDER BY rowid") if i]


def clear(db: Database, identity_ids: Iterable[str]) -> None:
    """These removals were passed on. Part of a transaction."""
    db.execute_many(f"DELETE FROM {TABLE} WHERE identity_id = ?", [(_hidden(db, i),) for i in identity_ids if i])


def _hidden(db: Database, identity_id: str) -> str:
    return db.hide_alike(identity_id, TABLE, "identity_id")
