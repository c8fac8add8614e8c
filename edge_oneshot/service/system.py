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


SENSIBLE_C = (-40.0, 125.0)  # a sensor that is absent or off reads the end of its range, such as 127 or -128
THERMAL, FIRMWARE = Path("/sys/class/thermal"), Path("/sys/devices/platform")


def temperature_c(thermal: Path = THERMAL) -> float | None:
    """Temperature of the processor, degrees Celsius; None without a thermal zone, and for a reading that no processor has."""
    zone = _zone(thermal)
    return None if zone is None else _celsius(zone / "temp")


def limit_c(thermal: Path = THERMAL) -> float | None:
    """The lowest temperature at which the kernel slows the processor down; None if the zone states none, as on a Raspberry Pi."""
    zone = _zone(thermal)
    found = []
    for kind in () if zone is None else zone.glob("trip_point_*_type"):
        if _text(kind) == "passive":
            celsius = _celsius(kind.with_name(kind.name.removesuffix("type") + "temp"))
            found += [celsius] if celsius is not None and celsius > 0 else []
    return min(found, default=None)


def throttled(firmware: Path = FIRMWARE) -> int | None:
    """The Raspberry Pi firmware's throttling bits (as `vcgencmd get_throttled`), 0 = fine; None elsewhere."""
    for path in firmware.glob("soc*/soc*:firmware/get_throttled"):
        try:
            return int(_text(path), 16)
        except ValueError:
            continue
    return None


def _zone(thermal: Path) -> Path | None:
    """The thermal zone of the processor: the first that its type names so, else the first one."""
    zones = sorted(thermal.glob("thermal_zone*"), key=lambda z: (len(z.name), z.name))
    named = [z for z in zones if any(word in _text(z / "type").lower() for word in ("cpu", "soc", "x86_pkg"))]
    return next(iter(named or zones), None)


def _celsius(path: Path) -> float | None:
    try:
        celsius = int(_text(path)) / 1000
    except ValueError:
        return None
    return celsius if SENSIBLE_C[0] <= celsius <= SENSIBLE_C[1] else None


def _text(path: Path) -> str:
    """The content of a small file of the kernel; empty if it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
