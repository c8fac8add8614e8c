"""Virtual environments with other packages than the tests' own, made once below .cache."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import CACHE


def environment(name: str, *packages: str) -> Path:
    """The Python of an environment with these packages; skips, with the reason, where it cannot be. Several tests may ask at once."""
    folder = CACHE / "venvs" / name
    done = folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            for command in (
                [sys.executable, "-m", "venv", str(folder)],
                [str(folder / "bin" / "pip"), "install", "--quiet", *packages],
            ):
                made = subprocess.run(command, capture_output=True, text=True, timeout=170)
                if made.returncode and os.environ.get("CI") == "true":
                    pytest.fail(f"cannot make the environment: {made.stderr[-500:]}")
                if made.returncode:
                    pytest.skip(f"cannot make the environment: {made.stderr[-300:]}")
            done.touch()
    return folder / "bin" / "python"


def predecessor() -> Path:
    """The Python of an environment with tflite-runtime 2.14, LiteRT's predecessor, and the numpy that it needs."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("tflite-runtime 2.14 has no wheel for this Python; the test needs 3.11")
    return environment("tflite", "tflite-runtime==2.14.0", "numpy<2", "pillow")
