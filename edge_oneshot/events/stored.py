"""What the outbox gives back: an event with what was known when it was committed, and how the outbox is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edge_oneshot.events.clock import Moment
from edge_oneshot.types import Event

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """A committed event. seq: its place in the order. captured_boottime_ns: capture, on the clock that counts sleep too.

    clock_synced: whether `event.ts` was read from a synchronised wall clock.
    """

    seq: int
    event: Event
    captured_boottime_ns: int
    clock_synced: bool

    def age_s(self, now: Moment) -> float | None:
        """Seconds since capture, without the wall clock; None after a reboot, when no clock spans the two."""
        if self.event.boot_id != now.boot_id:
            return None
        return (now.boottime_ns - self.captured_boottime_ns) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """depth: events that wait. oldest_age_s: of the oldest, None if empty. fault: what is wrong with the disk, or "".

    in_memory: those of `depth` that the end of the process would lose. The counters live in the file.
    """

    depth: int
    in_memory: int
    oldest_age_s: float | None
    committed: int
    dropped_overflow: int
    dropped_age: int
    fault: str


def from_row(row: tuple[object, ...]) -> StoredEvent:
    """A row of the table `events`, in the order of its columns."""
    seq, event_id, event_type, ts_us, captured_ns, boot, captured_boottime_ns, synced, body = row
    event = Event(
        event_id=str(event_id),
        event_type=str(event_type),
        ts=EPOCH + timedelta(microseconds=int(str(ts_us))),
        captured_ns=int(str(captured_ns)),
        boot_id=str(boot),
        body=json.loads(str(body)),
    )
    return StoredEvent(
        seq=int(str(seq)), event=event, captured_boottime_ns=int(str(captured_boottime_ns)), clock_synced=bool(synced)
    )
