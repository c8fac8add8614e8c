"""The processes with limits under the system calls that the unit allows: a limit that cannot be set would end them.

The filter is made from the unit's own lines, as systemd makes it, and loaded with libseccomp. MemoryDenyWriteExecute= is part of it.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
UNIT = Path(__file__).parents[2] / "deploy/edge-oneshot.service"

# Arguments: the allowed system calls, separated by commas, and the code to run under the filter.
UNDER_FILTER = """
import ctypes, sys

class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]

lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
lib.seccomp_init.restype = ctypes.c_void_p
lib.seccomp_init.argtypes = [ctypes.c_uint32]
lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
lib.seccomp_load.argtypes = [ctypes.c_void_p]
EPERM, ALLOW, MASKED_EQ, WRITE, EXEC = 0x00050001, 0x7FFF0000, 7, 2, 4

def rule(filter_, action, name, *compare):
    number = lib.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        array = (Compare * len(compare))(*compare)
        assert lib.seccomp_rule_add_array(filter_, action, number, len(compare), array) == 0, name

allowed = lib.seccomp_init(EPERM)
for name in sys.argv[1].split(","):
    rule(allowed, ALLOW, name)
no_code = lib.seccomp_init(ALLOW)
rule(no_code, EPERM, "mmap", Compare(2, MASKED_EQ, WRITE | EXEC, WRITE | EXEC))
rule(no_code, EPERM, "mprotect", Compare(2, MASKED_EQ, EXEC, EXEC))
rule(no_code, EPERM, "pkey_mprotect", Compare(2, MASKED_EQ, EXEC, EXEC))
for filter_ in (no_code, allowed):
    assert lib.seccomp_load(filter_) == 0
exec(sys.argv[2])
"""


def allowed_calls() -> set[str]:
    """The names that the unit's SystemCallFilter= lines allow."""
    calls: set[str] = set()
    for line in UNIT.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "SystemCallFilter":
            names = set().union(*(expanded(name) for name in value.removeprefix("~").split()))
            calls = calls - names if value.startswith("~") else calls | names
    return calls


def expanded(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    shown = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    inside = [line.strip() for line in shown.stdout.splitlines()[1:] if not line.strip().startswith("#")]
    return set().union(*(expanded(entry) for entry in inside if entry))


@pytest.fixture(scope="module")
def run() -> Run:
    """run(code): the code in a process under the filter."""
    if shutil.which("systemd-analyze") is None or ctypes.util.find_library("seccomp") is None:
        pytest.skip("systemd-analyze or libseccomp is not installed")
    calls = ",".join(sorted(allowed_calls()))
    paths = os.pathsep.join(p for p in sys.path if p)

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", UNDER_FILTER, calls, code, *arguments]
        environment = {**os.environ, "PYTHONPATH": paths}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_the_filter_is_in_force(run: Run) -> None:
    assert "PermissionError" in run("import os; os.nice(1)").stderr
    assert "PermissionError" in run("import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)").stderr


def test_a_picture_is_decoded_under_limits(run: Run, portrait_files: dict[str, Path]) -> None:
    """Python's setrlimit is the system call prlimit64, which is allowed; the one named setrlimit is not."""
    code = (
        "import os, resource; from pathlib import Path; from edge_oneshot.cameras import decoder\n"
        "decoder.read_file(Path(sys.argv[3]))\n"
        "(worker,) = decoder._idle\n"
        "pid = worker._process.pid\n"
        "print(resource.prlimit(pid, resource.RLIMIT_AS)[0], resource.prlimit(pid, resource.RLIMIT_CPU)[0])\n"
        "print(Path(f'/proc/{pid}/oom_score_adj').read_text())"
    )
    done = run(code, str(portrait_files["collins"]))
    assert done.returncode == 0, done.stderr
    memory, seconds, score = map(int, done.stdout.split())
    assert 384_000_000 < memory < 800_000_000 and 0 < seconds < 60 and score == 1000


def test_a_model_is_checked_under_limits(run: Run) -> None:
    code = (
        "from edge_oneshot.config import Config; from edge_oneshot.model.bundle import find_bundle\n"
        "from edge_oneshot.recognition.checked import check\n"
        "print(check(find_bundle('', 'encoder'), Config()).result)"
    )
    done = run(code)
    assert "an embedding of 192 values" in done.stdout, done.stderr
