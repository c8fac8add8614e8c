"""Failures of a real disk: full, read-only, protected by permissions, a path that cannot be a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from storage_parts import FILL, THINGS, run_as_plain_user, run_on_small_disk

from edge_oneshot.errors import StorageError
from edge_oneshot.storage.database import Database
from edge_oneshot.storage.disk import disk_of

_START = """
from contextlib import closing
from storage_parts import THINGS
from edge_oneshot.errors import StorageError
from edge_oneshot.storage.database import Database

def failure(work):
    try:
        work()
    except StorageError as e:
        return e
    raise AssertionError("expected a StorageError")
"""


def test_the_disk_of_a_path_need_not_hold_the_file(tmp_path: Path) -> None:
    disk = disk_of(tmp_path / "absent" / "folder" / "file")
    assert disk.mount.is_mount() and tmp_path.is_relative_to(disk.mount)
    assert disk.free_bytes > 0 and not disk.read_only


def test_a_full_disk_is_named_and_what_was_stored_stays(tmp_path: Path) -> None:
    code = f"""{_START}{FILL}
import sys
folder = Path(sys.argv[1])
db = Database(folder / "box.sqlite", THINGS)
with db.transaction():
    db.execute("INSERT INTO things (name) VALUES ('kept')")
filler = fill(folder)

def write():
    with db.transaction():
        db.execute("INSERT INTO things (name, data) VALUES ('lost', zeroblob(100000))")

e = failure(write)
print(e.message)
print(e.hint)
e = failure(lambda: Database(folder / "second.sqlite", THINGS))
print(e.message)
filler.unlink()
write()
print(db.rows("SELECT name FROM things"))
"""
    out = run_on_small_disk(tmp_path, code).splitlines()
    assert out[0] == f"cannot write the box {tmp_path}/box.sqlite: the disk is full (0 bytes free on {tmp_path})"
    assert out[1] == "free space; the box itself is unchanged"
    assert out[2] == f"cannot open the box {tmp_path}/second.sqlite: the disk is full (0 bytes free on {tmp_path})"
    assert out[3] == "[('kept',), ('lost',)]"


def test_a_disk_without_room_for_the_side_files_is_called_full(tmp_path: Path) -> None:
    """SQLite reports this as an input/output error, or as a file that cannot be opened."""
    code = f"""{_START}{FILL}
import sqlite3, sys
folder = Path(sys.argv[1])
Database(folder / "box.sqlite", THINGS).close()
fill(folder)
try:
    sqlite3.connect(folder / "box.sqlite").execute("SELECT * FROM things")
except sqlite3.Error as e:
    print(e.sqlite_errorname)
print(failure(lambda: Database(folder / "box.sqlite", THINGS)).message)
"""
    name, message = run_on_small_disk(tmp_path, code).splitlines()
    assert name.startswith("SQLITE_IOERR"), name
    assert "the disk is full (0 bytes free on " in message


def test_a_folder_that_is_closed_while_the_file_is_open_is_named() -> None:
    """Without write-ahead log SQLite needs a new file in the folder for each transaction."""
    code = f"""{_START}
import sys
from dataclasses import replace
path = __import__("pathlib").Path(sys.argv[1]) / "box.sqlite"
db = Database(path, replace(THINGS, wal=False))
path.parent.chmod(0o500)
e = failure(lambda: db.execute("INSERT INTO things (name) VALUES ('a')"))
print(e.__cause__.sqlite_errorname, e.message)
"""
    out = run_as_plain_user(code)
    assert out.startswith("SQLITE_READONLY_DIRECTORY "), out
    assert "may not write" in out and "/state, which belongs to user " in out


def test_a_read_only_file_system_is_named(tmp_path: Path) -> None:
    code = f"""{_START}
import subprocess, sys
path = __import__("pathlib").Path(sys.argv[1]) / "box.sqlite"
Database(path, THINGS).close()
subprocess.run(["mount", "-o", "remount,ro", path.parent], check=True)
e = failure(lambda: Database(path, THINGS))
print(e.message)
print(e.hint)
"""
    out = run_on_small_disk(tmp_path, code).splitlines()
    assert out[0] == f"cannot open the box {tmp_path}/box.sqlite: the file system {tmp_path} is mounted read-only"
    assert f"remount {tmp_path} read-write" in out[1] and "dmesg" in out[1] and "the box itself is unchanged" in out[1]


@pytest.mark.parametrize(
    ("change", "blocked"), [("path.chmod(0o000)", "box.sqlite"), ("path.parent.chmod(0o500)", "state")]
)
def test_a_file_or_folder_without_permission_is_named_with_its_owner(change: str, blocked: str) -> None:
    code = f"""{_START}
import sys
path = __import__("pathlib").Path(sys.argv[1]) / "box.sqlite"
if {blocked!r} == "box.sqlite":
    Database(path, THINGS).close()
{change}
e = failure(lambda: Database(path, THINGS))
print(e.message)
print(e.hint)
"""
    message, hint = run_as_plain_user(code).splitlines()
    assert "cannot open the box" in message and "may not write" in message, message
    assert f"/{blocked}, which belongs to user " in message, message
    assert "run as that user, or set device.state_dir" in hint


def test_a_folder_or_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "file" / "box.sqlite", "File exists|Not a directory")):
        with pytest.raises(StorageError, match=f"cannot open the box .*({why})"):
            Database(path, THINGS)


def test_no_text_advises_to_delete_or_move_the_file(tmp_path: Path) -> None:
    """Only a file that was shown to be damaged may be replaced."""
    code = f"""{_START}{FILL}
import sys
folder = Path(sys.argv[1])
db = Database(folder / "box.sqlite", THINGS)
fill(folder)
print(failure(lambda: db.execute("INSERT INTO things (name, data) VALUES ('lost', zeroblob(100000))")))
"""
    out = run_on_small_disk(tmp_path, code)
    assert not {"delete", "remove", "move"} & set(out.replace(";", " ").split())
    assert THINGS.damage_hint not in out
