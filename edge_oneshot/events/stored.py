"""An event as the outbox stores it, and the state of the outbox."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edge_oneshot.events.clock import Moment
from edge_oneshot.storage.database import Database, Row, Value, text
from edge_oneshot.types import Event

MAX_SEQ = 2**62  # the next numbers still fit the column
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = "seq, event_id, event_type, ts_us, captured_ns, boot_id, captured_boottime_ns, clock_synced, body"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """A committed event. seq: its position in the order. captured_boottime_ns: capture, by the clock that includes sleep.

    clock_synced: whether `event.ts` was read from a synchronised wall clock.
    """

    seq: int
    event: Event
    captured_boottime_ns: int
    clock_synced: bool

    def age_s(self, now: Moment) -> float | None:
        """Seconds since capture, without the wall clock; None after a reboot, since no clock covers both boots."""
        if self.event.boot_id != now.boot_id:
            return None
        return (now.boottime_ns - self.captured_boottime_ns) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """depth: events that wait. oldest_age_s: of the oldest, None if none waits. fault: what is wrong with the disk, or "".

    in_memory: those of `depth` that the end of the process would lose. set_aside: stored events that could not be read.
    The file keeps the counters.
    """

    depth: int
    in_memory: int
    oldest_age_s: float | None
    committed: int
    dropped_overflow: int
    dropped_age: int
    set_aside: int
    fault: str


def to_row(db: Database, stored: StoredEvent) -> tuple[Value, ...]:
    """The values of COLUMNS. In a sealed file the body, which names people, is sealed."""
    event = stored.event
    return (
        stored.seq,
        event.event_id,
        event.event_type,
        microseconds(event.ts),
        event.captured_ns,
        event.boot_id,
        stored.captured_boottime_ns,
        stored.clock_synced,
        db.hide(json.dumps(event.body, ensure_ascii=False), "events", "body"),
    )


def read_events(db: Database, clause: str = "", values: tuple[Value, ...] = ()) -> list[StoredEvent]:
    """The stored events. A row that cannot be read is set aside."""
    return db.read("events", lambda row: from_row(db, row), clause, values)


def from_row(db: Database, row: Row) -> StoredEvent:
    """The event of a row of COLUMNS. Raises ValueError, TypeError or OverflowError if the row is damaged."""
    seq, event_id, event_type, ts_us, captured_ns, boot, captured_boottime_ns, synced, body = row
    values = json.loads(db.reveal(text(body), "events", "body"))
    if not isinstance(values, dict):
        raise ValueError(f"body: expected a JSON object, got {body!r}"[:100])
    event = Event(
        event_id=text(event_id),
        event_type=text(event_type),
        ts=EPOCH + timedelta(microseconds=int(ts_us)),
        captured_ns=int(captured_ns),
        boot_id=text(boot),
        body=values,
    )
    if not 0 < seq < MAX_SEQ:
        raise ValueError(f"seq: expected a number from 1 to {MAX_SEQ}, got {seq}")
    return StoredEvent(
        seq=int(seq), event=event, captured_boottime_ns=int(captured_boottime_ns), clock_synced=bool(synced)
    )


def microseconds(moment: datetime) -> int:
    """Since the Unix epoch."""
    return (moment - EPOCH) // timedelta(microseconds=1)
