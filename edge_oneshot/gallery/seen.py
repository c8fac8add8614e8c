"""On which day each person was recognized last, for gallery.expire_days. One file for all cameras, beside the gallery, 0600.

Only days on which a daemon ran are counted: after an absence `count` moves the days of everyone forward. In a sealed device the
file holds no identity in the clear. If it is damaged or lost, counting begins again for everyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from edge_oneshot.storage.database import Checksum, Count, Database, Row, Schema, text
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.storage.optional import OptionalDatabase, delete_moved_aside

SCHEMA = Schema(
    kind="record of last visits",
    application_id=0x454F6C76,  # "EOlv"
    table="seen",
    damage_hint="the daemon moves it aside at its next start and begins a new one",
    busy_timeout_s=2.0,
    wal=False,
    synchronous="NORMAL",
    private=(("seen", "identity"),),
    steps=(
        (
            # day: by the wall clock, as datetime.date.toordinal
            "CREATE TABLE seen (identity TEXT PRIMARY KEY, day INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        ),
        (Checksum("seen"),),
        (Count("seen"),),
    ),
)


_NO_ONE = ""  # in the place of an identity: the last day that was counted


class LastSeen:
    """The days of one file. Belongs to one thread; several processes may use the file."""

    def __init__(self, path: Path, keys: Keys = NO_KEYS) -> None:
        self._path = path
        self._file = OptionalDatabase(path, SCHEMA, "no one is removed by gallery.expire_days", keys)

    def close(self) -> None:
        self._file.close()

    def days(self) -> dict[str, int] | None:
        """identity_id -> day; None if the file cannot be used."""
        found = self._file.run(_read, None)
        return None if found is None else {i: day for i, day in found.items() if i != _NO_ONE}

    def count(self, today: int) -> int:
        """Count this day. Returns how many days since the last one are not counted: no daemon ran, or the clock was changed.

        A clock that goes back moves the days back as well.
        """

        def work(db: Database) -> int:
            found = _read(db)
            last = found.pop(_NO_ONE, None)
            # A file of an earlier release: its last sign of a daemon.
            passed = today - (max(found.values(), default=today) if last is None else last)
            skipped = passed - 1 if passed > 1 else min(passed, 0)
            moved = {i: min(day + skipped, today) for i, day in found.items()} if skipped else {}
            if last != today:
                _write(db, {**moved, _NO_ONE: today})
            return skipped

        return self._file.run(work, 0)

    def set(self, days: Mapping[str, int]) -> None:
        """Store the day of some people."""
        if days:
            self._file.run(lambda db: _write(db, days), None)

    def forget(self, identity_ids: Iterable[str]) -> None:
        """Delete the rows of people who were removed from the gallery."""
        ids = list(identity_ids)
        if not ids or not self._path.exists():
            return

        def work(db: Database) -> None:
            db.execute_many(
                "DELETE FROM seen WHERE identity = ?", [(db.hide_alike(i, "seen", "identity"),) for i in ids]
            )
            db.delete_set_aside()

        self._file.run(work, None)
        delete_moved_aside(self._path)


def _read(db: Database) -> dict[str, int]:
    def parse(row: Row) -> tuple[str, int]:
        return db.reveal(text(row[0]), "seen", "identity"), int(row[1])

    return dict(db.read("seen", parse))


def _write(db: Database, days: Mapping[str, int]) -> None:
    rows = [(db.hide_alike(i, "seen", "identity"), day) for i, day in days.items()]
    db.execute_many("INSERT OR REPLACE INTO seen (identity, day) VALUES (?, ?)", rows)
