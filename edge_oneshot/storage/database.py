"""One SQLite file: opening, versions, integrity, unreadable rows.

The gallery, the outbox, the journal and the door record each keep their rows in a `Database`. Only this folder imports
sqlite3. Each failure of the disk, the file or its permissions is a StorageError that names the disk (storage/disk.py).
"""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from edge_oneshot.errors import StorageError, UnusableFile
from edge_oneshot.storage import disk
from edge_oneshot.storage.faults import failed, storage_error
from edge_oneshot.storage.rows import ASIDE, Count, Row, Rows, Seal, Table, Value, fold, row_digest
from edge_oneshot.storage.schema import Schema, columns_of, foreign, missing, newest, run_step, tables_of

__all__ = ["IN_MEMORY", "Count", "Database", "Row", "Schema", "Seal", "Value", "text"]

log = logging.getLogger(__name__)

IN_MEMORY = Path(":memory:")  # the path of a database that ends with its connection
CACHE_KIB = 256  # of pages, for each connection; SQLite's default of 2 MB would keep whole files in memory as they grow
# What SQLite's check reports of a single row or of an index. Rows are checked when they are read, indexes are made again.
_ROW_FAULT = re.compile(r"(NULL|NUMERIC|TEXT|INT|INTEGER|REAL|BLOB|non-\w+) value in |CHECK constraint failed")
_INDEX_FAULT = re.compile(
    r"row \d+ missing from index|wrong # of entries in index|non-unique entry in index|row not in PRIMARY"
)


