"""A check of a model that was ended from outside says nothing about the model."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from edge_oneshot.config import Config
from edge_oneshot.errors import ModelUnchecked
from edge_oneshot.model.trusted import Trusted, record
from edge_oneshot.recognition.checked import check


def test_a_check_that_was_killed_is_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "endless.tflite"
    os.mkfifo(path)  # the process of the check waits for a writer

    def kill() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if process := checks():
                time.sleep(0.5)  # until it reads the file
                os.kill(process[0], signal.SIGKILL)
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ModelUnchecked, match="was killed") as ended:
        check(path, Config())
    killer.join()
    assert ended.value.exit_code == 1, "systemd may try again"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for another user")
def test_a_record_that_root_writes_is_readable_for_the_service(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 65534, 65534)
    before = os.umask(0o077)
    try:
        path = record(
            Trusted(digest="sha256:" + "0" * 64, kind="encoder", name="a", path="/a", trusted_at="", runtime="b"), state
        )
    finally:
        os.umask(before)
    for written, mode in ((path, 0o644), (path.parent, 0o755)):
        status = written.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (65534, 65534, mode)


def checks() -> list[int]:
    """The processes that check a model for this one; a process that decodes pictures may be alive beside them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"check_child" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue  # it has ended meanwhile
    return found
