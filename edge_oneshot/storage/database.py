"""One SQLite file: opening, versions, integrity, unreadable rows.

The gallery, the outbox, the journal and the door record each keep their rows in a `Database`. Only this folder imports
sqlite3. Each failure of the disk, the file or its permissions is a StorageError that names the disk (storage/disk.py).
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from edge_oneshot.errors import StorageError
from edge_oneshot.storage import disk
from edge_oneshot.storage.faults import storage_error
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.storage.opening import Opening
from edge_oneshot.storage.rows import Checksum, Count, Row, Table, Value, fold
from edge_oneshot.storage.schema import Schema

__all__ = ["IN_MEMORY", "Checksum", "Count", "Database", "Row", "Schema", "Value", "text"]

log = logging.getLogger(__name__)

IN_MEMORY = Path(":memory:")  # the path of a database that ends with its connection


class Database(Opening):
    """One connection to one file, which is created (mode 0600) if it is absent.

    It belongs to the thread that opened it, unless `any_thread`; then the caller provides the lock.
    """

    def __init__(
        self, path: Path, schema: Schema, *, read_only: bool = False, any_thread: bool = False, keys: Keys = NO_KEYS
    ) -> None:
        """keys: opens a sealed file; a new file is sealed if there is a current key.

        Raises StorageError: UnusableFile if the file is damaged, newer than this release, not of this kind, or sealed with
        another key.
        """
        self.path, self.schema, self.kind, self.read_only = path, schema, schema.kind, read_only
        self.tables: dict[str, Table] = {}
        self._skipped: set[tuple[object, ...]] = set()
        self._any_thread, self._keys, self._seen = any_thread, keys, -1
        self._emptied = path != IN_MEMORY and disk.was_emptied(path)
        self.log_emptied = True  # no write-ahead log of an earlier process is left
        self.created = False  # the file was absent
        try:
            self._open()
        except BaseException:
            if self.created:
                disk.remove_empty(path)  # or it would look like a file that was emptied
            raise

    def _open(self) -> None:
        path = self.path
        try:
            self._db = self._connect()
        except (OSError, sqlite3.Error) as e:
            raise self._error("open", e) from e
        try:
            self._file = disk.identify(path)
            self._db.text_factory = _decode
            self._db.create_function("row_digest", -1, self.digest, deterministic=True)
            self._db.create_function("fold", 1, fold, deterministic=True)
            self._prepare_in_turn()
        except UnicodeDecodeError as e:  # SQLite's message quotes a damaged schema
            self._db.close()
            raise self._damaged(f"its schema is not UTF-8 ({e.reason})") from e
        except (OSError, sqlite3.Error) as e:
            self._db.close()
            raise self._error("open", e) from e
        except BaseException:
            self._db.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        uri = ":memory:"
        if self.path != IN_MEMORY:
            uri = f"{self.path.absolute().as_uri()}?mode={'ro' if self.read_only else 'rw'}"
            if not self.read_only:
                self.created = disk.create_private(self.path)
        return sqlite3.connect(
            uri,
            uri=True,
            timeout=self.schema.busy_timeout_s,
            isolation_level=None,
            check_same_thread=not self._any_thread,
        )

    def close(self) -> None:
        self._db.close()

    # ---- reading and writing; each raises StorageError

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """All rows of a query. A text that is not UTF-8 comes as bytes: check it with `text`."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as e:
            raise self._error("read", e) from e

    def execute(self, sql: str, values: Sequence[Value] = ()) -> int:
        """One statement; the number of rows that it changed."""
        try:
            return self._db.execute(sql, values).rowcount
        except sqlite3.Error as e:
            raise self._error("write", e) from e

    def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """One statement for each of `rows`."""
        try:
            self._db.executemany(sql, rows)
        except sqlite3.Error as e:
            raise self._error("write", e) from e

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything in the `with` block is stored together, or not at all if it raises."""
        self.execute("BEGIN IMMEDIATE")
        try:
            if self.whole and self._seen >= 0:
                self._check_changes()  # or this transaction would seal what another program has done
            before = self._db.total_changes
            yield
            if self.whole and self._db.total_changes != before:
                self.write_seal()
            self.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite itself rolls back when the disk is full
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            raise

    def together(self) -> AbstractContextManager[None]:
        """As `transaction`, or nothing within one."""
        return contextlib.nullcontext() if self._db.in_transaction else self.transaction()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Every reading in the `with` block sees the same state of the file."""
        if self._db.in_transaction:
            yield
            return
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self._db.in_transaction:
                self.execute("COMMIT")

    def data_version(self) -> int:
        """A number that changes when another connection has committed; the seal is then checked.

        Raises StorageError if the file was moved, removed or replaced: what is written here would be lost.
        """
        if disk.identify(self.path) != self._file:
            raise StorageError(
                f"the {self.schema.kind} {self.path} was moved, removed or replaced while it was open",
                "restart the program; stop it first when you restore a file",
            )
        return self._check_changes()

    def _check_changes(self) -> int:
        version = int(self.rows("PRAGMA data_version")[0][0])
        if version != self._seen:
            self._seen = version
            self.check_seal()
        return version

    def truncate_log(self, wait_s: float) -> bool:
        """Move the write-ahead log into the file and empty it. False: another connection still reads from it."""
        self.rows(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
        busy = bool(self.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0])
        self.rows(f"PRAGMA busy_timeout = {round(self.schema.busy_timeout_s * 1000)}")
        return not busy

    def _error(self, doing: str, error: OSError | sqlite3.Error) -> StorageError:
        return storage_error(error, doing, self.schema, self.path)


def text(value: object) -> str:
    """`value` of a TEXT column. Raises ValueError if it is not valid UTF-8, or no text at all."""
    if not isinstance(value, str):
        raise ValueError(f"expected UTF-8 text, got {value!r}"[:100])
    return value


def _decode(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
