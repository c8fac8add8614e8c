"""Events on disk until the broker has them: committed before they are sent, deleted when they are acknowledged.

Bounded: beyond `max_events` the oldest are dropped, beyond `max_age_s` the expired; drops are counted and logged once per
burst. A disk that is full or gone does not stop the daemon: events then wait in memory (bounded, and lost with the
process), and they move to the disk as soon as it accepts them.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Iterable

from edge_oneshot.config import SLUG
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.events.clock import Clock, Moment
from edge_oneshot.events.ledger import counter
from edge_oneshot.events.stored import COLUMNS, OutboxStatus, StoredEvent, microseconds, read_events, to_row
from edge_oneshot.storage.database import Database, Value
from edge_oneshot.storage.optional import OptionalDatabase, delete_moved_aside
from edge_oneshot.types import Event

log = logging.getLogger(__name__)

_MEMORY_EVENTS = 1000  # that may wait for a disk that accepts nothing
_EXPIRE_EVERY_NS = 1_000_000_000
_EXPIRED = """(boot_id = ? AND captured_boottime_ns < ?)
    OR (boot_id <> ? AND ? AND clock_synced AND ts_us < ?)"""


class EventQueue:
    """The undelivered events of one instance. Safe to use from several threads."""

    def __init__(self, file: OptionalDatabase, *, max_events: int, max_age_s: float, clock: Clock) -> None:
        self._file, self._lock = file, file.lock
        self._max_events, self._max_age_s, self._clock = max_events, max_age_s, clock
        self._waiting: deque[StoredEvent] = deque()  # committed, but the disk did not accept them yet
        self._undeleted: set[str] = set()  # acknowledged, but the disk did not accept the deletion yet
        self._counts: Counter[str] = Counter()  # not yet added to the counters in the file
        self._bursts: Counter[str] = Counter()
        self._expired_ns = 0
        self._seq = file.run(_last_seq, 0)

    def commit(self, event: Event) -> bool:
        """Store `event`. True: it is on disk. False: it waits in memory because the disk does not accept it.

        A second commit of the same event_id changes nothing. Raises ValueError or TypeError for a body that cannot be
        sent (an identity that is no slug, a value that is no JSON), EdgeOneshotError after close().
        """
        identity = event.body.get("identity")
        if (event.event_type in ("match", "denied") or identity is not None) and not (
            isinstance(identity, str) and SLUG.fullmatch(identity)
        ):
            raise ValueError(f"Event.body identity: expected a slug [a-z0-9_-]+, got {identity!r}")
        json.dumps(event.body, allow_nan=False)  # raises here, in the caller, and not later in the link
        now = self._clock()
        captured = event.captured_ns
        if event.boot_id == now.boot_id:
            captured = now.boottime_ns - (now.monotonic_ns - event.captured_ns)
        with self._lock:
            if self._file.closed:
                raise EdgeOneshotError("outbox: expected it open, got a commit after close()")
            self._seq += 1
            self._waiting.append(
                StoredEvent(seq=self._seq, event=event, captured_boottime_ns=captured, clock_synced=now.synced)
            )
            self._settle(now)
            if len(self._waiting) > min(_MEMORY_EVENTS, self._max_events):
                self._waiting.popleft()
                self._counts.update(committed=1, dropped_overflow=1)
                self._count_drops("dropped_overflow", 1)
            return not self._waiting

    def pending(self, after_seq: int, limit: int) -> list[StoredEvent]:
        """At most `limit` events with seq > after_seq, oldest first. Expired events are dropped first."""
        now = self._clock()
        with self._lock:
            if self._waiting or self._undeleted or now.boottime_ns - self._expired_ns >= _EXPIRE_EVERY_NS:
                self._settle(now)
            found = self._stored("WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit + len(self._undeleted)))
            return [*found, *(w for w in self._waiting if w.seq > after_seq)][:limit]

    def fresh(self, after_seq: int, limit: int, max_age_s: float) -> list[StoredEvent]:
        """Those of the pending that were captured in the last `max_age_s`, in the same order. Call it after `pending`."""
        now = self._clock()
        since_ns = now.boottime_ns - int(max_age_s * 1e9)
        with self._lock:
            found = self._stored(
                """INDEXED BY events_by_capture
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
        """Delete events that the broker has acknowledged. What a full disk does not delete now is deleted later."""
        with self._lock:
            ids = set(event_ids)
            before = len(self._waiting)
            self._waiting = deque(w for w in self._waiting if w.event.event_id not in ids)
            self._counts["committed"] += before - len(self._waiting)  # delivered without having been on disk
            self._undeleted |= ids
            self._settle(self._clock())
            for kind, number in self._bursts.items():
                log.warning("outbox: %d events were dropped (%s) since the last delivery", number, kind)
            self._bursts.clear()

    def forget(self, identity_id: str) -> None:
        """Delete the events of a person who was removed, but not the news of it. Rows set aside may name anyone: they go, too."""

        def work(db: Database) -> None:
            stored = [s.event for s in read_events(db) if _about(s.event, identity_id)]
            db.execute_many("DELETE FROM events WHERE event_id = ?", [(event.event_id,) for event in stored])
            db.delete_set_aside()

        with self._lock:
            self._waiting = deque(w for w in self._waiting if not _about(w.event, identity_id))
            self._file.run(work, None)
            self._file.run_alone(lambda db: db.truncate_log(1.0), False)
        delete_moved_aside(self._file.path)

    def keep_only(self, identity_ids: Iterable[str]) -> None:
        """Forget all other people: those who were removed from the gallery while this instance did not run."""
        nothing: list[StoredEvent] = []
        with self._lock:
            events = [*self._file.run(read_events, nothing), *self._waiting]
        named = {str(s.event.body["identity"]) for s in events if s.event.body.get("identity") is not None}
        for identity_id in named - set(identity_ids):
            self.forget(identity_id)

    def set_aside(self, stored: StoredEvent, reason: str) -> None:
        """Take an event that cannot be sent out of the queue; the file keeps its row."""
        with self._lock:
            self._file.run(lambda db: db.set_aside("events", (stored.seq,), reason), None)
            self.delete([stored.event.event_id])  # if it waits in memory, or the disk is full

    def status(self) -> OutboxStatus:
        now = self._clock()
        with self._lock:
            found = self.pending(0, 1)
            stored = self._file.run(lambda db: db.count("events"), 0)
            nothing: list[tuple[str, int]] = []
            counters = self._file.run(lambda db: db.read("counters", counter), nothing)
            counts: Counter[str] = Counter(dict(counters)) + self._counts
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
                set_aside=self._file.run(Database.count_set_aside, 0),
                fault=self._file.fault,
            )

    # ---- inside, with the lock held

    def _stored(self, where: str, values: tuple[Value, ...]) -> list[StoredEvent]:
        """Events of the file. A row that cannot be read is set aside, and the rows behind it are returned."""

        def work(db: Database) -> tuple[list[StoredEvent], bool]:
            before = db.count_set_aside()
            found = read_events(db, where, values)
            return found, db.count_set_aside() != before

        while True:
            nothing: list[StoredEvent] = []
            found, damaged = self._file.run(work, (nothing, False))
            if not damaged:
                return [s for s in found if s.event.event_id not in self._undeleted]

    def _settle(self, now: Moment) -> None:
        """Bring the file up to date in one transaction: add waiting events, delete acknowledged and surplus ones."""
        # Expiry reads the whole backlog; the work of a commit must not grow with it.
        expire = now.boottime_ns - self._expired_ns >= _EXPIRE_EVERY_NS
        done = self._file.run(lambda db: self._write(db, now, expire), None)
        if done is None:
            return
        if self._waiting or self._undeleted:
            self._file.written()
        self._seq = max(self._seq, done["seq"])
        self._waiting.clear()
        self._undeleted.clear()
        self._counts.clear()
        self._expired_ns = now.boottime_ns if expire else self._expired_ns
        for kind in ("dropped_overflow", "dropped_age"):
            self._count_drops(kind, done[kind])

    def _write(self, db: Database, now: Moment, expire: bool) -> Counter[str] | None:
        done: Counter[str] = Counter()
        for stored in self._waiting:
            # Numbers only rise, whatever the file holds: a collision would lose an event.
            done["committed"] += db.execute(
                f"""INSERT INTO events ({COLUMNS}) VALUES
                (max(?, (SELECT coalesce(max(seq), 0) + 1 FROM events)), ?,?,?,?,?,?,?,?)
                ON CONFLICT (event_id) DO NOTHING""",
                to_row(db, stored),
            )
        db.execute_many("DELETE FROM events WHERE event_id = ?", [(i,) for i in self._undeleted])
        if expire:
            oldest_ns = now.boottime_ns - int(self._max_age_s * 1e9)
            oldest_us = microseconds(now.wall) - int(self._max_age_s * 1e6)
            done["dropped_age"] = db.execute(
                f"DELETE FROM events WHERE {_EXPIRED}", (now.boot_id, oldest_ns, now.boot_id, now.synced, oldest_us)
            )
        ((last,),) = db.rows("SELECT coalesce(max(seq), 0) FROM events")
        if (surplus := db.count("events") - self._max_events) > 0:
            db.execute("DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?)", (surplus,))
            done["dropped_overflow"] = surplus
        db.execute_many(
            "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            list((self._counts + done).items()),
        )
        done["seq"] = int(last)
        return done

    def _count_drops(self, kind: str, number: int) -> None:
        """Log the first drop of a burst. A burst ends at the next delivery, which logs the sum."""
        if number and not self._bursts[kind]:
            limit = (
                f"more than {self._max_events} wait"
                if kind == "dropped_overflow"
                else f"older than {self._max_age_s:g} s"
            )
            log.warning("outbox: dropping undelivered events (%s)", limit)
        if number:
            self._bursts[kind] += number


def _last_seq(db: Database) -> int:
    """The largest number of an event. Every row is read before: what follows relies on their numbers and times."""
    return max((stored.seq for stored in read_events(db)), default=0)


def _about(event: Event, identity_id: str) -> bool:
    return event.event_type != "forgotten" and event.body.get("identity") == identity_id
