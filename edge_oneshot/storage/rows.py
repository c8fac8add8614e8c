"""The rows of a file: the checksum of each, how many there are, and the rows that are set aside because they cannot be read.

A row carries the checksum of its columns in the column `digest`, and the table `row_counts` keeps the number of rows.
Temporary triggers of each connection write both, so no statement names them. A row that another program has written, or that
was damaged, has another checksum or none; rows that another program has deleted, or that damage has hidden, are missing in
the count.
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

DIGEST, COUNTS = "digest", "row_counts"
ASIDE = ("id", "source", "content", "reason", "at")  # the columns of `set_aside`
MAX_SET_ASIDE = 1000  # unreadable rows that a file keeps
# What reading a row may raise, whatever it holds.
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Checksum:
    """A step of a schema: each row of `table` has a checksum from here on."""

    table: str


@dataclass(frozen=True, slots=True)
class Count:
    """A step of a schema: the rows of `table`, which has checksums, are counted from here on."""

    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """columns: without the checksum. types: of all columns. key: the columns that identify a row.

    checked: whether its rows have a checksum, and are counted.
    """

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[str, ...]
    checked: bool

    def digest_of(self, row: str = "") -> str:
        """The SQL expression of a row's checksum. row: "NEW." in a trigger."""
        # As bytes: SQLite gives a function no text that is not UTF-8.
        values = [
            f"iif(typeof({c}) = 'text', CAST({c} AS BLOB), {c})" for c in (row + sql_name(c) for c in self.columns)
        ]
        return f"row_digest({', '.join((_text(self.name), *values))})"

    def triggers(self) -> list[str]:
        """Statements that keep the checksums and the count of this table for one connection."""
        same = " AND ".join(f"{sql_name(k)} = NEW.{sql_name(k)}" for k in self.key)
        columns = ", ".join(map(sql_name, self.columns))
        seal = f"UPDATE {sql_name(self.name)} SET {DIGEST} = {self.digest_of('NEW.')} WHERE {same}"
        more, less = (
            f"UPDATE {COUNTS} SET rows = rows {by} 1, seal = row_digest('{COUNTS}', name, rows {by} 1) "
            f"WHERE name = {_text(self.name)}"
            for by in "+-"
        )
        events = (("INSERT", f"{seal}; {more}"), (f"UPDATE OF {columns}", seal), ("DELETE", less))
        return [
            f"CREATE TEMP TRIGGER IF NOT EXISTS {sql_name(f'{self.name}_{event[:6]}')} "
            f"AFTER {event} ON main.{sql_name(self.name)} BEGIN {work}; END"
            for event, work in events
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

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]: ...

    @abstractmethod
    def digest(self, *values: object) -> bytes: ...

    @abstractmethod
    def hide(self, text: str, *about: str) -> str: ...

    def read(
        self,
        table: str,
        parse: Callable[[Row], T],
        clause: str = "",
        values: Sequence[Value] = (),
        *,
        proven: bool = False,
    ) -> list[T]:
        """`parse` of each row, given all columns in the order of the table. clause: WHERE, ORDER BY, LIMIT.

        A row with a wrong checksum, or that `parse` refuses (one of UNREADABLE), is set aside and is not in the result.
        proven: `parse` itself refuses a row that was changed, so the checksum is not computed.
        """
        about = self.tables[table]
        columns = [*about.columns, *about.key, *([DIGEST] if about.checked else [])]
        found, width = [], len(about.columns)
        for row in self.rows(f"SELECT {', '.join(map(sql_name, columns))} FROM {sql_name(table)} {clause}", values):
            content, key = row[:width], row[width : width + len(about.key)]
            try:
                if about.checked and not proven and row[-1] != self.digest(table, *content):
                    raise ValueError("its checksum is wrong: it is damaged, or another program has written it")
                found.append(parse(content))
            except UNREADABLE as e:
                self.set_aside(table, key, f"{type(e).__name__}: {e}"[:500])
        return found

    def count(self, table: str) -> int:
        """The rows of a table that counts them, without reading them. A file that counts none yet counts as empty."""
        found = self.rows(f"SELECT rows FROM {COUNTS} WHERE name = ?", (table,))
        return int(found[0][0]) if found else 0

    def verify(self) -> None:
        """Set aside every row whose checksum is wrong, and note that rows are missing."""
        for name, table in self.tables.items():
            if table.checked:
                expected, got = self._counts(name)
                before = self.count_set_aside()
                self.read(name, lambda row: None)
                # Rows that another program has added were not counted, and have just been set aside.
                added = expected is not None and expected < got <= expected + self.count_set_aside() - before
                if expected != got:
                    self._correct_count(
                        name, "" if added else f"expected {expected} rows in the table {name}, got {got}"
                    )

    def _counts(self, table: str) -> tuple[int | None, int]:
        """How many rows the file should have, None if it does not say, and how many it has."""
        sealed = f"SELECT rows FROM {COUNTS} WHERE name = ? AND seal = row_digest('{COUNTS}', name, rows)"
        ((expected, got),) = self.rows(f"SELECT ({sealed}), count(*) FROM {sql_name(table)}", (table,))
        return expected, got

    def _correct_count(self, table: str, note: str) -> None:
        """Count again. note: what is noted among the rows that are set aside; "" for nothing."""
        if note:
            log.error("%s %s: %s: it is damaged, or another program has changed it", self.kind, self.path, note)
        if self.read_only:
            self._skipped |= {(table, COUNTS)} if note else set()
            return
        with self.together():
            if note:
                self.note(table, note)
            self.execute(count_again(table))

    # ---- rows that cannot be read, or are missing

    def note(self, source: str, reason: str) -> None:
        """Count something that was lost, of which there is no row, among those that are set aside."""
        self._make_set_aside()
        self.execute(
            "INSERT INTO set_aside (source, content, reason, at) VALUES (?, '', ?, ?)", (source, reason, _now())
        )

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
        self._make_set_aside()
        content = " || ', ' || ".join(f"quote({sql_name(column)})" for column in about.columns)
        # A text that is not UTF-8 was read as bytes.
        same = " AND ".join(f"{sql_name(k)} = CAST(? AS TEXT)" if isinstance(v, bytes) else f"{sql_name(k)} = ?"
                            for k, v in zip(about.key, key, strict=True))  # fmt: skip
        moved = self.execute(
            f"INSERT INTO set_aside (source, content, reason, at) SELECT ?, {content}, ?, ? "
            f"FROM {sql_name(about.name)} WHERE {same}",
            (about.name, self.hide(reason, "set_aside", "reason"), _now(), *key),
        )
        self.execute(f"DELETE FROM {sql_name(about.name)} WHERE {same}", tuple(key))
        self.execute("DELETE FROM set_aside WHERE id <= (SELECT max(id) FROM set_aside) - ?", (MAX_SET_ASIDE,))
        return moved

    def count_set_aside(self) -> int:
        """The rows that are set aside, and those that this connection skips."""
        stored = int(self.rows("SELECT count(*) FROM set_aside")[0][0]) if self._has_set_aside() else 0
        return stored + len(self._skipped)

    def contents_set_aside(self, source: str | None = None) -> list[str]:
        """The rows that are set aside, as SQL literals. source: those of one table."""
        found = self.rows("SELECT source, content FROM set_aside") if self._has_set_aside() else []
        return [_text_of(content) for table, content in found if source in (None, table)]

    def delete_set_aside(self, keep: Callable[[str, str], bool] = lambda source, content: False) -> None:
        """Delete the rows that are set aside. keep: whether one of this table and content, as it was stored, stays."""
        if not self._has_set_aside():
            return
        for number, source, content in self.rows("SELECT id, source, content FROM set_aside"):
            if not keep(_text_of(source), _text_of(content)):
                self.execute("DELETE FROM set_aside WHERE id = ?", (number,))

    def _make_set_aside(self) -> None:
        self.execute(
            "CREATE TABLE IF NOT EXISTS set_aside (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, "
            "content TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL) STRICT"
        )

    def _has_set_aside(self) -> bool:
        return bool(self.rows("SELECT 1 FROM sqlite_schema WHERE name = 'set_aside'"))


def count_again(table: str) -> str:
    """The statement that stores how many rows the table has, with a checksum of the number itself."""
    return (
        f"INSERT OR REPLACE INTO {COUNTS} (name, rows, seal) SELECT name, n, row_digest('{COUNTS}', name, n) "
        f"FROM (SELECT {_text(table)} AS name, count(*) AS n FROM {sql_name(table)})"
    )


def fold(text: bytes) -> str:
    """SQL function: a text, given as a BLOB, folded like str.casefold."""
    return text.decode(errors="replace").casefold()


def row_digest(*values: object, key: bytes = b"") -> bytes:
    """Checksum of the values of a row, types included: BLAKE2b, 8 bytes. It finds accidents, and rows of other programs.

    key: of a sealed file; then it is a message authentication code of 16 bytes (RFC 7693, keyed).
    """
    digest = hashlib.blake2b(key=key, digest_size=16 if key else 8)
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def sql_name(name: str) -> str:
    return name if name == "rowid" else '"' + name.replace('"', '""') + '"'


def _text_of(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else stored.decode(errors="replace")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
