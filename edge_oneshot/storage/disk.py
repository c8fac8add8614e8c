"""The disk under a file: where it is mounted, what is free, and why a file on it could not be opened, read or written."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import time
from dataclasses import dataclass
from pathlib import Path

# SQLite reports a full disk in several ways, some of them as an input/output error. Below this it was the disk.
_LITTLE_BYTES = 64 * 1024
_CREATED_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a file could not be opened, read or written. disk: its disk is full, read-only or failing; the file may be sound."""

    why: str
    hint: str
    disk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """mount: its mount point. free_bytes: what this user may still write."""

    mount: Path
    free_bytes: int
    read_only: bool


def disk_of(path: Path) -> Disk:
    """The disk that holds `path`, or would. Raises OSError."""
    folder = path.absolute().parent
    while not folder.is_dir():
        folder = folder.parent
    found = os.statvfs(folder)
    blocks = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    mount = folder.resolve()
    while not os.path.ismount(mount):
        mount = mount.parent
    return Disk(mount=mount, free_bytes=blocks * found.f_frsize, read_only=bool(found.f_flag & os.ST_RDONLY))


def explain(number: int, message: str, path: Path, kind: str) -> Reason:
    """Why a failure on `path` happened. number: the system error, 0 if unknown. message: what to say if it is unknown.

    kind: what the file is, for the hint. A failure of the disk leaves what was stored before as it was.
    """
    try:
        disk = disk_of(path)
    except OSError:
        return Reason(message, "check device.state_dir")
    unchanged = f"the {kind} itself is unchanged"
    access = number in (errno.EACCES, errno.EPERM, errno.EROFS)
    if disk.read_only and (access or number == errno.EIO):
        return Reason(
            f"the file system {disk.mount} is mounted read-only",
            f"look for disk errors with dmesg, then remount {disk.mount} read-write; {unchanged}",
            disk=True,
        )
    if access and (blocked := _not_writable(path)) is not None:
        return Reason(
            f"{_user(os.geteuid())} may not write {blocked}, which belongs to {_user(blocked.stat().st_uid)}",
            "run as that user, or set device.state_dir to a folder that this user may write",
        )
    if number in (errno.ENOSPC, errno.EDQUOT) or (disk.free_bytes < _LITTLE_BYTES and (access or number == errno.EIO)):
        limit = "disk" if disk.free_bytes < _LITTLE_BYTES else "disk, or this user's quota,"
        why = f"the {limit} is full ({disk.free_bytes} bytes free on {disk.mount})"
        return Reason(why, f"free space; {unchanged}", disk=True)
    if number == errno.EIO:
        hint = "look for disk errors with dmesg; keep the file, it may be intact"
        return Reason(f"{message} (disk {disk.mount})", hint, disk=True)
    return Reason(message, "check device.state_dir")


def _not_writable(path: Path) -> Path | None:
    """The file, or the nearest folder above it, if this user may not write it."""
    at = path.absolute()
    while not _exists(at):
        at = at.parent
    if not os.access(at, os.W_OK, effective_ids=True):
        return at
    # SQLite keeps its side files in the folder.
    return None if at.is_dir() or os.access(at.parent, os.W_OK | os.X_OK, effective_ids=True) else at.parent


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # a folder above it is closed to this user
        return False


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def identify(path: Path) -> tuple[int, int] | None:
    """Which file is at `path`; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def forbids_writing(path: Path) -> bool:
    """Whether a SQLite file states a write version that SQLite does not know; it then opens the file read-only."""
    try:
        with path.open("rb") as file:
            header = file.read(19)
            return header.startswith(b"SQLite format 3\0") and header[18:] > b"\2"
    except OSError:
        return False


def was_emptied(path: Path) -> bool:
    """Whether the file has lost its content: 0 bytes, and no other process that is just creating it."""
    try:
        found = path.stat()
    except OSError:
        return False
    return not found.st_size and time.time() - found.st_mtime > _CREATED_WITHIN_S


def remove_empty(path: Path) -> None:
    """Remove a file of 0 bytes that this process has created and could not fill."""
    with contextlib.suppress(OSError):
        if not path.stat().st_size:
            path.unlink()


def create_private(path: Path) -> bool:
    """Make the file and its folder, if absent, so that only this user can read them. True: it was absent. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    absent = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # SQLite gives its side files the same mode
    try:
        if os.fstat(handle).st_mode & 0o077:  # a copy that was restored by hand, perhaps
            with contextlib.suppress(PermissionError):
                os.fchmod(handle, 0o600)
    finally:
        os.close(handle)
    return absent
