"""Messages in and out. A message that cannot be judged yet, since its key or its author is not known here, is held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_oneshot.fleet import contents, merge, records, topics
from edge_oneshot.fleet.hlc import wall_ms
from edge_oneshot.fleet.records import Record
from edge_oneshot.fleet.state import State
from edge_oneshot.fleet.store import EMPTY, NOT_DUE, OWN, REPAIR, Store, Topic, row_of
from edge_oneshot.fleet.topics import AUDIT, KEY, MEMBER, REVOKED, STATE

NEW, KNOWN, OLDER, HELD, REFUSED, EMPTIED = "new", "known", "older", "held", "refused", "emptied"
FOR_LIFE = {MEMBER, REVOKED, KEY}  # encrypted with the key that stays for the life of the fleet
_KNOWN_MS = 30 * 24 * 3600 * 1000
MAX_HELD = 10_000  # messages; the broker has them still
MAX_HELD_BYTES = 16 * 1024 * 1024  # of these; an eighth of it for what devices say of themselves, which they say again


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a message. state: new: it is in force, or is kept; known; older: a newer one is known here; held: its key or its
    author is not known yet; refused: `reason` says why; emptied: the broker holds nothing at the topic."""

    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A retained message to publish. payload: b"": empty the topic.

    repair: the broker has lost this or holds an older one; other devices may publish the same, so wait for a random time first.
    """

    topic: str
    payload: bytes
    repair: bool


class Core(State):
    """The base of Fleet that exchanges messages."""

    def __init__(self, store: Store, now_ms: Callable[[], int] = wall_ms) -> None:
        self._held: dict[str, tuple[bytes, str]] = {}
        self._held_bytes = 0
        self.lost_held = False  # more messages were held than fit: subscribe anew
        super().__init__(store, now_ms)

    def _finish(self) -> None:
        super()._finish()
        self._judge_held()

    # ---- messages in

    def take(self, topic: str, payload: bytes) -> Taken:
        """Apply a retained message of the broker. topic: relative to `<prefix>/fleet/<fleet id>/`. Never raises for its content."""
        with self.batch():
            return self._take(topic, payload)

    def _take(self, topic: str, payload: bytes) -> Taken:
        self._forget(topic)
        try:
            kind = topics.kind_of(topic)
        except ValueError as e:
            return Taken(REFUSED, str(e))
        if not payload:
            return self._emptied(topic)
        try:
            key_id = records.key_id_of(payload, topic)
            cipher = self._ciphers.get(key_id)
            if cipher is None:
                return self._hold(topic, payload, Taken(HELD, "its fleet key is not known here"))
            if (cipher is self.life) != (kind in FOR_LIFE):
                raise ValueError("it is encrypted with a key of another use")
            raw = records.unseal(payload, cipher, self.fleet_id, topic)
            record_id = records.id_of(raw)
            known = self.store.topic(topic)
            if known.best_id == record_id:
                self._note_seen(known, record_id)
                return Taken(KNOWN)
            record = records.verify(raw, self.fleet_id, topic)
            contents.check(record, self.life)
        except ValueError as e:
            self._note_void(topic)
            return Taken(REFUSED, str(e))
        return self._judge(record, key_id, payload)

    def _judge(self, record: Record, key_id: str, payload: bytes) -> Taken:
        """Keep a verified record, if its author may write it."""
        topic, author = record.topic, self._members.get(record.author)
        if author is None:
            return self._hold(topic, payload, Taken(HELD, "its author is not known here"))
        why = merge.refusal(record.kind, record.subject, record.id, author)
        if why:  # but a later message may change who its author is
            self._note_void(topic)
            return self._remember(topic, payload, Taken(REFUSED, why))
        self.clock.observe(record.hlc)
        state = NEW
        mine = self.store.rows("topic = ? AND author = ?", topic, record.author)
        # A removal is kept besides the others. A row that does not count was revoked, and `record` is one that stays.
        rivals = [row for row in mine if not record.removed and not row.removed and author.counts(row.id)]
        if record.id in {row.id for row in mine}:
            state = KNOWN
        elif any(row.rank > row_of(record).rank for row in rivals):
            state = OLDER
        else:
            self._keep(record, key_id)
        at = self._recompute(topic, seen=record.id)
        if not at.due and at.best_id in (EMPTY, record.id):
            return Taken(state)
        return self._remember(topic, payload, Taken(OLDER))  # the newer one may turn out to be void

    def _keep(self, record: Record, key_id: str) -> None:
        """Store a record, and what follows from it for other topics."""
        self.store.put(record, key_id, self.clock.now_ms())
        if record.kind in (MEMBER, REVOKED):
            self._admit(record)
        elif record.kind == KEY and record.subject == self.device_id:
            self._learn_epochs(record)

    def _hold(self, topic: str, payload: bytes, taken: Taken) -> Taken:
        """Keep a message that cannot be judged. It may be newer than what is known here, so nothing is repaired."""
        at = self.store.topic(topic)
        if at.seen is not None or at.due == REPAIR:
            self.store.put_topic(at._replace(seen=None, due=OWN if at.due == OWN else NOT_DUE))
        return self._remember(topic, payload, taken)

    def _remember(self, topic: str, payload: bytes, taken: Taken) -> Taken:
        """Judge the message again when the members or keys have changed."""
        size = self._held_bytes + len(payload)
        if topics.kind_of(topic) in (STATE, AUDIT) and (size > MAX_HELD_BYTES // 8 or len(self._held) >= MAX_HELD // 8):
            return taken
        self._held[topic] = payload, taken.state
        self._held_bytes = size
        while len(self._held) > MAX_HELD or self._held_bytes > MAX_HELD_BYTES:
            self._forget(next(iter(self._held)))
            self.lost_held = True
        return taken

    def _forget(self, topic: str) -> None:
        """Do not hold the message of a topic any more."""
        payload, _ = self._held.pop(topic, (b"", ""))
        self._held_bytes -= len(payload)

    def _judge_held(self) -> None:
        """Judge the held messages again after the members or keys have changed."""
        while self._retake:
            self._retake = False
            for topic, (payload, _) in list(self._held.items()):
                self._take(topic, payload)

    def _emptied(self, topic: str) -> Taken:
        at = self.store.topic(topic)
        if at.best_id or at.due:
            self._recompute(topic, seen=EMPTY)
        return Taken(EMPTIED)

    def _note_seen(self, at: Topic, seen: bytes) -> None:
        """The broker is known to hold this."""
        if at.seen != seen or at.due:
            new = at._replace(seen=seen)
            wanted = self._wanted(new)
            self.store.put_topic(new._replace(due=NOT_DUE if wanted in (None, seen) else max(at.due, REPAIR)))

    def _note_void(self, topic: str) -> None:
        """The broker holds a message that means nothing: publish the record in force again."""
        at = self.store.topic(topic)
        if at.best_id:
            self.store.put_topic(at._replace(seen=None, due=max(at.due, REPAIR)))

    # ---- messages out

    def outgoing(self) -> Iterator[Message]:
        """The retained messages to publish now, changes of this device first; again each time until `acknowledged`."""
        for at in self.store.topics("due > 0 ORDER BY due DESC, topic"):
            message = self.message(at)
            if message is not None:
                yield message

    def message(self, at: Topic) -> Message | None:
        """The message for a topic; None: there is nothing to publish."""
        wanted = self._wanted(at)
        if wanted is None:
            return None
        if wanted == EMPTY:
            return Message(at.topic, b"", repair=at.due != OWN)
        row = self.store.best(at)
        assert row is not None, at.topic  # else nothing would be wanted
        key = self.life if topics.kind_of(at.topic) in FOR_LIFE else self._ciphers[self.epoch.key_id]
        return Message(at.topic, records.seal(self.store.raw(row), key, self.fleet_id, at.topic), repair=at.due != OWN)

    def acknowledged(self, topic: str, payload: bytes) -> None:
        """The broker has accepted a message of `outgoing`."""
        with self.batch():
            seen = EMPTY
            if payload:
                cipher = self._ciphers[records.key_id_of(payload, topic)]
                seen = records.id_of(records.unseal(payload, cipher, self.fleet_id, topic))
            self._note_seen(self.store.topic(topic), seen)

    def absent(self, prefix: str, present: set[str]) -> None:
        """The broker has sent all that it holds below `prefix` (for example "person/3f/"): what is not in `present` it does not hold."""
        with self.batch():
            for at in self.store.topics("topic GLOB ? AND best <> ''", f"{prefix}*"):
                if at.topic not in present and at.seen != EMPTY:
                    self._recompute(at.topic, seen=EMPTY)

    def expire(self) -> None:
        """Empty the topics of people who were removed longer ago than `keep_removals_ms`; to be called once a day or so.

        The removal stays remembered here. A device that has learned of it within the last month leaves this to others: the clock of
        the author may be wrong.
        """
        with self.batch():
            for row in self.store.rows("removed = 1 AND at < ?", self.clock.now_ms() - _KNOWN_MS):
                at = self.store.topic(row.topic)
                if at.best_id == at.seen == row.id and self._expired(row):
                    self.store.put_topic(at._replace(due=REPAIR))

    def held(self) -> int:
        """The number of messages that are held until their key or author is known."""
        return sum(state == HELD for _, state in self._held.values())
