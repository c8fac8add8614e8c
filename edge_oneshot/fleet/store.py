"""What a device remembers of its fleet: fleet.sqlite.

For each topic the greatest record of each author, every removal besides, and what the broker is known to hold. It is never
forgotten that a person was removed, so neither an old message nor a later one of the same author brings the person back. In a
device with a key for its files, everything that says something about a person or could decrypt or sign a message is encrypted.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from edge_oneshot.errors import UnusableFile
from edge_oneshot.fleet.records import Record
from edge_oneshot.storage.database import IN_MEMORY, Database, Schema, Value
from edge_oneshot.storage.keys import NO_KEYS, Keys

FILE_NAME = "fleet.sqlite"
EMPTY = b""  # what the broker holds at a topic: nothing
NOT_DUE, REPAIR, OWN = 0, 1, 2  # Topic.due

SCHEMA = Schema(
    kind="fleet",
    application_id=0x454F666C,  # "EOfl"
    table="records",
    damage_hint="restore a backup; or delete it, revoke this device on another one, and join the fleet anew",
    busy_timeout_s=10.0,
    steps=(
        (
            """CREATE TABLE records (
                topic      TEXT NOT NULL,
                author     TEXT NOT NULL,
                id         BLOB NOT NULL,
                generation INTEGER NOT NULL,
                removed    INTEGER NOT NULL,
                version    INTEGER NOT NULL,
                wall       INTEGER NOT NULL,
                tick       INTEGER NOT NULL,
                lineage    TEXT NOT NULL,
                person     TEXT NOT NULL,
                seq        INTEGER NOT NULL,
                epoch      TEXT NOT NULL,     -- the key under which it was seen first
                at         INTEGER NOT NULL,  -- when it was seen first, ms, by the clock of this device
                raw        BLOB NOT NULL,
                UNIQUE (topic, id)
            ) STRICT""",
            "CREATE UNIQUE INDEX records_not_removed ON records (topic, author) WHERE removed = 0",
            "CREATE INDEX records_by_author ON records (author)",
            "CREATE INDEX records_by_person ON records (person) WHERE person <> ''",
            """CREATE TABLE topics (
                topic   TEXT PRIMARY KEY,
                best    TEXT NOT NULL,     -- the author of the record in force, or ''
                best_id BLOB NOT NULL,     -- its id, or x''
                seen    BLOB,              -- the id of the record that the broker holds; x'': none; NULL: not known
                due     INTEGER NOT NULL,
                changed INTEGER NOT NULL
            ) STRICT""",
            "CREATE INDEX topics_due ON topics (due) WHERE due > 0",
            "CREATE INDEX topics_changed ON topics (changed)",
            "CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
            """CREATE TABLE epochs (
                key_id    TEXT PRIMARY KEY,
                number    INTEGER NOT NULL,
                key       BLOB NOT NULL,
                author    TEXT NOT NULL,
                signature BLOB NOT NULL
            ) STRICT""",
            "CREATE TABLE invites (place TEXT PRIMARY KEY, secret BLOB NOT NULL, role TEXT NOT NULL, name TEXT NOT NULL, "
            "until INTEGER NOT NULL) STRICT",
            "CREATE TABLE conflicts (subject TEXT NOT NULL, lineage TEXT NOT NULL, raw BLOB NOT NULL, "
            "open INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (subject, lineage)) STRICT",
            "CREATE TABLE applied (subject TEXT PRIMARY KEY, hash TEXT NOT NULL) STRICT",
        ),
    ),
)
# table -> (the columns that identify a row, the column that is encrypted in a sealed file)
PRIVATE = {
    "records": (("topic", "id"), "raw"),
    "secrets": (("name",), "value"),
    "epochs": (("key_id",), "key"),
    "invites": (("place",), "secret"),
    "conflicts": (("subject", "lineage"), "raw"),
}
_ROW = "topic, author, id, generation, removed, version, wall, tick, lineage, person, seq, epoch, at"


class Row(NamedTuple):
    """A record without its content."""

    topic: str
    author: str
    id: bytes
    generation: int
    removed: int
    version: int
    wall: int
    tick: int
    lineage: str
    person: str
    seq: int
    epoch: str
    at: int

    @property
    def rank(self) -> tuple[int, int, int, int, int, str, bytes]:
        """The greatest record of a topic is in force."""
        return self.generation, self.removed, self.version, self.wall, self.tick, self.author, self.id


def row_of(r: Record, epoch: str = "", at: int = 0) -> Row:
    return Row(
        r.topic, r.author, r.id, r.generation, int(r.removed), r.version, *r.hlc, r.lineage, r.person, r.seq, epoch, at
    )


class Topic(NamedTuple):
    """best: the author of the record in force, or "". The others: as in the table."""

    topic: str
    best: str = ""
    best_id: bytes = EMPTY
    seen: bytes | None = None
    due: int = NOT_DUE
    changed: int = 0


class Store:
    """One file, of one thread. path: IN_MEMORY for a simulation. Raises StorageError if the disk fails or a row was changed."""

    def __init__(self, path: Path = IN_MEMORY, keys: Keys = NO_KEYS) -> None:
        self.db = Database(path, SCHEMA, keys=keys)

    def close(self) -> None:
        self.db.close()

    # ---- records

    def rows(self, where: str, *values: Value) -> list[Row]:
        return [Row(*row) for row in self.db.rows(f"SELECT {_ROW} FROM records WHERE {where}", values)]

    def raw(self, row: Row) -> bytes:
        """The signature and body."""
        return self.raws("topic = ? AND id = ?", row.topic, row.id)[0]

    def raws(self, where: str, *values: Value) -> list[bytes]:
        found = self.db.rows(f"SELECT raw, topic, id FROM records WHERE {where}", values)
        return [self._reveal(raw, "records", topic, record_id) for raw, topic, record_id in found]

    def best(self, at: Topic) -> Row | None:
        """The record in force of a topic."""
        found = self.rows("topic = ? AND id = ?", at.topic, at.best_id) if at.best else []
        return found[0] if found else None

    def put(self, record: Record, epoch: str, at: int) -> Row:
        """Keep a record in the place of the author's earlier one at this topic; a removal besides what is there."""
        row = row_of(record, epoch, at)
        raw = self._hide(record.raw, "records", record.topic, record.id)
        self.db.execute(f"REPLACE INTO records ({_ROW}, raw) VALUES ({', '.join('?' * 14)})", (*row, raw))
        return row

    def drop(self, row: Row) -> None:
        self.db.execute("DELETE FROM records WHERE topic = ? AND id = ?", (row.topic, row.id))

    # ---- topics

    def topic(self, topic: str) -> Topic:
        found = self.db.rows("SELECT topic, best, best_id, seen, due, changed FROM topics WHERE topic = ?", (topic,))
        return Topic(*found[0]) if found else Topic(topic)

    def topics(self, where: str, *values: Value) -> list[Topic]:
        sql = f"SELECT topic, best, best_id, seen, due, changed FROM topics WHERE {where}"
        return [Topic(*row) for row in self.db.rows(sql, values)]

    def put_topic(self, topic: Topic) -> None:
        self.db.execute(
            "REPLACE INTO topics (topic, best, best_id, seen, due, changed) VALUES (?, ?, ?, ?, ?, ?)", topic
        )

    def best_live(self) -> list[tuple[str, bytes]]:
        """(topic, id of the record in force) of people and their templates, without those who were removed."""
        return self.db.rows(
            "SELECT t.topic, t.best_id FROM topics t JOIN records r ON r.topic = t.topic AND r.id = t.best_id "
            "WHERE r.removed = 0 AND (t.topic GLOB 'person/*' OR t.topic GLOB 'template/*') ORDER BY t.topic"
        )

    def last_change(self) -> int:
        return int(self.db.rows("SELECT ifnull(max(changed), 0) FROM topics")[0][0])

    # ---- secrets and the other tables

    def secret(self, name: str) -> bytes | None:
        found = self.db.rows("SELECT value FROM secrets WHERE name = ?", (name,))
        return self._reveal(found[0][0], "secrets", name) if found else None

    def put_secret(self, name: str, value: bytes) -> None:
        self.db.execute("REPLACE INTO secrets (name, value) VALUES (?, ?)", (name, self._hide(value, "secrets", name)))

    def epochs(self) -> list[tuple[str, int, bytes, str, bytes]]:
        """(key_id, number, key, author, signature) of each."""
        return [
            (key_id, number, self._reveal(key, "epochs", key_id), author, signature)
            for key_id, number, key, author, signature in self.db.rows(
                "SELECT key_id, number, key, author, signature FROM epochs ORDER BY number, key_id"
            )
        ]

    def put_epoch(self, key_id: str, number: int, key: bytes, author: str, signature: bytes) -> None:
        sql = "INSERT OR IGNORE INTO epochs (key_id, number, key, author, signature) VALUES (?, ?, ?, ?, ?)"
        self.db.execute(sql, (key_id, number, self._hide(key, "epochs", key_id), author, signature))

    def put_invite(self, place: str, secret: bytes, role: str, name: str, until: int) -> None:
        sealed = self._hide(secret, "invites", place)
        self.db.execute("REPLACE INTO invites VALUES (?, ?, ?, ?, ?)", (place, sealed, role, name, until))

    def invites(self) -> list[tuple[str, bytes, str, str, int]]:
        """(place, secret, role, name, until) of those that are open."""
        return [
            (place, self._reveal(secret, "invites", place), role, name, until)
            for place, secret, role, name, until in self.db.rows("SELECT place, secret, role, name, until FROM invites")
        ]

    def drop_invites(self, where: str, *values: Value) -> None:
        self.db.execute(f"DELETE FROM invites WHERE {where}", values)

    def put_conflict(self, subject: str, lineage: str, raw: bytes) -> None:
        sealed = self._hide(raw, "conflicts", subject, lineage)
        self.db.execute(
            "INSERT OR IGNORE INTO conflicts (subject, lineage, raw) VALUES (?, ?, ?)", (subject, lineage, sealed)
        )

    def conflicts(self) -> list[tuple[str, str, bytes]]:
        return [
            (subject, lineage, self._reveal(raw, "conflicts", subject, lineage))
            for subject, lineage, raw in self.db.rows("SELECT subject, lineage, raw FROM conflicts WHERE open = 1")
        ]

    def dismiss_conflict(self, subject: str) -> None:
        """It is not listed again; who it was about is forgotten."""
        self.db.execute("UPDATE conflicts SET open = 0, raw = x'' WHERE subject = ?", (subject,))

    def applied(self) -> dict[str, str]:
        """subject -> digest of what was last applied to the gallery, or read from it. For the agent."""
        return dict(self.db.rows("SELECT subject, hash FROM applied"))

    def put_applied(self, digests: Iterable[tuple[str, str | None]]) -> None:
        """None: the gallery no longer has the person."""
        for subject, digest in digests:
            if digest is None:
                self.db.execute("DELETE FROM applied WHERE subject = ?", (subject,))
            else:
                self.db.execute("REPLACE INTO applied (subject, hash) VALUES (?, ?)", (subject, digest))

    def _hide(self, data: bytes, *about: str | bytes) -> bytes:
        return hide(self.db, data, *about)

    def _reveal(self, stored: bytes, *about: str | bytes) -> bytes:
        return reveal(self.db, stored, *about)


def hide(db: Database, data: bytes, *about: str | bytes) -> bytes:
    """`data` as the file stores it. about: the table and the key of the row."""
    return data if db.cipher is None else db.cipher.encrypt(data, *_texts(about))


def _texts(about: Iterable[str | bytes]) -> list[str]:
    return [part if isinstance(part, str) else part.hex() for part in about]


def reveal(db: Database, stored: bytes, *about: str | bytes) -> bytes:
    """What `hide` was given. Raises UnusableFile if it was changed."""
    try:
        return stored if db.cipher is None else db.cipher.decrypt(stored, *_texts(about))
    except ValueError as e:
        raise UnusableFile(f"the fleet {db.path}: a row of {about[0]!s} is damaged: {e}", SCHEMA.damage_hint) from None
