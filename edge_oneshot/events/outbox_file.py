"""The outbox's SQLite file: open, migrate, notice damage and move it aside. What is stored is outbox.py's business."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from edge_oneshot.errors import EdgeOneshotError

log = logging.getLogger(__name__)
T = TypeVar("T")

# Ordered; the file's user_version says how many of them it has had. Append, never edit.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, event_type TEXT NOT NULL, ts_us INTEGER NOT NULL,
            captured_ns INTEGER NOT NULL, boot_id TEXT NOT NULL, captured_boottime_ns INTEGER NOT NULL,
            clock_synced INTEGER NOT NULL, body TEXT NOT NULL) STRICT""",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE TABLE clears (topic TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    ),
    (
        "CREATE TABLE retained (topic TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
        "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    ),
    # What was captured just now is found without a walk through a long backlog.
    ("CREATE INDEX events_by_capture ON events (boot_id, captured_boottime_ns)",),
)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DiskFault(Exception):
    """The disk or the file did not do what was asked. The text is for people."""


class OutboxFile:
    """One connection to one file. Not thread-safe: the outbox holds its lock around every call."""

    def __init__(self, path: Path) -> None:
        """Raises EdgeOneshotError if the folder or the file is not writable for this user."""
        self.path = path
        self._db: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite would make it 0644
        except PermissionError as e:
            hint = "give the daemon's user this folder, or set device.state_dir"
            raise EdgeOneshotError(
                f"outbox {path}: expected a file that can be written, got: {e.strerror}", hint
            ) from None
        except OSError:
            pass  # a full disk, say: run() meets it again and reports it, and the daemon goes on

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in one transaction. Raises DiskFault; a damaged file is moved aside and `work` done on a new one."""
        for attempt in (1, 2):
            try:
                if self._db is None:
                    self._db = self._open()
                self._db.execute("BEGIN IMMEDIATE")
                result = work(self._db)
                self._db.execute("COMMIT")
                return result
            except sqlite3.Error as e:
                damaged = getattr(e, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
                self._roll_back()
                if not damaged or attempt == 2:
                    raise DiskFault(f"{self.path}: {e}") from e
                self._move_aside("damaged", str(e))
            except OSError as e:
                raise DiskFault(f"{self.path}: {e.strerror}") from e
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _roll_back(self) -> None:
        if self._db is not None and self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                self.close()

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path, isolation_level=None, timeout=5.0, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version > len(MIGRATIONS):
                db.close()
                self._move_aside("newer", f"its version is {version}, this program knows {len(MIGRATIONS)}")
                return self._open()
            problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                db.close()
                self._move_aside("damaged", str(problem).replace("\n", " "))
                return self._open()
            for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
                db.execute("BEGIN IMMEDIATE")
                for statement in statements:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version={number}")
                db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def _move_aside(self, word: str, why: str) -> None:
        """Keep the file for a person to look at, and make room for a new one."""
        self.close()
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        aside = self.path.with_name(f"{self.path.name}.{word}-{stamp}")
        for suffix in ("-wal", "-shm", ""):
            source = self.path.with_name(self.path.name + suffix)
            if source.exists():
                source.rename(aside.with_name(aside.name + suffix))
        log.error(
            "outbox %s is %s (%s): moved aside to %s; going on with an empty one", self.path, word, why, aside.name
        )
