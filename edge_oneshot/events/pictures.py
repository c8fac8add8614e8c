"""The pictures of visits on disk: each one encrypted, in one SQLite file (0600) for each camera. Off by default.

A row holds when, a pseudonym of the person, and the encrypted JPEG. Only a holder of the key can read either.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.storage.database import Checksum, Count, Database, Row, Schema, text
from edge_oneshot.storage.optional import OptionalDatabase, delete_moved_aside

DAY_S = 86400.0
SCHEMA = Schema(
    kind="visit pictures",
    application_id=0x454F7069,  # "EOpi"
    table="picture",
    damage_hint="the daemon moves it aside and begins a new one",
    busy_timeout_s=2.0,
    wal=False,
    synchronous="NORMAL",
    steps=(
        (
            """CREATE TABLE picture (
                id     INTEGER PRIMARY KEY AUTOINCREMENT,
                visit  TEXT NOT NULL,     -- key of the track
                at     REAL NOT NULL,     -- seconds since 1970
                person TEXT NOT NULL,     -- pseudonym; empty: not known
                sealed BLOB NOT NULL
            ) STRICT""",
            "CREATE INDEX picture_visit ON picture (visit)",
        ),
        (Checksum("picture"), Count("picture")),
    ),
)


class Pictures:
    """Safe to use from several threads. Without a disk nothing is kept; the log says so."""

    def __init__(self, path: Path, cipher: Cipher, days: float, megabytes: float) -> None:
        """cipher: of this use alone."""
        self._file = OptionalDatabase(path, SCHEMA, "no picture is kept")
        self.path, self._cipher, self._days, self._bytes = path, cipher, days, megabytes * 1e6

    @property
    def fault(self) -> str:
        return self._file.fault

    def limit(self, days: float, megabytes: float) -> None:
        self._days, self._bytes = days, megabytes * 1e6

    def add(self, visit: str, at: float, identity: str | None, jpeg: bytes) -> bool:
        """Keep a picture. visit: key of the track. at: seconds since 1970."""
        values = (visit, at, self._person(identity), self._cipher.encrypt(jpeg, "picture", visit))
        sql = "INSERT INTO picture (visit, at, person, sealed) VALUES (?, ?, ?, ?)"
        done = self._file.run(lambda db: db.execute(sql, values) == 1, False)
        if done:
            self._file.written()
        return done

    def find(self, visit: str) -> bytes | None:
        """The JPEG of a track; None if there is none that this key opens."""

        def opened(row: Row) -> bytes:
            return self._cipher.decrypt(row[4], "picture", text(row[1]))

        nothing: list[bytes] = []
        if not self.path.exists():
            return None
        found = self._file.run(lambda db: db.read("picture", opened, "WHERE visit = ?", (visit,)), nothing)
        return found[0] if found else None

    def kept(self) -> dict[str, int]:
        """Visit -> bytes of its picture."""
        if not self.path.exists():
            return {}
        return {str(v): int(n) for v, n in self._file.rows("SELECT visit, length(sealed) FROM picture ORDER BY at, id")}

    def name(self, visits: Iterable[str], identity: str | None) -> None:
        """Note who is in these pictures."""
        if self.path.exists():
            rows = [(self._person(identity), visit) for visit in visits]
            self._file.run(lambda db: db.execute_many("UPDATE picture SET person = ? WHERE visit = ?", rows), None)

    def expire(self, now: float) -> None:
        """Erase what is too old, or too much. now: seconds since 1970."""
        if not self.path.exists():
            return

        def old(db: Database) -> None:
            db.execute("DELETE FROM picture WHERE at < ?", (now - self._days * DAY_S,))
            total = """DELETE FROM picture WHERE id IN (SELECT id FROM (
                SELECT id, sum(length(sealed)) OVER (ORDER BY at DESC, id DESC) AS total FROM picture) WHERE total > ?)"""
            db.execute(total, (int(self._bytes),))

        self._file.run(old, None)

    def forget(self, identity: str) -> None:
        """Erase the pictures of a person who was removed from the gallery."""
        if self.path.exists():
            person = self._person(identity)
            self._file.run(lambda db: db.execute("DELETE FROM picture WHERE person = ?", (person,)), 0)
            self._file.run(Database.delete_set_aside, None)
        delete_moved_aside(self.path)

    def keep_only(self, identities: Iterable[str]) -> None:
        """Erase the pictures of all other people; those of unknown people stay."""
        if not self.path.exists():
            return
        kept = ["", *map(self._person, identities)]

        def others(db: Database) -> None:
            named = {text(p) for (p,) in db.rows("SELECT DISTINCT person FROM picture")} - set(kept)
            db.execute_many("DELETE FROM picture WHERE person = ?", [(p,) for p in named])

        self._file.run(others, None)

    def erase(self) -> None:
        """Erase all pictures."""
        _erase(self._file)

    def close(self) -> None:
        self._file.close()

    def _person(self, identity: str | None) -> str:
        return "" if identity is None else self._cipher.pseudonym(identity, "person in a picture")


def erase_pictures(path: Path) -> None:
    """Erase all pictures of a file, without the key. A failure is logged."""
    file = OptionalDatabase(path, SCHEMA, f"remove {path}: it may still hold pictures, which only the key opens")
    _erase(file)
    file.close()


def _erase(file: OptionalDatabase) -> None:
    if file.path.exists():
        file.run(lambda db: db.execute("DELETE FROM picture"), 0)
        file.run(Database.delete_set_aside, None)
    delete_moved_aside(file.path)
