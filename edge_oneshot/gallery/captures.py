"""Kept captures: for each template the aligned pictures that it was made of, to make it anew with another encoder.

They are in a sealed gallery only, encrypted with the key of their person, which ends with the person. No request returns them.
The bytes are those of recognition/kept.py; here they have no meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_oneshot.gallery.rows import GalleryRows
from edge_oneshot.storage.database import Database, Row, text

TABLE = "captures"


def read(db: Database, rows: GalleryRows, identity_id: str) -> dict[str, bytes]:
    """template_id -> captures of one person, who was read or written before. A row that cannot be read is set aside."""
    key = rows.key(identity_id)
    cipher = rows.cipher(identity_id)
    if cipher is None:
        return {}

    def capture_of(row: Row) -> tuple[str, bytes]:
        template_id, owner, sealed = text(row[0]), text(row[1]), row[2]
        return template_id, cipher.decrypt(sealed, TABLE, owner, template_id)

    return dict(db.read(TABLE, capture_of, "WHERE identity_id = ?", (key,)))


def write(db: Database, rows: GalleryRows, identity_id: str, captures: Mapping[str, bytes]) -> None:
    """Replace those of one person, who was written before. Part of a transaction. Nothing is kept in a plain gallery."""
    key = rows.key(identity_id)
    db.execute(f"DELETE FROM {TABLE} WHERE identity_id = ?", (key,))
    if (cipher := rows.cipher(identity_id)) is not None:
        sealed = [(t, key, cipher.encrypt(data, TABLE, key, t)) for t, data in captures.items()]
        db.execute_many(f"INSERT INTO {TABLE} (template_id, identity_id, sealed) VALUES (?, ?, ?)", sealed)


def any_in(db: Database) -> bool:
    return bool(db.rows(f"SELECT 1 FROM {TABLE} LIMIT 1"))


def owners(db: Database) -> set[str]:
    """What stands in the file for the people who have captures."""
    return {text(row[0]) for row in db.rows(f"SELECT DISTINCT identity_id FROM {TABLE}")}
