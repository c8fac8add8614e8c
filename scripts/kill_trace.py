"""Kills a child process with SIGKILL at a chosen system call, by ptrace(2). Linux."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TRACEME, SYSCALL, SETOPTIONS = 0, 24, 0x4200
TRACESYSGOOD, EXITKILL = 1, 0x100000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

# The calls that change a file or its locks, by their numbers: x86_64, aarch64.
_NAMES = {
    "x86_64": {1: "write", 18: "pwrite64", 72: "fcntl", 74: "fsync", 75: "fdatasync", 77: "ftruncate", 82: "rename", 87: "unlink"},
    "aarch64": {64: "write", 68: "pwrite64", 25: "fcntl", 82: "fsync", 83: "fdatasync", 46: "ftruncate", 38: "renameat", 35: "unlinkat"},
}  # fmt: skip
NAMES = _NAMES[os.uname().machine]


@dataclass(frozen=True, slots=True)
class Place:
    """A system call of the operation: its number among those that count, its name, its file, and which side of it."""

    number: int
    name: str
    file: str
    side: str  # "before" or "after"


def trace(
    work: Callable[[], None], marks: int, target: int | None, side: str, started: Callable[[], None]
) -> tuple[list[Place], bool]:
    """Fork a child that runs `work`, and kill it at the system call number `target` after it has begun.

    It begins at its first write to the descriptor `marks`, and has ended at the next one. target: None kills it nowhere.
    started: called in this process after the fork. Returns the calls from the begin on, and whether it was killed, at the last one.
    """
    pid = os.fork()
    if pid == 0:
        _libc.ptrace(TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            work()
        finally:
            os._exit(0)
    started()
    os.waitpid(pid, 0)
    _libc.ptrace(SETOPTIONS, pid, None, TRACESYSGOOD | EXITKILL)
    seen: list[Place] = []
    begun, entering, number = 0, False, 0
    while True:
        _libc.ptrace(SYSCALL, pid, None, number or None)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return seen, os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        stopped = os.WSTOPSIG(status)
        number = 0 if stopped == signal.SIGTRAP | 0x80 else stopped  # another signal is passed on
        if number:
            continue
        entering = not entering
        call = _call(pid)
        if call is None or call[0] not in NAMES:
            continue
        if call[1] == marks:
            begun += not entering
            continue
        if begun != 1 or (NAMES[call[0]] == "fcntl" and call[2] not in (6, 7)):  # F_SETLK, F_SETLKW
            continue
        if entering:
            seen.append(Place(len(seen), NAMES[call[0]], _file(pid, call[1]), "before"))
        if len(seen) - 1 == target and ("before" if entering else "after") == side:
            seen[-1] = Place(seen[-1].number, seen[-1].name, seen[-1].file, side)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return seen, True


def _call(pid: int) -> tuple[int, int, int] | None:
    """(number, first argument, second argument) of the system call at which the process stands."""
    words = Path(f"/proc/{pid}/syscall").read_text().split()
    return None if len(words) < 3 else (int(words[0]), int(words[1], 16), int(words[2], 16))


def _file(pid: int, descriptor: int) -> str:
    """What kind of file a descriptor is: "gallery", "gallery-wal"; for a path in an argument "a path"."""
    try:
        name = Path(f"/proc/{pid}/fd/{descriptor}").readlink().name
    except (OSError, OverflowError):
        return "a path"
    kind, _, rest = name.partition(".sqlite")
    return kind.split("-")[0] + rest if rest or ".sqlite" in name else "another file"
