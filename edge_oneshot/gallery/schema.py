"""The gallery's file: its tables, as ordered steps, and how it is kept."""

from __future__ import annotations

from edge_oneshot.storage.database import Checksum, Count, Schema

BUSY_TIMEOUT_S = 10.0

SCHEMA = Schema(
    kind="gallery",
    application_id=0x454F6761,  # "EOga"
    table="identities",
    damage_hint="restore a backup, or import a file of `gallery export` into a new gallery; keep the damaged file",
    busy_timeout_s=BUSY_TIMEOUT_S,
    wal=True,
    whole=True,
    synchronous="FULL",  # a power cut loses nothing that was reported as stored
    steps=(
        (
            """CREATE TABLE identities (
                identity_id TEXT PRIMARY KEY,
                name        TEXT NOT NULL,
                created_at  TEXT NOT NULL
            ) STRICT""",
            """CREATE TABLE templates (
                template_id TEXT PRIMARY KEY,
                identity_id TEXT NOT NULL REFERENCES identities ON DELETE CASCADE ON UPDATE CASCADE,
                encoder_id  TEXT NOT NULL,
                vector      BLOB NOT NULL,  -- float32, little-endian, as many as the encoder's dimension
                quality     TEXT NOT NULL,  -- JSON: the measures of the capture
                created_at  TEXT NOT NULL
            ) STRICT""",
            "CREATE INDEX templates_by_identity ON templates (identity_id)",
        ),
        # 1: enrolled although no error rate can be stated
        ("ALTER TABLE templates ADD COLUMN no_rate INTEGER NOT NULL DEFAULT 0 CHECK (no_rate IN (0, 1))",),
        (Checksum("identities"), Checksum("templates")),
        (Count("identities"), Count("templates")),
        # Of sealed galleries only (gallery/captures.py). Without a checksum, which would be compared at each start: 100 MB for 1000
        # people cost 1.9 s, and 0.2 s without. Each is authenticated when it is read.
        (
            """CREATE TABLE captures (
                template_id TEXT PRIMARY KEY,
                identity_id TEXT NOT NULL,
                sealed      BLOB NOT NULL
            ) STRICT""",
        ),
        (
            # gallery/access.py. Not a column of `identities`: rules that cannot be read must not hide the person.
            """CREATE TABLE access (
                identity_id TEXT PRIMARY KEY,
                rules       TEXT NOT NULL
            ) STRICT""",
            "CREATE TABLE removals (identity_id TEXT PRIMARY KEY) STRICT",  # gallery/fleet.py
            *(Checksum("access"), Checksum("removals"), Count("access"), Count("removals")),
        ),
    ),
)
