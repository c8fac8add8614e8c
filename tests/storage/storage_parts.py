"""A schema for tests, and a child process on a small disk of its own or as another user."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edge_oneshot.storage.database import Schema

THINGS = Schema(
    kind="box",
    application_id=0x454F7473,
    table="things",
    damage_hint="use the copy",
    busy_timeout_s=0.2,
    steps=(
        ("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL, data BLOB) STRICT",),
        ("CREATE TABLE more (name TEXT PRIMARY KEY) STRICT", "INSERT INTO more SELECT name FROM things"),
    ),
)
_CHILD = "import sys; sys.path[:0] = [{here!r}, {mqtt!r}, {tests!r}]\n"
NOBODY = 65534


def child(code: str, *arguments: object) -> list[str]:
    """The command that runs `code` with the helpers of the tests; its arguments are sys.argv[1:]."""
    here = Path(__file__).parent
    start = _CHILD.format(here=str(here), mqtt=str(here.parent / "mqtt"), tests=str(here.parent))
    return [sys.executable, "-c", start + code, *map(str, arguments)]


def run_on_small_disk(folder: Path, code: str, size: str = "512k") -> str:
    """The output of `code`, with a real file system of `size` mounted at `folder` (sys.argv[1]) for it alone."""
    script = f'mount -t tmpfs -o size={size} none "$1" && shift && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(folder), *child(code, folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_as_plain_user(code: str) -> str:
    """The output of `code` in a process that permissions apply to. sys.argv[1] is a folder that belongs to it.

    Root becomes another user when its imports are done; another user stays who they are.
    """
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "state"
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        drop = f"import os\nif os.geteuid() == 0:\n    os.setgroups([]); os.setresgid(*[{NOBODY}] * 3); os.setresuid(*[{NOBODY}] * 3)\n"
        imports = "\n".join(line for line in code.splitlines() if line.startswith(("import ", "from ")))
        done = subprocess.run(
            child(f"{imports}\n{drop}\n{code}", folder), capture_output=True, text=True, check=False, timeout=120
        )
        for path in folder.rglob("*"):
            path.chmod(0o700)
        folder.chmod(0o700)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


FILL = '''
import os
from pathlib import Path

def fill(folder):
    """Write until the disk takes no byte more; returns the filler."""
    filler = Path(folder) / "filler"
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
    size = 4096
    while size:
        try:
            os.write(handle, bytes(size))
        except OSError:
            size //= 2
    os.close(handle)
    return filler
'''
