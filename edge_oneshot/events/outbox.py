"""Events on disk until the broker has them: commit first, publish then, delete on its acknowledgement.

One SQLite file per instance. One connection behind a lock: SQLite lets one writer in at a time anyway, and a single
connection closes cleanly from any thread. WAL and synchronous=FULL: what `commit` returned True for survives kill -9
and a power cut. Bounded: past `max_events` the oldest go, past `max_age_s` the outlived go; counted, logged per burst.

A disk that is full or gone does not stop the daemon. Events then wait in memory (bounded, and lost with the process),
`status().fault` says so, and they move to disk as soon as it takes them. A damaged file is moved aside, never deleted.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from edge_oneshot.config import SLUG
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.events.clock import Clock, Moment, read_clock
from edge_oneshot.events.outbox_file import DiskFault, OutboxFile
from edge_oneshot.events.stored import EPOCH, OutboxStatus, StoredEvent, from_row
from edge_oneshot.types import Event

log = logging.getLogger(__name__)
T = TypeVar("T")

_MEMORY_EVENTS = 1000  # that may wait for a disk that takes nothing
_RESERVED = 1000  # counter values that one write to the disk reserves
_EXPIRE_EVERY_NS = 1_000_000_000
_OUTLIVED = """(boot_id = :boot AND captured_boottime_ns < :boottime_ns)
    OR (boot_id <> :boot AND :synced AND clock_synced AND ts_us < :ts_us)"""


class Outbox:
    """The undelivered events of one instance. Safe to use from several threads."""

    def __init__(
        self, path: Path, *, max_events: int = 10_000, max_age_s: float = 86_400.0, clock: Clock = read_clock
    ) -> None:
        """Open or make `path` (0600). Raises EdgeOneshotError if this user may not write there."""
        self._max_events, self._max_age_s, self._clock = max_events, max_age_s, clock
        self._lock = threading.RLock()
        self._file = OutboxFile(path)
        self._closed = False
        self._fault = ""
        self._waiting: deque[StoredEvent] = deque()  # committed, and not on disk for want of one
        self._undeleted: set[str] = set()  # acknowledged, and the disk did not take the deletion yet
        self._counts: Counter[str] = Counter()  # counted, and not yet added to the file's counters
        self._bursts: Counter[str] = Counter()
        self._expired_ns = 0
        self._counter = self._counter_end = 0
        self._seq = self._try(lambda db: int(db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]), 0)

    def commit(self, event: Event) -> bool:
        """Store `event`; True once it is on disk, False if it waits in memory because the disk does not take it.

        A second commit of the same event_id changes nothing. Raises ValueError or TypeError for a body that cannot be
        sent (an identity that is no slug, no JSON), EdgeOneshotError after close().
        """
        identity = event.body.get("identity")
        if (event.event_type == "match" or identity is not None) and not (
            isinstance(identity, str) and SLUG.fullmatch(identity)
        ):
            raise ValueError(f"Event.body identity: expected a slug [a-z0-9_-]+, got {identity!r}")
        json.dumps(event.body, allow_nan=False)  # fails here, at the one who made it, and not later in the link
        now = self._clock()
        captured = event.captured_ns
        if event.boot_id == now.boot_id:
            captured = now.boottime_ns - (now.monotonic_ns - event.captured_ns)
        with self._lock:
            if self._closed:
                raise EdgeOneshotError("outbox: expected it open, got a commit after close()")
            self._seq += 1
            self._waiting.append(
                StoredEvent(seq=self._seq, event=event, captured_boottime_ns=captured, clock_synced=now.synced)
            )
            self._settle(now)
            if len(self._waiting) > min(_MEMORY_EVENTS, self._max_events):
                self._waiting.popleft()
                self._counts.update(committed=1, dropped_overflow=1)
                self._tell("dropped_overflow", 1)
            return not self._waiting

    def pending(self, after_seq: int, limit: int) -> list[StoredEvent]:
        """At most `limit` events with seq > after_seq, oldest first. Outlived events are dropped first."""
        now = self._clock()
        with self._lock:
            if self._waiting or self._undeleted or now.boottime_ns - self._expired_ns >= _EXPIRE_EVERY_NS:
                self._settle(now)
            found = self._rows(
                "SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit + len(self._undeleted))
            )
            return [*found, *(w for w in self._waiting if w.seq > after_seq)][:limit]

    def fresh(self, after_seq: int, limit: int, max_age_s: float) -> list[StoredEvent]:
        """Those of the pending that were captured in the last `max_age_s`, in the same order. Call it after `pending`."""
        now = self._clock()
        since_ns = now.boottime_ns - int(max_age_s * 1e9)
        with self._lock:
            found = self._rows(
                """SELECT * FROM events INDEXED BY events_by_capture
                WHERE boot_id = ? AND captured_boottime_ns BETWEEN ? AND ? AND seq > ? ORDER BY seq LIMIT ?""",
                (now.boot_id, since_ns, now.boottime_ns, after_seq, limit + len(self._undeleted)),
            )
            waiting = (
                w
                for w in self._waiting
                if w.seq > after_seq and 0 <= (w.age_s(now) or 0.0) <= max_age_s and w.event.boot_id == now.boot_id
            )
            return [*found, *waiting][:limit]

    def delete(self, event_ids: Iterable[str]) -> None:
        """Forget events that the broker acknowledged. What a full disk does not delete now is deleted later."""
        with self._lock:
            ids = set(event_ids)
            before = len(self._waiting)
            self._waiting = deque(w for w in self._waiting if w.event.event_id not in ids)
            self._counts["committed"] += before - len(self._waiting)  # delivered without ever having been on disk
            self._undeleted |= ids
            self._settle(self._clock())
            for kind, number in self._bursts.items():
                log.warning("outbox: %d events were dropped (%s) since the last delivery", number, kind)
            self._bursts.clear()

    def remember_clear(self, topic: str) -> None:
        """Note on disk that a retained topic must be emptied at the broker, also if this process ends before."""
        with self._lock:
            self._try(lambda db: db.execute("INSERT OR IGNORE INTO clears VALUES (?)", (topic,)), None)

    def forget_clear(self, topic: str, *, emptied: bool) -> None:
        """The broker took the emptying, or the topic is in use again."""
        with self._lock:
            self._try(lambda db: db.execute("DELETE FROM clears WHERE topic = ?", (topic,)), None)
            if emptied:
                self._try(lambda db: db.execute("DELETE FROM retained WHERE topic = ?", (topic,)), None)

    def remember_retained(self, topic: str) -> None:
        """Note on disk that the broker keeps something for us there, for a later process that wants to tidy up."""
        with self._lock:
            self._try(lambda db: db.execute("INSERT OR IGNORE INTO retained VALUES (?)", (topic,)), None)

    def retained(self) -> list[str]:
        """The topics where the broker keeps something of ours, of earlier processes too."""
        with self._lock:
            return self._try(
                lambda db: [str(r[0]) for r in db.execute("SELECT topic FROM retained ORDER BY topic")], []
            )

    def note(self, name: str) -> str | None:
        """What `keep_note` kept."""
        with self._lock:
            found: list[str] = []
            rows = self._try(
                lambda db: [str(r[0]) for r in db.execute("SELECT value FROM notes WHERE name = ?", (name,))], found
            )
            return rows[0] if rows else None

    def keep_note(self, name: str, value: str) -> None:
        """Keep a short text over restarts: what a later process must know to tidy up at the broker."""
        with self._lock:
            self._try(lambda db: db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value)), None)

    def clears(self) -> list[str]:
        """The topics to empty."""
        with self._lock:
            return self._try(lambda db: [str(r[0]) for r in db.execute("SELECT topic FROM clears ORDER BY topic")], [])

    def next_counter(self) -> int:
        """A number that was never given before, also by an earlier process: for signatures. 1,000 are reserved at a time."""
        with self._lock:
            if self._counter >= self._counter_end:
                # Without a disk the clock still rises, unless it is set back.
                end = self._try(_reserve, 0) or max(self._counter_end, time.time_ns() // 1_000) + _RESERVED
                self._counter, self._counter_end = max(self._counter_end, end - _RESERVED), end
            self._counter += 1
            return self._counter

    def status(self) -> OutboxStatus:
        now = self._clock()
        with self._lock:
            found = self.pending(0, 1)
            stored = self._try(lambda db: int(db.execute("SELECT count(*) FROM events").fetchone()[0]), 0)
            counts: Counter[str] = Counter(
                self._try(lambda db: dict(db.execute("SELECT name, value FROM counters").fetchall()), {})
            )
            counts += self._counts
            age = None
            if found:
                age = found[0].age_s(now)
                age = round(max(0.0, (now.wall - found[0].event.ts).total_seconds() if age is None else age), 3)
            return OutboxStatus(
                depth=max(0, stored - len(self._undeleted)) + len(self._waiting),
                in_memory=len(self._waiting),
                oldest_age_s=age,
                committed=counts["committed"],
                dropped_overflow=counts["dropped_overflow"],
                dropped_age=counts["dropped_age"],
                fault=self._fault,
            )

    def close(self) -> None:
        """Close the file. The link must have stopped; later calls other than commit do nothing."""
        with self._lock:
            self._closed = True
            self._file.close()

    # ---- inside, with the lock held

    def _try(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """`work` in one transaction, or `otherwise` and a fault that status() tells and the log has once."""
        if self._closed:
            return otherwise
        try:
            return self._file.run(work)
        except DiskFault as e:
            if not self._fault:
                log.error("outbox: %s; new events wait in memory only, and a restart loses them: free some space", e)
            self._fault = str(e)
            return otherwise

    def _rows(self, query: str, values: tuple[object, ...]) -> list[StoredEvent]:
        nothing: list[tuple[object, ...]] = []
        rows = self._try(lambda db: db.execute(query, values).fetchall(), nothing)
        return [from_row(row) for row in rows if row[1] not in self._undeleted]

    def _settle(self, now: Moment) -> None:
        """Bring the file up to date in one transaction: waiting events in, acknowledged and surplus ones out."""
        done = self._try(lambda db: self._write(db, now), None)
        if done is not None:
            if self._fault and (
                self._waiting or self._undeleted
            ):  # reading alone proves nothing: a full disk can be read
                log.warning("outbox: the disk takes events again")
                self._fault = ""
            self._seq = max(self._seq, done["seq"])
            self._waiting.clear()
            self._undeleted.clear()
            self._counts.clear()
            self._expired_ns = now.boottime_ns
            for kind in ("dropped_overflow", "dropped_age"):
                self._tell(kind, done[kind])

    def _write(self, db: sqlite3.Connection, now: Moment) -> Counter[str] | None:
        done: Counter[str] = Counter()
        for w in self._waiting:
            # Numbers only rise, whatever the file holds: a collision would lose an event.
            done["committed"] += db.execute(
                """INSERT INTO events VALUES (max(?, (SELECT coalesce(max(seq), 0) + 1 FROM events)), ?,?,?,?,?,?,?,?)
                ON CONFLICT (event_id) DO NOTHING""",
                (
                    w.seq,
                    w.event.event_id,
                    w.event.event_type,
                    (w.event.ts - EPOCH) // timedelta(microseconds=1),
                    w.event.captured_ns,
                    w.event.boot_id,
                    w.captured_boottime_ns,
                    w.clock_synced,
                    json.dumps(w.event.body, ensure_ascii=False),
                ),
            ).rowcount
        db.executemany("DELETE FROM events WHERE event_id = ?", [(i,) for i in self._undeleted])
        limits = {
            "boot": now.boot_id,
            "boottime_ns": now.boottime_ns - int(self._max_age_s * 1e9),
            "synced": now.synced,
            "ts_us": (now.wall - EPOCH) // timedelta(microseconds=1) - int(self._max_age_s * 1e6),
        }
        done["dropped_age"] = db.execute(f"DELETE FROM events WHERE {_OUTLIVED}", limits).rowcount
        count, last = db.execute("SELECT count(*), coalesce(max(seq), 0) FROM events").fetchone()
        if count > self._max_events:
            db.execute(
                "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?)",
                (count - self._max_events,),
            )
            done["dropped_overflow"] = count - self._max_events
        db.executemany(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            list((self._counts + done).items()),
        )
        done["seq"] = int(last)
        return done

    def _tell(self, kind: str, number: int) -> None:
        """Say it once per burst; a burst ends at the next delivery, which tells the sum."""
        if number and not self._bursts[kind]:
            limit = (
                f"more than {self._max_events} wait"
                if kind == "dropped_overflow"
                else f"older than {self._max_age_s:g} s"
            )
            log.warning("outbox: dropping undelivered events (%s)", limit)
        if number:
            self._bursts[kind] += number


def _reserve(db: sqlite3.Connection) -> int:
    """The end of a block of counter values. A file that was moved aside must not start anew: begin at the wall clock."""
    row = db.execute(
        """INSERT INTO counters VALUES ('signature', ?) ON CONFLICT (name)
        DO UPDATE SET value = max(value, excluded.value) + ? RETURNING value""",
        (time.time_ns() // 1_000, _RESERVED),
    ).fetchone()
    return int(row[0])
