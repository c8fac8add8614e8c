"""What another program adds to a file or takes from it is noticed: rows, indexes, triggers, columns, or all of its content."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import person, random_unit, template
from storage_parts import THINGS
from test_bad_rows import RECORD, change, event

from edge_oneshot.config import DecisionConfig
from edge_oneshot.errors import UnusableFile
from edge_oneshot.events.journal import Journal
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.storage.database import Checksum, Count, Database, Schema


def gallery(path: Path) -> int:
    with Gallery(path) as opened:
        if not opened.set_aside and not opened.identities():
            opened.add_all([(person(n), [template(n, random_unit(i))]) for i, n in enumerate(("zoe", "bob"))])
        return opened.set_aside


def outbox(path: Path) -> int:
    box = Outbox(path)
    if not box.events.status().depth and not box.events.status().set_aside:
        for number in (1, 2):
            box.events.commit(event(number))
        box.notes.put("discovery", "device")
        box.notes.put("discovery", "off")  # REPLACE: still one row
    found = box.events.status().set_aside
    box.close()
    return found


def journal(path: Path) -> int:
    kept = Journal(path, DecisionConfig())
    if not kept.set_aside and not kept.report()["tracks"]:
        kept._write(RECORD)  # type: ignore[arg-type]
    found = kept.set_aside
    kept.close()
    return found


FILES = {"templates": gallery, "identities": gallery, "events": outbox, "notes": outbox, "track": journal}


@pytest.mark.parametrize("table", FILES)
def test_deleted_rows_are_noticed_once(tmp_path: Path, table: str) -> None:
    path, use = tmp_path / "file.sqlite", FILES[table]
    assert [use(path), use(path)] == [0, 0]
    change(path, f"DELETE FROM {table} WHERE rowid = 1" if table != "notes" else "DELETE FROM notes")
    assert [use(path), use(path)] == [1, 1]
    with closing(sqlite3.connect(path)) as db:
        ((source, reason),) = db.execute("SELECT source, reason FROM set_aside").fetchall()
    assert source == table and reason.startswith("expected ") and f"rows in the table {table}" in reason


def test_a_count_that_another_program_corrects_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal(path)
    change(path, "DELETE FROM track")
    change(path, "UPDATE row_counts SET rows = 0")
    assert [journal(path), journal(path)] == [1, 1]


def test_rows_that_another_program_adds_are_set_aside_and_not_counted_twice(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite"
    gallery(path)
    change(
        path,
        "INSERT INTO identities (identity_id, name, created_at) VALUES ('eve', 'Eve', '2026-01-01T00:00:00+00:00')",
    )
    assert [gallery(path), gallery(path)] == [1, 1]


SEALED = Schema(
    kind="box",
    application_id=THINGS.application_id,
    table="things",
    damage_hint="use the copy",
    busy_timeout_s=0.2,
    steps=(
        ("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT) STRICT", "CREATE INDEX by_name ON things (name)"),
        (Checksum("things"),),
        (Count("things"),),
    ),
)  # fmt: skip
STATEMENTS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "INSERT OR REPLACE INTO things (id, name) VALUES (?, 'a')",
                "INSERT OR IGNORE INTO things (id, name) VALUES (?, 'b')",
                "INSERT INTO things (id, name) VALUES (?, 'c') ON CONFLICT (id) DO UPDATE SET name = 'd'",
                "DELETE FROM things WHERE id >= ?",
                "UPDATE things SET name = 'e' WHERE id < ?",
                "UPDATE OR REPLACE things SET id = ? WHERE name = 'a'",
            ]
        ),
        st.integers(1, 4),
    ),
    max_size=12,
)


@given(STATEMENTS)
@settings(max_examples=40, deadline=None)
def test_own_statements_keep_the_count(
    tmp_path_factory: pytest.TempPathFactory, statements: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("count") / "box.sqlite"
    with closing(Database(path, SEALED)) as db:
        for sql, number in statements:
            db.execute(sql, (number,))
        db.set_aside("things", (1,), "a test")
        before = db.count_set_aside()
    with closing(Database(path, SEALED)) as db:
        assert db.count_set_aside() == before


@pytest.mark.parametrize("use", [gallery, outbox, journal])
def test_a_file_without_content_is_noticed(tmp_path: Path, use: Callable[[Path], int]) -> None:
    path = tmp_path / "file.sqlite"
    path.touch()
    assert use(path) == 0  # another process may just be creating it
    path.write_bytes(b"")
    path.with_name("file.sqlite-wal").unlink(missing_ok=True)
    os.utime(path, (0, 0))
    assert [use(path), use(path)] == [1, 1]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER t AFTER INSERT ON things BEGIN DELETE FROM things; END",
        "CREATE TRIGGER t BEFORE DELETE ON things BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE UNIQUE INDEX i ON things (length(name))",
        'CREATE VIEW "a ""view""" AS SELECT * FROM things',
        "DROP INDEX by_name",
    ],
)
def test_triggers_and_indexes_are_those_of_this_program(
    tmp_path: Path, sql: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "box.sqlite"
    Database(path, SEALED).close()
    change(path, sql)
    with closing(Database(path, SEALED)) as db:
        db.execute_many("INSERT INTO things (name) VALUES (?)", [("a",), ("b",)])
        assert db.rows("SELECT name FROM things INDEXED BY by_name WHERE name > ''") == [("a",), ("b",)]
        db.execute("DELETE FROM things")
    assert ("another program has changed it; running DROP" in caplog.text) == sql.startswith("CREATE")


def test_another_type_of_a_column_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "box.sqlite"
    Database(path, SEALED).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA writable_schema = 1")
        db.execute("UPDATE sqlite_schema SET sql = replace(sql, 'TEXT', 'BLOB')")
    with pytest.raises(UnusableFile, match="not those of its version"):
        Database(path, SEALED)


def test_a_foreign_table_of_rows_set_aside_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "box.sqlite"
    Database(path, SEALED).close()
    change(path, "CREATE TABLE set_aside (id INTEGER PRIMARY KEY, note TEXT)")
    with pytest.raises(UnusableFile, match="not those of its version"):
        Database(path, SEALED)


def test_a_header_that_forbids_writing_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "box.sqlite"
    Database(path, SEALED).close()
    content = bytearray(path.read_bytes())
    content[18] = 99  # the version of the format that a writer must know
    path.write_bytes(content)
    with pytest.raises(UnusableFile, match="its header forbids writing"):
        Database(path, SEALED)
