"""Large blocks go back to the system when they are freed; by default the C library keeps them after the first ones."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import ctypes, sys
if sys.argv[1] == "returned":
    from edge_oneshot.service.system import return_large_blocks
    return_large_blocks()
import numpy as np

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

def frames():  # pictures between small objects that stay, as in the daemon
    kept = []
    for size in (8_000_000, 900_000, 1_500_000, 900_000) * 10:
        pictures = [np.ones(size, np.uint8) for _ in range(4)]
        kept.append(bytearray(200_000))
        del pictures
    return kept

before = resident()
kept = frames()
print(resident() - before - 40 * 200)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is of the GNU C library")
def test_freed_pictures_leave_no_holes_in_the_heap() -> None:
    def left_kb(mode: str) -> int:
        return int(
            subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True).stdout
        )

    assert left_kb("returned") < 2_000 < left_kb("kept")
