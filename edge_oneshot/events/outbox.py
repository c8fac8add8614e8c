"""The outbox file of one instance, and the parts that share it.

Each part has one role: `events` is the queue of undelivered events, `topics` lists the retained topics at the broker,
`notes` keeps short texts, `counter` numbers the signatures. They share one connection behind one lock.
"""

from __future__ import annotations

from pathlib import Path

from edge_oneshot.events.clock import Clock, read_clock
from edge_oneshot.events.ledger import Notes, SignatureCounter, TopicLedger
from edge_oneshot.events.queue import EventQueue
from edge_oneshot.storage.database import Checksum, Count, Schema
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.storage.optional import OptionalDatabase

SCHEMA = Schema(
    kind="outbox",
    application_id=0x454F6F62,  # "EOob"
    table="events",
    damage_hint="the daemon moves it aside and begins a new one",
    busy_timeout_s=5.0,
    wal=True,
    synchronous="FULL",  # a committed event survives kill -9 and a power cut
    steps=(
        (
            """CREATE TABLE events (
                seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, event_type TEXT NOT NULL, ts_us INTEGER NOT NULL,
                captured_ns INTEGER NOT NULL, boot_id TEXT NOT NULL, captured_boottime_ns INTEGER NOT NULL,
                clock_synced INTEGER NOT NULL, body TEXT NOT NULL) STRICT""",
            "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
            "CREATE TABLE clears (topic TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
        ),
        (
            "CREATE TABLE retained (topic TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
            "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        ),
        # Finds the events that were captured just now without reading a long backlog.
        ("CREATE INDEX events_by_capture ON events (boot_id, captured_boottime_ns)",),
        tuple(map(Checksum, ("events", "counters", "clears", "retained", "notes"))),
        tuple(map(Count, ("events", "counters", "clears", "retained", "notes"))),
    ),
    private=(("events", "body"), ("clears", "topic"), ("retained", "topic"), ("notes", "value")),
)


class Outbox:
    """Opens or creates the file at `path` (0600). All parts are safe to use from several threads."""

    def __init__(
        self,
        path: Path,
        *,
        max_events: int = 10_000,
        max_age_s: float = 86_400.0,
        clock: Clock = read_clock,
        keys: Keys = NO_KEYS,
    ) -> None:
        """keys: as in Database. Raises StorageError if this user may not write there. Other faults are in `events.status().fault`."""
        self._file = OptionalDatabase(path, SCHEMA, "new events wait in memory, and a restart loses them", keys)
        self._file.require_permission()
        self.events = EventQueue(self._file, max_events=max_events, max_age_s=max_age_s, clock=clock)
        self.topics = TopicLedger(self._file)
        self.notes = Notes(self._file)
        self.counter = SignatureCounter(self._file)

    def close(self) -> None:
        """Close the file. The link must have stopped; later calls other than `events.commit` do nothing."""
        self._file.close()
