"""One SQLite file: opening, versions, integrity, unreadable rows.

The gallery, the outbox and the journal each keep their rows in a `Database`. This is the only module that imports
sqlite3. Each failure of the disk, the file or its permissions is a StorageError that names the disk (storage/disk.py).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_oneshot.errors import StorageError, UnusableFile
from edge_oneshot.storage import disk

log = logging.getLogger(__name__)

Row = tuple[Any, ...]
Value = None | int | float | str | bytes

IN_MEMORY = Path(":memory:")  # the path of a database that ends with its connection
MAX_SET_ASIDE = 1000  # unreadable rows that a file keeps
# What an error code of SQLite means as a system error.
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_AUTH: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """One kind of file.

    kind: its name in messages. application_id: its mark in the file's header. table: a table that each version has; a
    file without a mark is of this kind if it has this table. steps: statements that lead from one version to the next;
    `user_version` counts the steps that a file has had. Never edit a released step, append one. damage_hint: what to do
    about a file that was shown to be damaged. wal, synchronous, secure_delete, foreign_keys: as SQLite's pragmas.
    """

    kind: str
    application_id: int
    table: str
    steps: tuple[tuple[str, ...], ...]
    damage_hint: str
    busy_timeout_s: float
    wal: bool = True
    synchronous: str = "FULL"
    secure_delete: bool = False
    foreign_keys: bool = False


class Database:
    """One connection to one file, which is created (mode 0600) if it is absent.

    It belongs to the thread that opened it, unless `any_thread`; then the caller provides the lock.
    """

    def __init__(self, path: Path, schema: Schema, *, read_only: bool = False, any_thread: bool = False) -> None:
        """Raises StorageError: UnusableFile if the file is damaged, newer than this release, or not of this kind."""
        self.path, self.schema = path, schema
        try:
            uri = ":memory:"
            if path != IN_MEMORY:
                uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
                if not read_only:
                    disk.create_private(path)
            self._db = sqlite3.connect(
                uri, uri=True, timeout=schema.busy_timeout_s, isolation_level=None, check_same_thread=not any_thread
            )
        except (OSError, sqlite3.Error) as e:
            raise self._error("open", e) from e
        try:
            self._file = _identify(path)
            self._db.text_factory = _decode
            self._prepare_in_turn(read_only)
        except (OSError, sqlite3.Error) as e:
            self._db.close()
            raise self._error("open", e) from e
        except BaseException:
            self._db.close()
            raise

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

    def data_version(self) -> int:
        """A number that changes when another connection has committed.

        Raises StorageError if the file was moved, removed or replaced: what is written here would be lost.
        """
        if _identify(self.path) != self._file:
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

    # ---- rows that cannot be read

    def set_aside(self, table: str, rowid: int, reason: str) -> None:
        """Move one row to the table `set_aside`, as the SQL literals of its columns. To be called in a transaction."""
        self.execute(
            "CREATE TABLE IF NOT EXISTS set_aside (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, "
            "content TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL) STRICT"
        )
        content = " || ', ' || ".join(f'quote("{row[1]}")' for row in self.rows(f'PRAGMA table_info("{table}")'))
        moved = self.execute(
            f'INSERT INTO set_aside (source, content, reason, at) SELECT ?, {content}, ?, ? FROM "{table}" WHERE rowid = ?',
            (table, reason, datetime.now(UTC).isoformat(timespec="seconds"), rowid),
        )
        self.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (rowid,))
        self.execute("DELETE FROM set_aside WHERE id <= (SELECT max(id) FROM set_aside) - ?", (MAX_SET_ASIDE,))
        if not moved:
            return
        log.error(
            "%s %s: row %d of the table %s cannot be read and is set aside: %s",
            self.schema.kind,
            self.path,
            rowid,
            table,
            reason,
        )

    def count_set_aside(self) -> int:
        """The rows that are set aside."""
        return int(self.rows("SELECT count(*) FROM set_aside")[0][0]) if self._has_set_aside() else 0

    def delete_set_aside(self) -> None:
        """Delete the rows that are set aside."""
        if self._has_set_aside():
            self.execute("DELETE FROM set_aside")

    def _has_set_aside(self) -> bool:
        return bool(self.rows("SELECT 1 FROM sqlite_schema WHERE name = 'set_aside'"))

    # ---- opening

    def _prepare_in_turn(self, read_only: bool) -> None:
        """Prepare, and try again while other processes open the file: SQLite reports some of these locks without waiting."""
        end = time.monotonic() + self.schema.busy_timeout_s
        while True:
            try:
                return self._prepare(read_only)
            except sqlite3.OperationalError as e:
                if (e.sqlite_errorcode & 0xFF) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _prepare(self, read_only: bool) -> None:
        schema, db = self.schema, self._db
        if not read_only:
            db.execute(f"PRAGMA journal_mode = {'WAL' if schema.wal else 'DELETE'}")
            db.execute(f"PRAGMA synchronous = {schema.synchronous}")
            db.execute(f"PRAGMA secure_delete = {int(schema.secure_delete)}")
            db.execute(f"PRAGMA foreign_keys = {int(schema.foreign_keys)}")
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
        problem = str(self._pragma("quick_check(1)")).replace("\n", " ")
        if problem != "ok":
            raise UnusableFile(self._failed("open", f"the file is damaged: {problem}"), schema.damage_hint)
        if not read_only:
            self._migrate()

    def _migrate(self) -> None:
        """Bring the file to the newest version, each step in one transaction."""
        schema = self.schema
        if self._pragma("application_id") != schema.application_id:
            self._db.execute(f"PRAGMA application_id = {schema.application_id}")
        for number, statements in enumerate(schema.steps, start=1):
            if int(self._pragma("user_version")) >= number:
                continue
            with self.transaction():
                # Another process may have done this step while this one waited for the lock.
                if int(self._pragma("user_version")) >= number:
                    continue
                for statement in statements:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")

    def _pragma(self, name: str) -> Any:
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def _failed(self, doing: str, why: str) -> str:
        return f"cannot {doing} the {self.schema.kind} {self.path}: {why}"

    def _error(self, doing: str, error: OSError | sqlite3.Error) -> StorageError:
        """The StorageError that explains `error`."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return UnusableFile(self._failed(doing, f"the file is damaged: {error}"), self.schema.damage_hint)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            why = f"another process has locked it for {self.schema.busy_timeout_s:g} s"
            return StorageError(
                self._failed(doing, why), f"`fuser {self.path}` names the process; end it, or try again"
            )
        if isinstance(error, sqlite3.ProgrammingError):
            return StorageError(self._failed(doing, str(error)), "this is a mistake of the calling program")
        if code == sqlite3.SQLITE_ERROR:  # a table is missing, for instance
            return StorageError(self._failed(doing, str(error)), self.schema.damage_hint)
        number = (error.errno or 0) if isinstance(error, OSError) else _ERRNO.get(code, 0)
        message = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        why, hint = disk.explain(number, message, self.path, self.schema.kind)
        return StorageError(self._failed(doing, why), hint)


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


def _identify(path: Path) -> tuple[int, int] | None:
    """Which file is at `path`; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
