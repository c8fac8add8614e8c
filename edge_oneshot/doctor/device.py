"""Clock, permissions, disk and power. The checks only read."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from edge_oneshot import installation
from edge_oneshot.config import Config
from edge_oneshot.doctor import Finding, fault, ok, warning
from edge_oneshot.events.clock import clock_synced
from edge_oneshot.installation import GROUP
from edge_oneshot.service import system
from edge_oneshot.service.pace import EASY_C, LIMIT_C

# A full outbox and the logs of SQLite stay well below the second limit.
LITTLE_DISK_BYTES, TOO_LITTLE_DISK_BYTES = 500_000_000, 50_000_000
SUPPLY = "use a power supply and a cable made for this board"
# Bits of `vcgencmd get_throttled` (Raspberry Pi documentation): under-voltage now, throttled now, under-voltage since boot.
UNDER_VOLTAGE, THROTTLED_NOW, EVER = 0x1, 0x2 | 0x4 | 0x8, 0x10000


def clock() -> Finding:
    now = datetime.now(UTC)
    if clock_synced():
        return ok("clock", f"synchronised, {now:%Y-%m-%d %H:%M:%S} UTC")
    return warning(
        "clock",
        f"{now:%Y-%m-%d %H:%M:%S} UTC, not synchronised: events are marked so, and a lock must ignore them",
        "sudo timedatectl set-ntp true, and allow access to a time server; `timedatectl` shows the state",
    )


def permissions(config: Config) -> Iterator[Finding]:
    """State folder, gallery and outbox belong to one user, the socket to the group, and this user is in the group."""
    yield from _state(config)
    path = config.socket_path
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o007:
            yield fault(
                "socket",
                f"{path}: expected mode 0660, got {mode:04o}: every user may send requests to the daemon",
                "restart the daemon",
            )
    except FileNotFoundError:
        pass
    except PermissionError:
        yield _membership(path)
        return
    if config.system and os.geteuid() != 0:
        yield _membership(path)


def _membership(path: Path) -> Finding:
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        return fault("group", f"no group {GROUP} on this system", installation.how_to_repair())
    me = _user(os.geteuid())
    if group.gr_gid in (*os.getgroups(), os.getegid()):
        return ok("group", f"{me} is in the group {GROUP} and may use the daemon")
    return fault(
        "group",
        f"this session of {me} is not in the group {GROUP} and may not use {path}",
        installation.how_to_join_group(),
    )


def _state(config: Config) -> Iterator[Finding]:
    folder = config.state_dir
    try:
        about = folder.stat()
    except FileNotFoundError:
        yield ok("state", f"{folder} does not exist yet; it is created when it is needed")
        return
    except OSError as e:
        yield fault("state", f"{folder}: {e.strerror}", "check the parent folders")
        return
    faults = []
    mode = stat.S_IMODE(about.st_mode)
    if mode & 0o077 and config.system:
        faults.append(fault("state", f"{folder}: expected mode 0700, got {mode:04o}", f"sudo chmod 700 {folder}"))
    if not os.access(folder, os.R_OK | os.X_OK):
        yield from faults or [
            ok("state", f"{folder} is private to its owner; `sudo edge-oneshot doctor` checks its files")
        ]
        return
    for file in sorted(p for p in folder.iterdir() if ".sqlite" in p.name):
        inside = file.stat()
        mode = stat.S_IMODE(inside.st_mode)
        if mode & 0o077:
            faults.append(
                fault(
                    "state", f"{file}: expected mode 0600, got {mode:04o}: other users may read it", f"chmod 600 {file}"
                )
            )
        if inside.st_uid != about.st_uid:
            owner = _user(about.st_uid)
            faults.append(
                fault(
                    "state",
                    f"{file}: expected owner {owner}, got {_user(inside.st_uid)}: the daemon cannot open it",
                    f"sudo chown {owner}: {file}",
                )
            )
    if not faults and about.st_uid == os.geteuid() and not os.access(folder, os.W_OK):
        faults.append(fault("state", f"cannot write to {folder}", "mount the file system read-write"))
    yield from faults or [
        ok("state", f"{folder}: owner {_user(about.st_uid)}, mode {stat.S_IMODE(about.st_mode):04o}, files 0600")
    ]


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def disk(config: Config) -> Finding:
    folder = config.state_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    about = os.statvfs(folder)
    text = f"{free / 1e6:.0f} MB free at {folder}"
    if about.f_flag & os.ST_RDONLY:
        return fault(
            "disk",
            f"{folder} is mounted read-only: enrollments and events cannot be stored",
            "read the reason in `dmesg`; a worn-out SD card is a common one",
        )
    if free < TOO_LITTLE_DISK_BYTES:
        return fault("disk", text, "free space: enrollments and events need it")
    if about.f_files and not about.f_favail:
        return fault(
            "disk", f"{text}, but no free inode", "delete files that you do not need; leave those in the state folder"
        )
    if free < LITTLE_DISK_BYTES:
        return warning("disk", text, "free space soon")
    return ok("disk", text)


def power() -> Iterator[Finding]:
    """Under-voltage and heat, if the device reports them."""
    bits, celsius, limit_c = system.throttled(), system.temperature_c(), system.limit_c() or LIMIT_C
    if bits is not None and bits & UNDER_VOLTAGE:
        yield fault("power", f"under-voltage now (0x{bits:x})", SUPPLY)
    elif bits is not None and bits & EVER:
        yield warning("power", f"under-voltage has occurred since the boot (0x{bits:x})", SUPPLY)
    elif bits is not None and bits & THROTTLED_NOW:
        yield warning("power", f"the processor is throttled now (0x{bits:x})", "cool the device")
    elif bits is not None:
        yield ok("power", "no under-voltage")
    if celsius is not None and celsius > limit_c - EASY_C:
        slow = "the processor is throttled" if celsius >= limit_c else "the daemon processes fewer frames"
        yield warning(
            "heat",
            f"{celsius:.0f} degrees Celsius, and the limit is {limit_c:.0f}: {slow}",
            "add a heat sink or a fan, or lower camera.fps",
        )
    elif celsius is not None:
        yield ok("heat", f"{celsius:.0f} degrees Celsius")
