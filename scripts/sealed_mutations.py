"""What another program may do to the file of a sealed gallery. Each function gets the file, an older copy, and a source of chance."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sealed_parts import device, enroll

from edge_oneshot.gallery.store import Gallery
from edge_oneshot.service import sealing
from edge_oneshot.storage.keys import Keys


def flip_bytes(path: Path, old: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] ^= rng.randint(1, 255)
    path.write_bytes(content)


def blank_range(path: Path, old: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start, size = rng.randrange(len(content)), rng.randint(1, 5000)
    content[start : start + size] = bytes(len(content[start : start + size]))
    path.write_bytes(content)


def swap_pages(path: Path, old: Path, rng: random.Random) -> None:
    """With a page of this file, or of the older copy."""
    content, other = bytearray(path.read_bytes()), rng.choice([path, old]).read_bytes()
    a, b = (rng.randrange(len(c) // 4096) * 4096 for c in (content, other))
    content[a : a + 4096] = other[b : b + 4096]
    path.write_bytes(content)


def truncate(path: Path, old: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.choice([rng.randrange(len(content)), rng.randrange(len(content) // 4096) * 4096])])


def old_file(path: Path, old: Path, rng: random.Random) -> None:
    shutil.copy(old, path)


def plain_file(path: Path, old: Path, rng: random.Random) -> None:
    path.unlink()
    with Gallery(path) as gallery:
        enroll(gallery, "intruder", 10**6 + rng.randrange(1000))


def other_key(path: Path, old: Path, rng: random.Random) -> None:
    with tempfile.TemporaryDirectory() as name:
        config = device(Path(name))
        sealing.seal(config)
        with Gallery(config.gallery_path, Keys(config.key_path)) as gallery:
            enroll(gallery, "intruder", 10**6 + rng.randrange(1000))
        shutil.copy(config.gallery_path, path)


def cell(path: Path, old: Path, rng: random.Random) -> None:
    """One cell gets the value of another row, a changed one, or one of another type."""
    with closing(sqlite3.connect(path)) as db, db:
        table, columns = _table(db, rng)
        column = rng.choice(columns)
        rows = [r for (r,) in db.execute(f"SELECT {column} FROM {table}")]
        if not rows:
            return
        value = rng.choice(rows)
        if rng.random() < 0.5:
            if isinstance(value, bytes):
                value = bytes([value[0] ^ 1]) + value[1:] if value else b"x"
            elif isinstance(value, int):
                value += rng.choice([-1, 1, 1000])
            else:
                value = f"{value}x" if rng.random() < 0.5 else str(value)[:-1]
        where = (
            f"rowid = {rng.randint(1, 12)}"
            if table != "row_counts"
            else f"name = '{rng.choice(['identities', 'templates'])}'"
        )
        db.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {where}", (value,))


def rows_of_old(path: Path, old: Path, rng: random.Random) -> None:
    """Rows of the older copy come back, in the place of the present ones or beside them."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("ATTACH ? AS old", (str(old),))
        with db:
            for table in rng.sample(["identities", "templates", "seal", "row_counts"], rng.randint(1, 4)):
                if rng.random() < 0.3:
                    db.execute(f"DELETE FROM {table}")
                db.execute(f"INSERT OR {rng.choice(['REPLACE', 'IGNORE'])} INTO {table} SELECT * FROM old.{table}")


def delete_rows(path: Path, old: Path, rng: random.Random) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        table, _ = _table(db, rng)
        db.execute(f"DELETE FROM {table} WHERE abs(random()) % 3 = 0")


def copy_row(path: Path, old: Path, rng: random.Random) -> None:
    """A person gets the templates of another one, under new ids."""
    with closing(sqlite3.connect(path)) as db, db:
        ids = [i for (i,) in db.execute("SELECT identity_id FROM identities")]
        a, b = rng.sample(ids, 2)
        db.execute(
            "INSERT INTO templates SELECT template_id || 'x', ?, encoder_id, vector, quality, created_at, no_rate, digest "
            "FROM templates WHERE identity_id = ?",
            (a, b),
        )


def swap_people(path: Path, old: Path, rng: random.Random) -> None:
    """Two people swap their names and keys, or their templates."""
    with closing(sqlite3.connect(path)) as db, db:
        table, column = rng.choice([("identities", "name"), ("templates", "vector"), ("templates", "identity_id")])
        a, b = db.execute(f"SELECT rowid, {column} FROM {table} ORDER BY random() LIMIT 2").fetchall()
        for row, value in ((a[0], b[1]), (b[0], a[1])):
            db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))


def schema(path: Path, old: Path, rng: random.Random) -> None:
    statement = rng.choice(
        [
            "PRAGMA application_id = 1162831713",
            "PRAGMA application_id = 0",
            f"PRAGMA application_id = {rng.randrange(2**31)}",
            f"PRAGMA user_version = {rng.randrange(12)}",
            "DROP TABLE seal",
            "DROP TABLE row_counts",
            "DROP TABLE templates",
            "DROP TABLE identities",
            "DROP INDEX templates_by_identity",
            "ALTER TABLE identities DROP COLUMN digest",
            "ALTER TABLE templates DROP COLUMN digest",
            "ALTER TABLE seal RENAME TO seals",
            "ALTER TABLE seal ADD COLUMN more TEXT",
            "CREATE TRIGGER t AFTER INSERT ON templates BEGIN DELETE FROM seal; END",
            "CREATE VIEW v AS SELECT 1",
        ]
    )
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


def _table(db: sqlite3.Connection, rng: random.Random) -> tuple[str, list[str]]:
    table = rng.choice(["identities", "templates", "templates", "seal", "row_counts"])
    return table, [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


MUTATIONS: tuple[Callable[[Path, Path, random.Random], None], ...] = (
    *(
        flip_bytes,
        blank_range,
        swap_pages,
        truncate,
        old_file,
        plain_file,
        other_key,
        cell,
        cell,
        rows_of_old,
        delete_rows,
    ),
    *(copy_row, swap_people, schema),
)
