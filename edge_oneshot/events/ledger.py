"""What the outbox file keeps beside the events: retained topics, short texts, and the counter of signatures."""

from __future__ import annotations

import time
from collections.abc import Iterable

from edge_oneshot.storage.database import Database, Row, text
from edge_oneshot.storage.optional import OptionalDatabase

MAX_COUNTER = 2**62
_RESERVED = 1000  # counter values that one write to the disk reserves


class TopicLedger:
    """The topics at which the broker keeps a value of this device, those of earlier processes included."""

    def __init__(self, file: OptionalDatabase) -> None:
        self._file = file

    def retained(self) -> list[str]:
        """The topics at which the broker keeps a value."""
        return self._topics("retained")

    def to_empty(self) -> list[str]:
        """The topics that must still be emptied at the broker."""
        return self._topics("clears")

    def add(self, topic: str) -> None:
        """The broker is to keep a value at `topic`; a request to empty it is withdrawn."""

        def work(db: Database) -> None:
            db.execute("INSERT OR IGNORE INTO retained (topic) VALUES (?)", (_hide(db, "retained", topic),))
            db.execute("DELETE FROM clears WHERE topic = ?", (_hide(db, "clears", topic),))

        self._file.run(work, None)

    def empty(self, topics: Iterable[str]) -> None:
        """`topics` must be emptied at the broker, by a later process if this one ends before."""
        wanted = list(topics)

        def work(db: Database) -> None:
            rows = [(_hide(db, "clears", topic),) for topic in wanted]
            db.execute_many("INSERT OR IGNORE INTO clears (topic) VALUES (?)", rows)

        self._file.run(work, None)

    def emptied(self, topic: str) -> None:
        """The broker has acknowledged that `topic` is empty."""

        def work(db: Database) -> None:
            for table in ("clears", "retained"):
                db.execute(f"DELETE FROM {table} WHERE topic = ?", (_hide(db, table, topic),))

        self._file.run(work, None)

    def _topics(self, table: str) -> list[str]:
        nothing: list[str] = []
        return sorted(
            self._file.run(lambda db: db.read(table, lambda row: db.reveal(text(row[0]), table, "topic")), nothing)
        )


def _hide(db: Database, table: str, topic: str) -> str:
    """A topic may name a person. The same topic is always stored in the same way."""
    return db.hide_alike(topic, table, "topic")


class Notes:
    """Short texts that a later process needs."""

    def __init__(self, file: OptionalDatabase) -> None:
        self._file = file

    def get(self, name: str) -> str | None:
        """The text that `put` stored; None if there is none."""
        nothing: list[str] = []

        def work(db: Database) -> list[str]:
            where = "WHERE name = ?"
            return db.read("notes", lambda row: db.reveal(text(row[1]), "notes", "value"), where, (name,))

        found = self._file.run(work, nothing)
        return found[0] if found else None

    def put(self, name: str, value: str) -> None:
        sql = "INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)"
        self._file.run(lambda db: db.execute(sql, (name, db.hide(value, "notes", "value"))), 0)


class SignatureCounter:
    """Numbers that rise over all processes, for signatures. One write to the disk reserves 1,000 of them."""

    def __init__(self, file: OptionalDatabase) -> None:
        self._file = file
        self._last = self._end = 0

    def next(self) -> int:
        """A number that was never given before."""
        with self._file.lock:
            if self._last >= self._end:
                # Without a disk the wall clock still makes the numbers rise, unless it is set back.
                end = self._file.run(_reserve, 0) or max(self._end, time.time_ns() // 1_000) + _RESERVED
                self._last, self._end = max(self._end, end - _RESERVED), end
            self._last += 1
            return self._last


def _reserve(db: Database) -> int:
    """The end of a block of numbers. It begins at the wall clock, so that a file that was moved aside repeats none."""
    db.read("counters", counter)  # sets a value aside that no counter can have
    rows = db.rows(
        """INSERT INTO counters (name, value) VALUES ('signature', ?) ON CONFLICT (name)
        DO UPDATE SET value = max(value, excluded.value) + ? RETURNING value""",
        (time.time_ns() // 1_000, _RESERVED),
    )
    return int(rows[0][0])


def counter(row: Row) -> tuple[str, int]:
    """The name and the value of a row of `counters`. Raises ValueError if no counter can have this value."""
    name, value = row
    if not 0 <= value < MAX_COUNTER:
        raise ValueError(f"expected a value from 0 to {MAX_COUNTER}, got {value}")
    return text(name), int(value)
