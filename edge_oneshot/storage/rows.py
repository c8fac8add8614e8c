"""The rows of a file: the checksum of each, and the rows that are set aside because they cannot be read.

A row carries the checksum of its columns in the column `digest`. Temporary triggers of each connection write it, so no
statement names it; a row that another program has written, or that was damaged, has another one or none.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from edge_oneshot.errors import StorageError

log = logging.getLogger(__name__)
T = TypeVar("T")

Row = tuple[Any, ...]
Value = None | int | float | str | bytes

DIGEST = "digest"
MAX_SET_ASIDE = 1000  # unreadable rows that a file keeps
# What reading a row may raise, whatever it holds.
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Seal:
    """A step of a schema: each row of `table` has a checksum from here on."""

    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """columns: without the checksum. key: the columns that identify a row. sealed: whether its rows have a checksum."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    sealed: bool

    def digest_of(self, row: str = "") -> str:
        """The SQL expression of a row's checksum. row: "NEW." in a trigger."""
        # As bytes: SQLite gives a function no text that is not UTF-8.
        values = [f"iif(typeof({c}) = 'text', CAST({c} AS BLOB), {c})" for c in (row + _name(c) for c in self.columns)]
        return f"row_digest({', '.join((_text(self.name), *values))})"

    def triggers(self) -> list[str]:
        """Statements that keep the checksums of this table for one connection."""
        same = " AND ".join(f"{_name(k)} = NEW.{_name(k)}" for k in self.key)
        columns = ", ".join(map(_name, self.columns))
        return [
            f"CREATE TEMP TRIGGER {_name(f'{self.name}_{event[:6]}')} AFTER {event} ON main.{_name(self.name)} BEGIN "
            f"UPDATE {_name(self.name)} SET {DIGEST} = {self.digest_of('NEW.')} WHERE {same}; END"
            for event in ("INSERT", f"UPDATE OF {columns}")
        ]


class Rows(ABC):
    """The rows of one connection; the base of Database, which provides the statements."""

    path: Path
    kind: str
    read_only: bool
    tables: dict[str, Table]
    _skipped: set[tuple[object, ...]]  # unreadable rows of a file that cannot be written

    @abstractmethod
    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]: ...

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Value] = ()) -> int: ...

    @abstractmethod
    def together(self) -> AbstractContextManager[None]: ...

    def read(self, table: str, parse: Callable[[Row], T], clause: str = "", values: Sequence[Value] = ()) -> list[T]:
        """`parse` of each row, given all columns in the order of the table. clause: WHERE, ORDER BY, LIMIT.

        A row with a wrong checksum, or that `parse` refuses (one of UNREADABLE), is set aside and is not in the result.
        """
        about = self.tables[table]
        columns = [*about.columns, *about.key, *([DIGEST] if about.sealed else [])]
        found, width = [], len(about.columns)
        for row in self.rows(f"SELECT {', '.join(map(_name, columns))} FROM {_name(table)} {clause}", values):
            content, key = row[:width], row[width : width + len(about.key)]
            try:
                if about.sealed and row[-1] != row_digest(table, *content):
                    raise ValueError("its checksum is wrong: it is damaged, or another program has written it")
                found.append(parse(content))
            except UNREADABLE as e:
                self.set_aside(table, key, f"{type(e).__name__}: {e}"[:500])
        return found

    def verify(self) -> None:
        """Set aside every row whose checksum is wrong."""
        for name, table in self.tables.items():
            if table.sealed:
                self.read(name, lambda row: None)

    # ---- rows that cannot be read

    def set_aside(self, table: str, key: Sequence[Any], reason: str) -> None:
        """Move one row to the table `set_aside`, as the SQL literals of its columns.

        key: as Table.key. If the file cannot be written, the row stays where it is, and only this connection counts it.
        """
        skipped, done = (table, *key), "set aside"
        if skipped in self._skipped:
            return
        try:
            if self.read_only:
                raise StorageError("the file is opened read-only")
            with self.together():
                moved = self._move(self.tables[table], key, reason)
        except StorageError as e:
            self._skipped.add(skipped)
            moved, done = 1, f"skipped ({e.message})"
        if moved:
            log.error(
                "%s %s: row %s of the table %s cannot be read and is %s: %s",
                *(self.kind, self.path, ", ".join(map(str, key)), table, done, reason),
            )

    def _move(self, about: Table, key: Sequence[Any], reason: str) -> int:
        self.execute(
            "CREATE TABLE IF NOT EXISTS set_aside (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, "
            "content TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL) STRICT"
        )
        content = " || ', ' || ".join(f"quote({_name(column)})" for column in about.columns)
        # A text that is not UTF-8 was read as bytes.
        same = " AND ".join(f"{_name(k)} = CAST(? AS TEXT)" if isinstance(v, bytes) else f"{_name(k)} = ?"
                            for k, v in zip(about.key, key, strict=True))  # fmt: skip
        moved = self.execute(
            f"INSERT INTO set_aside (source, content, reason, at) SELECT ?, {content}, ?, ? "
            f"FROM {_name(about.name)} WHERE {same}",
            (about.name, reason, datetime.now(UTC).isoformat(timespec="seconds"), *key),
        )
        self.execute(f"DELETE FROM {_name(about.name)} WHERE {same}", tuple(key))
        self.execute("DELETE FROM set_aside WHERE id <= (SELECT max(id) FROM set_aside) - ?", (MAX_SET_ASIDE,))
        return moved

    def count_set_aside(self) -> int:
        """The rows that are set aside, and those that this connection skips."""
        stored = int(self.rows("SELECT count(*) FROM set_aside")[0][0]) if self._has_set_aside() else 0
        return stored + len(self._skipped)

    def delete_set_aside(self, keep: Callable[[str], bool] = lambda content: False) -> None:
        """Delete the rows that are set aside. keep: whether one of this content, as it was stored, stays."""
        if not self._has_set_aside():
            return
        for number, content in self.rows("SELECT id, content FROM set_aside"):
            if not keep(content if isinstance(content, str) else content.decode(errors="replace")):
                self.execute("DELETE FROM set_aside WHERE id = ?", (number,))

    def _has_set_aside(self) -> bool:
        return bool(self.rows("SELECT 1 FROM sqlite_schema WHERE name = 'set_aside'"))


def row_digest(*values: object) -> bytes:
    """Checksum of the values of a row, types included: BLAKE2b, 8 bytes. It finds accidents, and rows of other programs."""
    digest = hashlib.blake2b(digest_size=8)
    for value in values:
        if isinstance(value, float):
            kind, data = "f", struct.pack("<d", value)
        elif isinstance(value, bytes):
            kind, data = "b", value
        elif isinstance(value, str):
            kind, data = "b", value.encode()
        else:
            kind, data = "i", repr(value).encode()
        digest.update(f"{kind}{len(data)}:".encode() + data)
    return digest.digest()


def _name(name: str) -> str:
    return name if name == "rowid" else '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
