"""Mutators of SQLite files: the bytes of the file, and what another program may do with SQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from random import Random

from fuzzing.mutate import EDGES, VALUES, mutate_bytes, mutate_text

DEEP = "[" * 3000 + "]" * 3000


def mutate_database(data: bytes, rng: Random, folder: Path, others: list[bytes]) -> bytes:
    """Bytes of a file like `data`: half by its bytes, half by SQL, some by both."""
    if rng.random() < 0.5:
        data = mutate_sql(data, rng, folder)
        if rng.random() < 0.9:
            return data
    if len(data) >= 100 and rng.random() < 0.3:  # a field of a page header or a cell pointer
        out = bytearray(data)
        page = rng.randrange(max(1, len(out) // 4096)) * 4096
        out[min(len(out) - 1, page + rng.randrange(200))] = rng.randrange(256)
        return bytes(out)
    return mutate_bytes(data, rng, others)


def mutate_sql(data: bytes, rng: Random, folder: Path) -> bytes:
    """One to three changes that another program makes, which does not keep the checksums."""
    path = folder / "mutated.sqlite"
    path.write_bytes(data)
    with closing(sqlite3.connect(path, isolation_level=None)) as db, suppress(sqlite3.Error, UnicodeError):
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA writable_schema = 1")
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        tables = [t for t in tables if not t.startswith("sqlite_")]
        for _ in range(1 if rng.random() < 0.7 else rng.randint(2, 3)):
            with suppress(sqlite3.Error, UnicodeError, OverflowError):
                _change(db, rng, rng.choice(tables))
    return path.read_bytes()


def _change(db: sqlite3.Connection, rng: Random, table: str) -> None:
    columns = [row[1] for row in db.execute(f'PRAGMA table_info("{table}")')] or ["rowid"]
    column, kind = rng.choice(columns), rng.random()
    rows = db.execute(f'SELECT "{column}" FROM "{table}" ORDER BY 1').fetchall()
    old = rng.choice(rows)[0] if rows else None
    if kind < 0.5:
        db.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE "{column}" IS ?', (_value(old, rng), old))
    elif kind < 0.6:
        db.execute(f'DELETE FROM "{table}" WHERE "{column}" IS ?', (old,))
    elif kind < 0.65:
        db.execute(f'UPDATE "{table}" SET "{column}" = CAST("{column}" AS TEXT) || CAST(X\'FF80\' AS TEXT)')
    elif kind < 0.75:
        names, marks = ", ".join(f'"{c}"' for c in columns), ", ".join("?" * len(columns))
        model = db.execute(f'SELECT * FROM "{table}" ORDER BY 1').fetchall()
        row = [
            _value(v, rng) if rng.random() < 0.5 else v for v in (rng.choice(model) if model else [None] * len(columns))
        ]
        db.execute(f'INSERT OR REPLACE INTO "{table}" ({names}) VALUES ({marks})', row)
    elif kind < 0.82:  # two values change places, the checksums perhaps
        other = rng.choice(rows)[0] if rows else None
        statement = (
            f'UPDATE "{table}" SET "{column}" = CASE WHEN "{column}" IS ? THEN ? ELSE ? END WHERE "{column}" IN (?, ?)'
        )
        db.execute(statement, (old, other, old, old, other))
    else:
        _schema(db, rng, table, column)


def _schema(db: sqlite3.Connection, rng: Random, table: str, column: str) -> None:
    number = rng.choice((0, 1, 2, 3, 4, 5, 99, -1, 2**31 - 1))
    statement = rng.choice(
        (
            f"PRAGMA user_version = {number}",
            f"PRAGMA application_id = {number}",
            f'DROP TABLE "{table}"',
            f'DELETE FROM "{table}"',
            f'ALTER TABLE "{table}" ADD COLUMN extra TEXT',
            f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO other',
            f'ALTER TABLE "{table}" RENAME TO other',
            f'ALTER TABLE "{table}" DROP COLUMN "{column}"',
            f'CREATE TRIGGER t AFTER INSERT ON "{table}" BEGIN DELETE FROM "{table}"; END',
            f"CREATE TRIGGER t AFTER DELETE ON \"{table}\" BEGIN SELECT RAISE(ABORT, 'no'); END",
            f'CREATE UNIQUE INDEX i ON "{table}" ("{column}")',
            f'CREATE INDEX i ON "{table}" (abs("{column}"))',
            f'CREATE VIEW v AS SELECT * FROM "{table}"',
            "CREATE TABLE set_aside (id INTEGER PRIMARY KEY, note TEXT)",
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE x (a)' WHERE type = 'table' AND rowid = 1",
            "UPDATE sqlite_schema SET sql = replace(sql, 'TEXT', 'BLOB')",
            f"UPDATE sqlite_schema SET rootpage = {abs(number) % 12} WHERE name = '{table}'",
            "DELETE FROM sqlite_schema WHERE type = 'index'",
            "PRAGMA auto_vacuum = 1; VACUUM",
            "VACUUM",
        )
    )
    db.executescript(statement)


def _value(old: object, rng: Random) -> object:
    """A value near `old`, or of another kind."""
    kind = rng.random()
    if isinstance(old, bytes) and kind < 0.6:
        return mutate_bytes(old, rng)
    if isinstance(old, str) and kind < 0.6:
        return mutate_text(old, rng)
    if isinstance(old, int) and kind < 0.6:
        return rng.choice((-old, old + 1, old - 1, *EDGES[:-1], 2**62, -(2**63)))
    if kind > 0.95:
        return DEEP
    found = rng.choice(VALUES)
    return str(found) if isinstance(found, list | dict) or (isinstance(found, int) and abs(found) >= 2**63) else found
