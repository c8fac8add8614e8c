"""When an event happened and what it is called: one reading of all clocks, the id of the boot, and event ids."""

from __future__ import annotations

import ctypes
import functools
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_ROOM = 512  # struct timex is 208 bytes on 64-bit Linux; all zeros means "read, change nothing"
_TAIL_BITS = 74  # what UUIDv7 has beside the millisecond, the version and the variant
_lock = threading.Lock()
_last_ms = 0
_last_tail = 0


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
    """The present moment. A plain function, so that tests can pass another one."""
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


def new_event_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7), text form; the ids of one process sort in the order of their creation.

    Within one millisecond, and after the wall clock was set back, the last id is incremented (RFC 9562, section 6.2,
    method 2), so a correction of the clock does not change the order.
    """
    global _last_ms, _last_tail
    with _lock:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > _last_ms:
            _last_ms, _last_tail = now_ms, secrets.randbits(_TAIL_BITS - 1)  # top bit free: room to count up
        else:
            _last_tail += 1 + secrets.randbits(32)
            if _last_tail >> _TAIL_BITS:
                _last_ms, _last_tail = _last_ms + 1, secrets.randbits(_TAIL_BITS - 1)
        ms, tail = _last_ms, _last_tail
    rand_a, rand_b = tail >> 62, tail & ((1 << 62) - 1)
    return str(uuid.UUID(int=(ms & ((1 << 48) - 1)) << 80 | 7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b))


@functools.cache
def boot_id() -> str:
    """The kernel's id of this boot. Without one (no /proc): an id of this process, so that a restart counts as a boot.

    With the fallback the events of an earlier process are sent as late, which is the safe error.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(uuid.uuid4())
