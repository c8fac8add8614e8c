"""One kind of file: its tables, as ordered steps from one version to the next, and how SQLite keeps it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache

from edge_oneshot.storage.rows import DIGEST, Seal, Table, row_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """One kind of file.

    kind: its name in messages. application_id: its mark in the file's header. table: a table that each version has; a
    file without a mark is of this kind if it has this table. steps: statements that lead from one version to the next;
    `user_version` counts the steps that a file has had. Never edit a released step, append one. damage_hint: what to do
    about a file that was shown to be damaged. wal, synchronous: as SQLite's pragmas. Deleted bytes are overwritten.
    """

    kind: str
    application_id: int
    table: str
    steps: tuple[tuple[str | Seal, ...], ...]
    damage_hint: str
    busy_timeout_s: float
    wal: bool = True
    synchronous: str = "FULL"


def run_step(db: sqlite3.Connection, step: Sequence[str | Seal]) -> None:
    for statement in step:
        if isinstance(statement, str):
            db.execute(statement)
            continue
        db.execute(f'ALTER TABLE "{statement.table}" ADD COLUMN {DIGEST} BLOB')
        db.execute(f'UPDATE "{statement.table}" SET {DIGEST} = {tables_of(db)[statement.table].digest_of()}')


def tables_of(db: sqlite3.Connection) -> dict[str, Table]:
    """The tables of a file."""
    found = {}
    listed = (
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    for name, without_rowid in db.execute(listed).fetchall():
        about = db.execute("SELECT name, pk FROM pragma_table_info(?)", (name,)).fetchall()
        columns = [column for column, _ in about]
        if not all(isinstance(word, str) for word in (name, *columns)):
            continue  # not UTF-8: no table of any version
        found[name] = Table(
            name=name,
            columns=tuple(c for c in columns if c != DIGEST),
            key=tuple(column for column, pk in about if pk) if without_rowid else ("rowid",),
            sealed=DIGEST in columns,
        )
    return found


def columns_of(tables: dict[str, Table]) -> dict[str, tuple[object, ...]]:
    return {name: (table.columns, table.sealed) for name, table in tables.items()}


@cache
def newest(schema: Schema) -> dict[str, Table]:
    """The tables of the newest version."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.create_function("row_digest", -1, row_digest)
        for step in schema.steps:
            run_step(db, step)
        return tables_of(db)
