"""One reading of all clocks that an event needs. A plain function, so that tests can pass another one."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edge_oneshot.events.ids import boot_id

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_ROOM = 512  # struct timex is 208 bytes on 64-bit Linux; all zeros means "read, change nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """monotonic_ns stops while the device sleeps, boottime_ns does not; both restart at each boot.

    wall: aware UTC. synced: whether the kernel calls its wall clock synchronised (NTP, PTP, GPS).
    """

    monotonic_ns: int
    boottime_ns: int
    wall: datetime
    synced: bool
    boot_id: str


Clock = Callable[[], Moment]


def read_clock() -> Moment:
    """The present moment."""
    return Moment(
        monotonic_ns=time.monotonic_ns(),
        boottime_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        wall=datetime.now(UTC),
        synced=clock_synced(),
        boot_id=boot_id(),
    )


def clock_synced() -> bool:
    """Whether the kernel calls the wall clock synchronised (adjtimex(2)). False where the kernel cannot be asked."""
    libc = _libc()
    if libc is None:
        return False
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_ROOM))
    return bool(0 <= state < _TIME_ERROR)


_LIBC: list[Any] = []


def _libc() -> Any:
    """The C library, or None where it has no adjtimex."""
    if not _LIBC:
        try:
            libc: Any = ctypes.CDLL(None)
            _ = libc.adjtimex
        except (OSError, AttributeError):
            libc = None
        _LIBC.append(libc)
    return _LIBC[0]
