"""What is published: Event."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edge_oneshot.types.checks import aware, require

EVENT_TYPES = (
    *("match", "confirmed", "denied", "unknown", "rejected", "gone"),
    *("enrolled", "forgotten", "threshold_changed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A published message. `late`, `expires_at`, `clock` and `signature` are computed each time it is sent, not here.

    event_id: UUIDv7. event_type: one of EVENT_TYPES. ts: capture time, aware, UTC.
    captured_ns: the monotonic time from which the age counts: capture, or the decision that nobody is in sight any more.
    boot_id: the boot that captured_ns belongs to; the age needs no wall clock.
    body: the fields of this event type, JSON values only (events/schema/event-v1.json, docs/reference/mqtt.md).
    """

    event_id: str
    event_type: str
    ts: datetime
    captured_ns: int
    boot_id: str
    body: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        aware("Event.ts", self.ts)
        require(self.event_type in EVENT_TYPES, "Event.event_type", f"one of {EVENT_TYPES}", self.event_type)