class Database(Rows):
    """One connection to one file, which is created (mode 0600) if it is absent.

    It belongs to the thread that opened it, unless `any_thread`; then the caller provides the lock.
    """

    def __init__(self, path: Path, schema: Schema, *, read_only: bool = False, any_thread: bool = False) -> None:
        """Raises StorageError: UnusableFile if the file is damaged, newer than this release, or not of this kind."""
        self.path, self.schema, self.kind, self.read_only = path, schema, schema.kind, read_only
        self.tables: dict[str, Table] = {}
        self._skipped: set[tuple[object, ...]] = set()
        self._any_thread = any_thread
        self._emptied = path != IN_MEMORY and disk.was_emptied(path)
        self.log_emptied = True  # no write-ahead log of an earlier process is left
        self._created = False
        try:
            self._open()
        except BaseException:
            if self._created:
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
            self._db.create_function("row_digest", -1, row_digest, deterministic=True)
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
                self._created = disk.create_private(self.path)
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
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite itself rolls back when the disk is full
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            raise

    def together(self) -> AbstractContextManager[None]:
        """As `transaction`, or nothing within one."""
        return contextlib.nullcontext() if self._db.in_transaction else self.transaction()

    def data_version(self) -> int:
        """A number that changes when another connection has committed.

        Raises StorageError if the file was moved, removed or replaced: what is written here would be lost.
        """
        if disk.identify(self.path) != self._file:
            raise StorageError(
                f"the {self.schema.kind} {self.path} was moved, removed or replaced while it was open",
                "restart the program; stop it first when you restore a file",
            )
        return int(self.rows("PRAGMA data_version")[0][0])

    def truncate_log(self, wait_s: float) -> bool:
        """Move the write-ahead log into the file and empty it. False: another connection still reads from it."""
        self.rows(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
        busy = bool(self.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0])
        self.rows(f"PRAGMA busy_timeout = {round(self.schema.busy_timeout_s * 1000)}")
        return not busy

    # ---- opening

    def _prepare_in_turn(self) -> None:
        """Prepare, and try again while other processes open the file: SQLite reports some of these locks without waiting."""
        end = time.monotonic() + self.schema.busy_timeout_s
        while True:
            try:
                return self._prepare()
            except sqlite3.OperationalError as e:
                if (e.sqlite_errorcode & 0xFF) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _prepare(self) -> None:
        schema, db = self.schema, self._db
        if not self.read_only and self.path != IN_MEMORY and disk.forbids_writing(self.path):
            raise self._damaged("its header forbids writing")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
        if not self.read_only:
            db.execute(f"PRAGMA journal_mode = {'WAL' if schema.wal else 'DELETE'}")
            db.execute(f"PRAGMA synchronous = {schema.synchronous}")
            db.execute("PRAGMA secure_delete = 1")
            db.execute("PRAGMA recursive_triggers = 1")  # so that REPLACE counts the row that it deletes
        self._require_own_kind()
        self._check()
        if not self.read_only:
            self._repair(foreign)
            self._migrate()
        self.tables = tables_of(db)
        if not self.read_only:
            if not self._complete():
                raise self._damaged("the tables are not those of its version")
            self._repair(missing)
            for table in self.tables.values():
                for statement in table.triggers() if table.sealed else ():
                    db.execute(statement)
        if self._emptied and not self.read_only:
            self._emptied = False
            self.note("file", f"{self.path} had 0 bytes: what it held is lost")
        self.verify()
        if not self.read_only and schema.wal:
            self.log_emptied = self.truncate_log(0.0)

    def _repair(self, needed: Callable[[sqlite3.Connection, Schema], list[str]]) -> None:
        """Run the statements that the file needs, if any."""
        if needed(self._db, self.schema):
            with self.transaction():  # another process may have run them while this one waited for the lock
                for statement in needed(self._db, self.schema):
                    log.warning("%s %s: another program has changed it; running %s", self.kind, self.path, statement)
                    self._db.execute(statement)

    def _require_own_kind(self) -> None:
        """Raises UnusableFile for a file of another program or of a later release."""
        schema, db = self.schema, self._db
        mark = int(self._pragma("application_id"))
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        if mark not in (0, schema.application_id) or (mark == 0 and tables and schema.table not in tables):
            raise UnusableFile(
                self._failed(
                    "open", f"expected a file of this program, got application_id {mark} and tables {tables[:5]}"
                ),
                "check device.state_dir",
                state="foreign",
            )
        version = int(self._pragma("user_version"))
        if version > len(schema.steps):
            raise UnusableFile(
                self._failed("open", f"expected schema version {len(schema.steps)} or less, got {version}"),
                "install the release that wrote it, or a newer one",
                state="newer",
            )

    def _complete(self) -> bool:
        """Whether the tables are those of the newest version."""
        found = tables_of(self._db)
        aside = found.get("set_aside")
        return columns_of(newest(self.schema)).items() <= columns_of(found).items() and (
            aside is None or aside.columns == ASIDE
        )

    def _check(self) -> None:
        """Check the whole file. An index that does not fit its table is made again. Raises UnusableFile."""
        problems = [str(row[0]).replace("\n", " ") for row in self._db.execute("PRAGMA integrity_check")]
        if not self.read_only and any(map(_INDEX_FAULT.search, problems)):
            with contextlib.suppress(sqlite3.IntegrityError):  # two rows have the same key
                self._db.execute("REINDEX")
                problems = [str(row[0]).replace("\n", " ") for row in self._db.execute("PRAGMA integrity_check")]
        for problem in problems:
            if problem != "ok" and not _ROW_FAULT.match(problem):
                raise self._damaged(problem)

    def _damaged(self, why: object) -> UnusableFile:
        return UnusableFile(self._failed("open", f"the file is damaged: {why}"), self.schema.damage_hint)

    def _migrate(self) -> None:
        """Bring the file to the newest version, each step in one transaction."""
        schema = self.schema
        if self._pragma("application_id") != schema.application_id:
            self._db.execute(f"PRAGMA application_id = {schema.application_id}")
        if (
            int(self._pragma("user_version")) < len(schema.steps) and self._complete()
        ):  # only the number in the header is wrong, or another process was faster
            self._db.execute(f"PRAGMA user_version = {len(schema.steps)}")
        for number, step in enumerate(schema.steps, start=1):
            if int(self._pragma("user_version")) >= number:
                continue
            with self.transaction():
                # Another process may have done this step while this one waited for the lock.
                if int(self._pragma("user_version")) >= number:
                    continue
                try:
                    run_step(self._db, step)
                except sqlite3.DatabaseError as e:
                    # a table is missing, or is there already; a column has another type
                    if e.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT):
                        raise
                    raise self._damaged(e) from e
                self._db.execute(f"PRAGMA user_version = {number}")

    def _pragma(self, name: str) -> Any:
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def _failed(self, doing: str, why: str) -> str:
        return failed(doing, self.schema, self.path, why)

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
