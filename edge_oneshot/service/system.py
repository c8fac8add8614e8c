"""Readings of the operating system, and notifications to systemd. Standard library only."""

from __future__ import annotations

import os
import socket
from pathlib import Path


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
