"""Readings of the operating system, and notifications to systemd. Standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from pathlib import Path

# mallopt(3) of the GNU C library
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE_BYTES = 256 * 1024


def return_large_blocks() -> None:
    """Let the C library return each block of 256 kB or more to the system when it is freed, and keep at most two arenas.

    By default it begins to keep such blocks after the first pictures. Their places are filled with small objects, so the heap
    grows for hours although no object is leaked. Without the GNU C library this does nothing.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((M_MMAP_THRESHOLD, LARGE_BYTES), (M_TRIM_THRESHOLD, LARGE_BYTES), (M_ARENA_MAX, 2)):
            mallopt(parameter, value)


def notify(message: str) -> bool:
    """Send a state to systemd, as sd_notify(3): "READY=1", "WATCHDOG=1", "STATUS=…". False if no supervisor receives it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(2.0)  # a full queue of the receiver must not block the loop for ever
        try:
            connection.sendto(message.encode(), address)
        except OSError:
            return False
    return True


def resident_bytes() -> int | None:
    """Resident memory of this process, bytes; None without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def temperature_c() -> float | None:
    """Temperature of the processor, degrees Celsius; None without a thermal zone."""
    try:
        return int(Path("/sys/class/thermal/thermal_zone0/temp").read_text()) / 1000
    except (OSError, ValueError):
        return None


def throttled() -> int | None:
    """The Raspberry Pi firmware's throttling bits (as `vcgencmd get_throttled`), 0 = fine; None elsewhere."""
    try:
        return int(Path("/sys/devices/platform/soc/soc:firmware/get_throttled").read_text(), 16)
    except (OSError, ValueError):
        return None
