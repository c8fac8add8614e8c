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
from edge_oneshot.recognition.checked import check


def test_a_check_that_was_killed_is_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "endless.tflite"
    os.mkfifo(path)  # the process of the check waits for a writer

    def kill() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            children = [
                int(p) for task in Path("/proc/self/task").iterdir() for p in (task / "children").read_text().split()
            ]
            if children:
                time.sleep(0.5)
                os.kill(children[0], signal.SIGKILL)
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ModelUnchecked, match="was killed") as ended:
        check(path, Config())
    killer.join()
    assert ended.value.exit_code == 1, "systemd may try again"
