"""The gallery's schema, as ordered steps. A step is never edited once released; a new one is appended."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_oneshot.errors import GalleryError

MIGRATIONS = (
    """
    CREATE TABLE identities (
        identity_id TEXT PRIMARY KEY,
        name        TEXT NOT NULL,
        created_at  TEXT NOT NULL
    ) STRICT;
    CREATE TABLE templates (
        template_id TEXT PRIMARY KEY,
        identity_id TEXT NOT NULL REFERENCES identities ON DELETE CASCADE ON UPDATE CASCADE,
        encoder_id  TEXT NOT NULL,
        vector      BLOB NOT NULL,  -- float32, little-endian, as many as the encoder's dimension
        quality     TEXT NOT NULL,  -- JSON: the measures of the capture
        created_at  TEXT NOT NULL
    ) STRICT;
    CREATE INDEX templates_by_identity ON templates (identity_id);
    """,
)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest schema, each step in one transaction. Raises GalleryError for a newer file."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise GalleryError(
            f"{path}: schema version {version}, this release knows {len(MIGRATIONS)}",
            "install the release that wrote it, or a newer one",
        )
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        # executescript commits what is open and runs bare, so the transaction is spelled out. Another process may have
        # migrated meanwhile: IMMEDIATE waits for it, and the version is read again inside.
        db.execute("BEGIN IMMEDIATE")
        try:
            if int(db.execute("PRAGMA user_version").fetchone()[0]) < number:
                for statement in step.split(";\n"):
                    if statement.strip():
                        db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
