"""One kind of file: its tables, as ordered steps from one version to the next, and how SQLite keeps it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache

from edge_oneshot.storage.rows import COUNTS, DIGEST, Checksum, Count, Table, count_again, row_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """One kind of file.

    kind: its name in messages. application_id: its mark in the file's header. table: a table that each version has; a
    file without a mark is of this kind if it has this table. steps: statements that lead from one version to the next;
    `user_version` counts the steps that a file has had. Never edit a released step, append one. damage_hint: what to do
    about a file that was shown to be damaged. wal, synchronous: as SQLite's pragmas. Deleted bytes are overwritten.
    whole: whether a sealed file of this kind authenticates all of its rows together (storage/sealed.py).
    private: (table, column) of what `Database.hide` has written, so that the file can be given another key.
    """

    kind: str
    application_id: int
    table: str
    steps: tuple[tuple[str | Checksum | Count, ...], ...]
    damage_hint: str
    busy_timeout_s: float
    wal: bool = True
    synchronous: str = "FULL"
    whole: bool = False
    private: tuple[tuple[str, str], ...] = ()


def run_step(db: sqlite3.Connection, step: Sequence[str | Checksum | Count]) -> None:
    for statement in step:
        if isinstance(statement, str):
            db.execute(statement)
        elif isinstance(statement, Checksum):
            db.execute(f'ALTER TABLE "{statement.table}" ADD COLUMN {DIGEST} BLOB')
            db.execute(f'UPDATE "{statement.table}" SET {DIGEST} = {tables_of(db)[statement.table].digest_of()}')
        else:
            columns = "name TEXT PRIMARY KEY, rows INTEGER NOT NULL, seal BLOB NOT NULL"
            db.execute(f"CREATE TABLE IF NOT EXISTS {COUNTS} ({columns}) STRICT, WITHOUT ROWID")
            db.execute(count_again(statement.table))


def tables_of(db: sqlite3.Connection) -> dict[str, Table]:
    """The tables of a file."""
    found = {}
    listed = (
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    for name, without_rowid in db.execute(listed).fetchall():
        about = db.execute("SELECT name, pk, type FROM pragma_table_info(?)", (name,)).fetchall()
        columns = [column for column, _, _ in about]
        if not all(isinstance(word, str) for word in (name, *columns)):
            continue  # not UTF-8: no table of any version
        found[name] = Table(
            name=name,
            columns=tuple(c for c in columns if c != DIGEST),
            types=tuple(kind for _, _, kind in about),
            key=tuple(column for column, pk, _ in about if pk) if without_rowid else ("rowid",),
            checked=DIGEST in columns,
        )
    return found


def columns_of(tables: dict[str, Table]) -> dict[str, tuple[object, ...]]:
    return {name: (table.columns, table.types, table.checked) for name, table in tables.items()}


def foreign(db: sqlite3.Connection, schema: Schema) -> list[str]:
    """The statements that drop what this program did not make: triggers, views, indexes. They could change what is written."""
    own = newest_objects(schema)
    return [
        f'DROP {kind} "{name.replace(chr(34), chr(34) * 2)}"'
        for name, (kind, sql) in objects_of(db).items()
        if own.get(name) != (kind, sql)
    ]


def missing(db: sqlite3.Connection, schema: Schema) -> list[str]:
    """The statements that make the indexes which another program has dropped."""
    found = objects_of(db)
    return [sql for name, (_, sql) in newest_objects(schema).items() if name not in found]


def objects_of(db: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """name -> (type, SQL) of what is not a table. Raises UnicodeDecodeError for a name that is not UTF-8."""
    listed = "SELECT name, type, sql FROM main.sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL"
    found = {}
    for row in db.execute(listed).fetchall():
        name, kind, sql = (v.decode() if isinstance(v, bytes) else str(v) for v in row)
        found[name] = (kind, sql)
    return found


@cache
def newest_objects(schema: Schema) -> dict[str, tuple[str, str]]:
    """As `objects_of`, for the newest version."""
    with closing(_made(schema)) as db:
        return objects_of(db)


@cache
def newest(schema: Schema) -> dict[str, Table]:
    """The tables of the newest version."""
    with closing(_made(schema)) as db:
        return tables_of(db)


def _made(schema: Schema) -> sqlite3.Connection:
    """An empty database of the newest version."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.create_function("row_digest", -1, row_digest)
    for step in schema.steps:
        run_step(db, step)
    return db
