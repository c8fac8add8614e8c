"""A SQLite file that the daemon can work without: the outbox and the journal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from edge_oneshot.errors import StorageError, UnusableFile
from edge_oneshot.storage import disk
from edge_oneshot.storage.database import Database, Row, Schema, Value
from edge_oneshot.storage.keys import NO_KEYS, Keys

log = logging.getLogger(__name__)
T = TypeVar("T")

_SIDES = ("-wal", "-shm", "-journal")
STATES = ("damaged", "newer", "foreign", "sealed", "plain")  # UnusableFile.state of what is moved aside
KEPT_ASIDE = 3  # files that are moved aside from one path and kept


class OptionalDatabase:
    """A database that the daemon can work without. Safe to use from several threads.

    A failure is logged once and kept in `fault`. A file that is damaged, newer, or sealed with
    another key is moved aside, and a new one is begun.
    """

    def __init__(self, path: Path, schema: Schema, consequence: str, keys: Keys = NO_KEYS) -> None:
        """consequence: what a failure means, for the log. keys: as in Database. The file is opened by the first `run`."""
        self.path, self.lock, self.fault, self.closed = path, threading.RLock(), "", False
        self._schema, self._consequence, self._keys = schema, consequence, keys
        self._db: Database | None = None

    def require_permission(self) -> None:
        """Raises StorageError if this user may not write the file. Any other failure is left to `run`."""
        try:
            disk.create_private(self.path)
        except PermissionError as e:
            reason = disk.explain(e.errno or 0, str(e.strerror), self.path, self._schema.kind)
            raise StorageError(f"cannot open the {self._schema.kind} {self.path}: {reason.why}", reason.hint) from None
        except OSError:
            pass

    def run(self, work: Callable[[Database], T], otherwise: T) -> T:
        """The result of `work` in one transaction, or `otherwise` if the file cannot be used."""

        def together(db: Database) -> T:
            with db.transaction():
                return work(db)

        return self.run_alone(together, otherwise)

    def run_alone(self, work: Callable[[Database], T], otherwise: T) -> T:
        """The same without a transaction."""
        with self.lock:
            if self.closed:
                return otherwise
            try:
                return self._run(work)
            except StorageError as e:
                if not self.fault:
                    log.error("%s; %s", e, self._consequence)
                self.fault = str(e)
                return otherwise

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """All rows of a query; none if the file cannot be used."""
        nothing: list[Row] = []
        return self.run(lambda db: db.rows(sql, values), nothing)

    def written(self) -> None:
        """A write has reached the disk, so an earlier fault is over. Reading proves nothing: a full disk can be read."""
        if self.fault:
            log.warning("the %s %s can be written again", self._schema.kind, self.path)
            self.fault = ""

    def close(self) -> None:
        """Close the file; every later `run` gives `otherwise`."""
        with self.lock:
            self.closed = True
            self._disconnect()

    def _run(self, work: Callable[[Database], T]) -> T:
        for attempt in (1, 2):
            try:
                if self._db is None:
                    self._db = Database(self.path, self._schema, any_thread=True, keys=self._keys)
                return work(self._db)
            except UnusableFile as e:
                self._disconnect()
                if attempt == 2 or e.state == "key":  # the key may come back
                    raise
                try:
                    aside = move_aside(self.path, e.state)
                except OSError as failed:
                    raise StorageError(f"{e.message}; it cannot be moved aside: {failed}", e.hint) from e
                log.error("%s; moved aside to %s, and an empty %s is begun", e.message, aside.name, self._schema.kind)
        raise AssertionError("unreachable")

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def move_aside(path: Path, state: str) -> Path:
    """Rename a file and its side files to `<name>.<state>-<time>`. Raises OSError."""
    aside = path.with_name(f"{path.name}.{state}-{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%f')}")
    for old in moved_aside(path)[: -KEPT_ASIDE + 1 or None]:
        delete(old)
    for suffix in (*_SIDES, ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(aside.with_name(aside.name + suffix))
    return aside


def moved_aside(path: Path) -> list[Path]:
    """The files that were moved aside from `path`, the oldest first, each with its side files."""
    found = [p for state in STATES for p in path.parent.glob(f"{path.name}.{state}-*")]
    return sorted((p for p in found if not p.name.endswith(_SIDES)), key=lambda p: p.name.rpartition("-")[2])


def delete(path: Path) -> None:
    """Delete a file that was moved aside, and its side files. A failure is logged."""
    for suffix in (*_SIDES, ""):
        try:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        except OSError as e:
            log.warning("cannot delete %s, which may name a person who was removed: %s", path, e.strerror)


def delete_moved_aside(path: Path) -> None:
    """No person can be removed from a damaged file, so the whole file is deleted."""
    for aside in moved_aside(path):
        delete(aside)
