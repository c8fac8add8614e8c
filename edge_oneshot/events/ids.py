"""Event ids, and the id of the boot that an event belongs to."""

from __future__ import annotations

import functools
import secrets
import threading
import time
import uuid
from pathlib import Path

_TAIL_BITS = 74  # what UUIDv7 has beside the millisecond, the version and the variant
_lock = threading.Lock()
_last_ms = 0
_last_tail = 0


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
