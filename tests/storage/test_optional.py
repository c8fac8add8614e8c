"""A file that the daemon can work without: one log line per failure, recovery, and moving a damaged file aside."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_parts import FILL, THINGS, run_as_plain_user, run_on_small_disk

from edge_oneshot.storage.database import Database
from edge_oneshot.storage.optional import OptionalDatabase, moved_aside


@pytest.fixture
def file(tmp_path: Path) -> Iterator[OptionalDatabase]:
    opened = OptionalDatabase(tmp_path / "box.sqlite", THINGS, "the box stays shut")
    yield opened
    opened.close()


def put(file: OptionalDatabase, name: str) -> bool:
    return bool(file.run(lambda db: db.execute("INSERT INTO things (name) VALUES (?)", (name,)), 0))


def names(file: OptionalDatabase) -> list[str]:
    return [row[0] for row in file.rows("SELECT name FROM things ORDER BY id")]


def test_it_opens_at_the_first_use_and_does_nothing_after_close(file: OptionalDatabase) -> None:
    assert not file.path.exists()
    assert put(file, "a") and names(file) == ["a"]
    file.close()
    assert not put(file, "b") and names(file) == [] and file.fault == ""


def test_work_that_raises_is_rolled_back(file: OptionalDatabase) -> None:
    def work(db: Database) -> None:
        db.execute("INSERT INTO things (name) VALUES ('a')")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        file.run(work, None)
    assert put(file, "b") and names(file) == ["b"]


@pytest.mark.parametrize("junk", [b"not a database, " * 200, b"SQLite format 3\0" + os.urandom(8000)])
def test_a_damaged_file_is_moved_aside_unchanged(
    file: OptionalDatabase, junk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file.path.write_bytes(junk)
    assert put(file, "a") and names(file) == ["a"] and file.fault == ""
    (aside,) = moved_aside(file.path)
    assert aside.read_bytes() == junk
    assert [r.levelname for r in caplog.records] == ["ERROR"] and f"moved aside to {aside.name}" in caplog.text


def test_a_newer_file_is_moved_aside(file: OptionalDatabase) -> None:
    with_version = Database(file.path, THINGS)
    with_version.execute("PRAGMA user_version = 9")
    with_version.close()
    assert put(file, "a")
    (aside,) = moved_aside(file.path)
    assert aside.name.startswith("box.sqlite.newer-")


def test_a_failure_is_logged_once_until_a_write_succeeds(
    file: OptionalDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    file.path.mkdir()
    for _ in range(3):
        assert not put(file, "a")
    assert "Is a directory" in file.fault and caplog.text.count("the box stays shut") == 1
    file.path.rmdir()
    assert put(file, "a") and file.fault
    file.written()
    assert file.fault == "" and caplog.text.count("can be written again") == 1


def test_threads_share_one_file(file: OptionalDatabase) -> None:
    def work() -> None:
        for _ in range(25):
            put(file, "a")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(names(file)) == 100 and file.fault == ""


def test_a_full_disk_is_a_fault_that_passes(tmp_path: Path) -> None:
    code = f"""
from storage_parts import THINGS
from edge_oneshot.storage.optional import OptionalDatabase
{FILL}
import sys
file = OptionalDatabase(Path(sys.argv[1]) / "box.sqlite", THINGS, "x")
sql = "INSERT INTO things (name, data) VALUES ('a', zeroblob(50000))"
put = lambda: file.run(lambda db: db.execute(sql), 0)
filler = fill(sys.argv[1])
file.require_permission()  # a full disk is no question of permission
print(put(), file.fault)
filler.unlink()
print(put())
"""
    first, second = run_on_small_disk(tmp_path, code).splitlines()
    assert first.startswith("0 cannot open the box") and "the disk is full (0 bytes free on " in first
    assert second == "1"


def test_a_missing_permission_is_an_error_at_once() -> None:
    code = """
import sys
from pathlib import Path
from storage_parts import THINGS
from edge_oneshot.errors import StorageError
from edge_oneshot.storage.optional import OptionalDatabase
folder = Path(sys.argv[1])
folder.chmod(0o500)
try:
    OptionalDatabase(folder / "box.sqlite", THINGS, "x").require_permission()
except StorageError as e:
    print(e)
"""
    assert "may not write" in run_as_plain_user(code)
