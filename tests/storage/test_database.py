"""One SQLite file: its modes and versions, damage on real files, rows that cannot be read, and locks."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from storage_parts import THINGS

from edge_oneshot.errors import StorageError, UnusableFile
from edge_oneshot.storage import rows
from edge_oneshot.storage.database import Database, text


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "box.sqlite", THINGS)) as opened:
        yield opened


def put(db: Database, *names: str) -> None:
    with db.transaction():
        db.execute_many("INSERT INTO things (name) VALUES (?)", [(n,) for n in names])


def names(db: Database) -> list[str]:
    return [row[0] for row in db.rows("SELECT name FROM things ORDER BY id")]


def test_what_is_stored_comes_back(db: Database) -> None:
    put(db, "a", "b")
    with closing(Database(db.path, THINGS)) as again:
        assert names(again) == ["a", "b"]


def test_a_transaction_that_raises_stores_nothing(db: Database) -> None:
    put(db, "a")
    with pytest.raises(ZeroDivisionError), db.transaction():
        db.execute("INSERT INTO things (name) VALUES ('b')")
        raise ZeroDivisionError
    put(db, "c")
    assert names(db) == ["a", "c"]


def test_the_file_has_the_pragmas_of_its_schema(tmp_path: Path) -> None:
    for wal, synchronous, expected in ((True, "FULL", ("wal", 2, 1)), (False, "NORMAL", ("delete", 1, 1))):
        schema = replace(THINGS, wal=wal, synchronous=synchronous)
        with closing(Database(tmp_path / f"{wal}.sqlite", schema)) as db:
            pragmas = ("journal_mode", "synchronous", "secure_delete")
            assert tuple(db.rows(f"PRAGMA {p}")[0][0] for p in pragmas) == expected
            assert db.rows("PRAGMA application_id") == [(THINGS.application_id,)]
            assert db.rows("PRAGMA user_version") == [(2,)]


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_only_the_owner_can_read_any_of_the_files(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with closing(Database(tmp_path / "state" / "box.sqlite", THINGS)) as db:
            put(db, "a")
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in db.path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {f"box.sqlite{s}": 0o600 for s in ("", "-wal", "-shm")}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_restored_file_that_others_can_read_is_closed_to_them(db: Database) -> None:
    db.close()
    db.path.chmod(0o644)
    Database(db.path, THINGS).close()
    assert stat.S_IMODE(db.path.stat().st_mode) == 0o600


def test_a_closed_database_and_a_missing_table_have_hints_of_their_own(db: Database) -> None:
    with pytest.raises(StorageError, match="no such table: absent") as caught:
        db.rows("SELECT * FROM absent")
    assert caught.value.hint == "use the copy"
    db.close()
    with pytest.raises(StorageError, match=r"cannot read the box .*: Cannot operate on a closed database") as caught:
        names(db)
    assert "calling program" in caught.value.hint


# ---- versions


def test_steps_run_in_order_once_and_keep_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "box.sqlite"
    with closing(Database(path, replace(THINGS, steps=THINGS.steps[:1]))) as db:
        put(db, "a")
    for _ in range(2):
        with closing(Database(path, THINGS)) as db:
            assert names(db) == ["a"] and db.rows("SELECT name FROM more") == [("a",)]


def test_a_step_that_fails_leaves_the_file_as_it_was(db: Database) -> None:
    put(db, "a")
    db.close()
    bad = replace(THINGS, steps=(*THINGS.steps, ("CREATE TABLE half (a TEXT)", "NOT SQL AT ALL")))
    with pytest.raises(StorageError, match="syntax error"):
        Database(db.path, bad)
    with closing(Database(db.path, THINGS)) as again:
        assert names(again) == ["a"]
        assert again.rows("SELECT count(*) FROM sqlite_schema WHERE name = 'half'") == [(0,)]


def test_threads_that_open_a_new_file_at_once_agree(tmp_path: Path) -> None:
    schema, errors = replace(THINGS, busy_timeout_s=30.0), []

    def work() -> None:
        try:
            with closing(Database(tmp_path / "box.sqlite", schema)) as db:
                put(db, "a")
        except StorageError as e:
            errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    with closing(Database(tmp_path / "box.sqlite", schema)) as db:
        assert names(db) == ["a"] * 8


def test_a_newer_file_is_refused_and_left_alone(db: Database) -> None:
    put(db, "a")
    db.execute("PRAGMA user_version = 9")
    db.close()
    before = db.path.read_bytes()
    with pytest.raises(UnusableFile, match="expected schema version 2 or less, got 9") as caught:
        Database(db.path, THINGS)
    assert caught.value.state == "newer" and "newer" in caught.value.hint
    assert db.path.read_bytes() == before


@pytest.mark.parametrize("mark", [0, 42])
def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path: Path, mark: int) -> None:
    path = tmp_path / "box.sqlite"
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
        other.execute(f"PRAGMA application_id = {mark}")
    with pytest.raises(UnusableFile, match=f"application_id {mark} and tables .'bookmarks'") as caught:
        Database(path, THINGS)
    assert caught.value.state == "foreign"
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("bookmarks",)]


# ---- damage


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (path := tmp_path / "box.sqlite").write_bytes(content := b"My diary. " * 1000)
    with pytest.raises(UnusableFile, match="the file is damaged: file is not a database") as caught:
        Database(path, THINGS)
    assert (caught.value.state, caught.value.hint) == ("damaged", "use the copy")
    assert path.read_bytes() == content


def test_a_file_damaged_in_the_middle_is_refused_when_it_is_opened(db: Database) -> None:
    put(db, *(f"{n:04d}" * 100 for n in range(100)))
    db.close()
    data = bytearray(db.path.read_bytes())
    data[8192:] = b"\xaa" * (len(data) - 8192)
    db.path.write_bytes(data)
    with pytest.raises(UnusableFile, match="the file is damaged"):
        Database(db.path, THINGS)


def test_a_file_damaged_while_it_is_open_is_reported_as_damaged(db: Database) -> None:
    put(db, *(f"{n:04d}" * 100 for n in range(100)))
    db.close()
    with closing(Database(db.path, THINGS)) as again:
        with closing(sqlite3.connect(db.path)) as other, other:  # empties the cache of the first connection
            other.execute("INSERT INTO more VALUES ('x')")
        with db.path.open("r+b") as f:
            f.seek(8192)
            f.write(b"\xaa" * (db.path.stat().st_size - 8192))
        with pytest.raises(UnusableFile, match="cannot read the box"):
            names(again)


def damage_text(db: Database, old: str) -> None:
    """Overwrite one text in the file itself with bytes that are not UTF-8."""
    path = db.path
    db.close()
    data = path.read_bytes()
    assert data.count(old.encode()) == 1
    path.write_bytes(data.replace(old.encode(), b"\xff" * len(old)))


def test_a_row_that_is_not_utf_8_comes_as_bytes_and_the_others_as_text(db: Database) -> None:
    put(db, "first", "second", "third")
    damage_text(db, "second")
    with closing(Database(db.path, THINGS)) as again:
        assert names(again) == ["first", b"\xff" * 6, "third"]
        with pytest.raises(ValueError, match="expected UTF-8 text"):
            text(names(again)[1])


def test_a_row_is_set_aside_whole_counted_and_logged(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    put(db, "first", "it's", "third")
    db.execute("UPDATE things SET data = x'00ff27' WHERE id = 2")
    with db.transaction():
        db.set_aside("things", (2,), "not readable")
    assert names(db) == ["first", "third"] and db.count_set_aside() == 1
    assert "box.sqlite: row 2 of the table things cannot be read and is set aside: not readable" in caplog.text
    ((source, content, reason),) = db.rows("SELECT source, content, reason FROM set_aside")
    assert (source, reason) == ("things", "not readable")
    db.execute(f"INSERT INTO things VALUES ({content})")  # nothing of the row was lost
    assert db.rows("SELECT * FROM things WHERE id = 2") == [(2, "it's", b"\x00\xff'")]
    db.delete_set_aside()
    assert db.count_set_aside() == 0


def test_the_bytes_of_a_row_that_is_not_utf_8_are_kept(db: Database) -> None:
    put(db, "first", "second")
    damage_text(db, "second")
    with closing(Database(db.path, THINGS)) as again:
        with again.transaction():
            again.set_aside("things", (2,), "not readable")
        assert again.rows("SELECT content FROM set_aside") == [(b"2, '\xff\xff\xff\xff\xff\xff', NULL",)]


def test_the_rows_that_are_set_aside_are_bounded(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_SET_ASIDE", 5)
    put(db, *"abcdefgh")
    with db.transaction():
        for number in range(1, 9):
            db.set_aside("things", (number,), "not readable")
    assert db.count_set_aside() == 5


# ---- other processes


def test_a_locked_file_is_named_with_what_to_do(db: Database) -> None:
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match=r"another process has locked it for 0\.2 s") as caught:
            put(db, "a")
        assert f"fuser {db.path}" in caught.value.hint
    put(db, "b")
    assert names(db) == ["b"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_removed_or_replaced_is_noticed(db: Database, replaced: bool) -> None:
    assert isinstance(db.data_version(), int)
    for path in db.path.parent.glob("box.sqlite*"):
        path.unlink()
    if replaced:
        Database(db.path, THINGS).close()
    with pytest.raises(StorageError, match="was moved, removed or replaced"):
        db.data_version()


def test_the_log_is_emptied_when_no_other_connection_reads(db: Database) -> None:
    put(db, "a")
    with closing(sqlite3.connect(db.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM things").fetchall()
        put(db, "b")
        assert not db.truncate_log(0.0)
    assert db.truncate_log(0.0)
    assert db.path.with_name("box.sqlite-wal").stat().st_size == 0


def test_a_read_only_connection_changes_nothing(db: Database) -> None:
    put(db, "a")
    db.close()
    before = db.path.read_bytes()
    with closing(Database(db.path, replace(THINGS, wal=False), read_only=True)) as reader:
        assert names(reader) == ["a"]
        with pytest.raises(StorageError):
            reader.execute("DELETE FROM things")
    assert db.path.read_bytes() == before
