"""One device's view of its fleet: messages in, the record in force of each topic, messages out.

What is in force is a function of the set of records that were seen, so their order and repetition do not matter (fleet/merge.py).
A message that cannot be judged yet, since its key or its author is not known here, is held in memory and judged again later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_oneshot.fleet import contents, merge, records, topics
from edge_oneshot.fleet.hlc import Hlc, HlcClock, wall_ms
from edge_oneshot.fleet.invite import DeviceKeys
from edge_oneshot.fleet.keys import Epoch, open_sealed
from edge_oneshot.fleet.members import ADMIN, Member, admission_of, evaluate
from edge_oneshot.fleet.records import Record
from edge_oneshot.fleet.store import EMPTY, NOT_DUE, OWN, REPAIR, Row, Store, Topic
from edge_oneshot.fleet.topics import AUDIT, KEY, MEMBER, PERSON, REVOKED, STATE, TEMPLATE
from edge_oneshot.storage.cipher import Cipher

NEW, KNOWN, OLDER, HELD, REFUSED, EMPTIED = "new", "known", "older", "held", "refused", "emptied"
FOR_LIFE = {MEMBER, REVOKED, KEY}  # encrypted with the key that stays for the life of the fleet
MAX_HELD = 10_000  # messages; the broker has them still
KEEP_REMOVALS_MS = 400 * 24 * 3600 * 1000


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


class Core:
    """The base of Fleet. It belongs to one thread."""

    def __init__(self, store: Store, now_ms: Callable[[], int] = wall_ms) -> None:
        """store: of a device that belongs to a fleet. now_ms: the wall clock."""
        self.store, self.keep_removals_ms = store, KEEP_REMOVALS_MS
        self.name, self.root = self._secret("name").decode(), self._secret("root").decode()
        self.fleet_id = topics.device_id(self.root)
        self.life = Cipher(self._secret("life"))
        self._device = DeviceKeys(self._secret("sign"), self._secret("exchange"))
        self._signer = self._device.signer
        self.key = self._signer.public.hex()
        self.device_id = topics.device_id(self.key)
        own = store.db.rows(
            "SELECT wall, count FROM records WHERE author = ? ORDER BY wall DESC, count DESC LIMIT 1", (self.key,)
        )
        self.clock = HlcClock(now_ms, Hlc(*own[0]) if own else Hlc(0, 0))
        self._held: dict[str, bytes] = {}
        self.lost_held = False  # more messages were held than fit: subscribe anew
        self._depth = 0
        self._load()

    def _load(self) -> None:
        """Read anew what is kept in memory."""
        self._epochs = [Epoch(n, key, author, sig) for _, n, key, author, sig in self.store.epochs()]
        self._ciphers = {cipher.key_id: cipher for cipher in (self.life, *(Cipher(e.key) for e in self._epochs))}
        self._members = self._evaluate()
        self._changed = self.store.last_change()
        self._retake = False

    def _secret(self, name: str) -> bytes:
        value = self.store.secret(name)
        assert value is not None, f"the store has no {name}"
        return value

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Everything in the `with` block is stored together, or not at all if it raises."""
        if self._depth:
            yield
            return
        self._depth = 1
        try:
            with self.store.db.transaction():
                yield
                self._finish()
        except BaseException:
            self._load()
            raise
        finally:
            self._depth = 0

    def _finish(self) -> None:
        """The last part of a transaction."""
        self._judge_held()

    # ---- messages in

    def take(self, topic: str, payload: bytes) -> Taken:
        """Apply a retained message of the broker. topic: relative to `<prefix>/fleet/<fleet id>/`. Never raises for its content."""
        with self.batch():
            return self._take(topic, payload)

    def _take(self, topic: str, payload: bytes) -> Taken:
        self._held.pop(topic, None)
        try:
            kind = topics.kind_of(topic)
        except ValueError as e:
            return Taken(REFUSED, str(e))
        if not payload:
            return self._emptied(topic)
        try:
            key_id = records.key_id_of(payload)
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
            return self._hold(topic, payload, Taken(REFUSED, why), void=True)
        self.clock.observe(record.hlc)
        state = NEW
        mine = self.store.rows("topic = ? AND author = ?", topic, record.author)
        if mine and mine[0].id == record.id:
            state = KNOWN
        elif mine and mine[0].rank > merge.rank_of(record):
            state = OLDER
        else:
            self._keep(record, key_id)
        at = self._recompute(topic, seen=record.id)
        return Taken(OLDER if at.due or at.best_id not in (EMPTY, record.id) else state)

    def _keep(self, record: Record, key_id: str) -> None:
        """Store a record, and what follows from it for other topics."""
        self.store.put(record, key_id, self.clock.now_ms())
        if record.kind in (MEMBER, REVOKED):
            self._admit(record)
        elif record.kind == KEY and record.subject == self.device_id:
            self._learn_epochs(record)

    def _hold(self, topic: str, payload: bytes, taken: Taken, *, void: bool = False) -> Taken:
        if len(self._held) >= MAX_HELD:
            self._held.pop(next(iter(self._held)))
            self.lost_held = True
        self._held[topic] = payload
        if void:
            self._note_void(topic)
        else:  # it may be newer than what is known here, so nothing is repaired
            at = self.store.topic(topic)
            if at.seen is not None or at.due == REPAIR:
                self.store.put_topic(at._replace(seen=None, due=OWN if at.due == OWN else NOT_DUE))
        return taken

    def _judge_held(self) -> None:
        """Judge the held messages again after the members or keys have changed."""
        while self._retake:
            self._retake = False
            for topic, payload in list(self._held.items()):
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

    # ---- what is in force

    def _recompute(self, topic: str, *, seen: bytes | None = None, own: bool = False) -> Topic:
        """Find the record in force of a topic anew. seen: what the broker is now known to hold. own: this device has changed it."""
        before = self.store.topic(topic)
        kind = topics.kind_of(topic)
        rows = self.store.rows("topic = ?", topic)
        best = self._best(kind, topic, rows)
        at = before._replace(
            best="" if best is None else best.author,
            best_id=EMPTY if best is None else best.id,
            seen=before.seen if seen is None else seen,
        )
        if at.best_id != before.best_id and kind in (PERSON, TEMPLATE):
            self._bump(topics.topic_of(PERSON, rows[0].person) if kind == TEMPLATE and rows else topic)
            at = at._replace(changed=self._changed if kind == PERSON else 0)
        wanted = self._wanted(at, best, rows)
        if wanted is None or wanted == at.seen:
            due = NOT_DUE
        elif own or (before.due == OWN and at.best == self.key):
            due = OWN
        else:
            due = REPAIR if at.seen is not None or before.best_id else NOT_DUE
        at = at._replace(due=due)
        if at != before:
            self.store.put_topic(at)
        if kind == PERSON and (at.best_id != before.best_id or len(rows) > 1):
            self._settle_person(topic, rows, best)
        elif kind == TEMPLATE and rows:
            for row in merge.outlived_templates(rows, self.person_row(rows[0].person)):
                self.store.drop(row)
        return at

    def _best(self, kind: str, topic: str, rows: list[Row]) -> Row | None:
        subject = topics.subject_of(topic)
        if kind in (MEMBER, REVOKED):
            member = self._by_device.get(subject)
            record = None if member is None else member.admitted if kind == MEMBER else member.revocation
            return next((r for r in rows if record is not None and r.id == record.id), None)
        counting = [r for r in rows if merge.counts(kind, subject, r, self._members)]
        if kind == TEMPLATE:
            return merge.best_template(counting, self.person_row(rows[0].person) if rows else None)
        return merge.best(counting)

    def person_row(self, subject: str) -> Row | None:
        """The person record in force."""
        topic = topics.topic_of(PERSON, subject)
        author = self.store.topic(topic).best
        found = self.store.rows("topic = ? AND author = ?", topic, author) if author else []
        return found[0] if found else None

    def _wanted(self, at: Topic, best: Row | None = None, rows: list[Row] | None = None) -> bytes | None:
        """The id of what the broker should hold at a topic; EMPTY; None: this device has nothing to say."""
        kind = topics.kind_of(at.topic)
        rows = self.store.rows("topic = ?", at.topic) if rows is None else rows
        best = best or next((r for r in rows if r.author == at.best), None)
        if best is not None:
            if kind == PERSON and best.removed and (at.seen == best.id or (at.seen == EMPTY and at.due != OWN)):
                old = self.clock.now_ms() - best.at > self.keep_removals_ms
                return EMPTY if old else at.seen
            return best.id
        if kind == TEMPLATE and at.seen:  # of a person who was removed, or of an earlier enrollment
            person = self.person_row(rows[0].person) if rows else None
            return EMPTY if merge.obsolete(rows, person) else None
        return None

    def _bump(self, person_topic: str) -> None:
        self._changed += 1
        self.store.db.execute("UPDATE topics SET changed = ? WHERE topic = ?", (self._changed, person_topic))

    def _settle_person(self, topic: str, rows: list[Row], best: Row | None) -> None:
        """After the person record in force has changed: conflicts, what is to be forgotten, and the templates."""
        if best is not None:
            for row in merge.conflicts(rows, best):
                if merge.counts(PERSON, best.topic, row, self._members):
                    self.store.put_conflict(topics.subject_of(topic), row.lineage, self.store.raw(row))
            for row in merge.outlived(rows, best):
                self.store.drop(row)
        for about in {row.topic for row in self.store.rows("person = ?", topics.subject_of(topic))}:
            self._recompute(about)

    # ---- members and keys

    def _evaluate(self) -> dict[str, Member]:
        admissions = [records.read(raw) for raw in self.store.raws("topic GLOB 'member/*'")]
        revocations = [records.read(raw) for raw in self.store.raws("topic GLOB 'revoked/*'")]
        found = evaluate(self.root, admissions, revocations)
        self._by_device = {member.device_id: member for member in found.values()}
        return found

    def _admit(self, record: Record) -> None:
        """Who belongs to the fleet may have changed."""
        author = self._members.get(record.author)
        if record.kind == MEMBER and author is not None and author.counts(record.id):
            new = admission_of(record.raw)
            revoked = self.store.rows("topic = ?", f"{REVOKED}/{record.subject}")
            if new.role != ADMIN and new.key not in self._members and not revoked:  # nothing else can follow from it
                member = Member(record.subject, new, record, (author.seniority[0] + 1, record.hlc, new.key))
                self._members[new.key] = self._by_device[record.subject] = member
                self._retake = self._retake or bool(self._held)
                return
        before, self._members = self._members, self._evaluate()
        changed = [key for key in before.keys() | self._members.keys() if before.get(key) != self._members.get(key)]
        self._retake = self._retake or bool(changed)
        affected = {r.topic for key in changed for r in self.store.rows("author = ?", key)}
        affected |= {f"{kind}/{topics.device_id(key)}" for key in changed for kind in (MEMBER, REVOKED)}
        people_first = sorted(affected, key=lambda topic: (topic.startswith(TEMPLATE), topic))
        for topic in people_first:
            self._recompute(topic)

    def _learn_epochs(self, record: Record) -> None:
        with contextlib.suppress(ValueError):
            sealed = record.content["sealed"]
            for epoch in open_sealed(sealed, self._device.exchange, self.fleet_id, self.device_id):
                self._add_epoch(epoch)

    def _add_epoch(self, epoch: Epoch) -> None:
        if epoch.key_id not in self._ciphers:
            self.store.put_epoch(epoch.key_id, epoch.number, epoch.key, epoch.author, epoch.signature)
            self._epochs.append(epoch)
            self._ciphers[epoch.key_id] = Cipher(epoch.key)
            self._retake = True

    @property
    def epoch(self) -> Epoch:
        """The fleet key that encrypts what is new."""

        def rank(epoch: Epoch) -> tuple[bool, int, str]:
            maker = self._members.get(epoch.author)
            return maker is not None and maker.in_force and maker.role == ADMIN, epoch.number, epoch.key_id

        return max(self._epochs, key=rank)

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
        row = self.store.rows("topic = ? AND author = ?", at.topic, at.best)[0]
        key = self.life if topics.kind_of(at.topic) in FOR_LIFE else self._ciphers[self.epoch.key_id]
        return Message(at.topic, records.seal(self.store.raw(row), key, self.fleet_id, at.topic), repair=at.due != OWN)

    def acknowledged(self, topic: str, payload: bytes) -> None:
        """The broker has accepted a message of `outgoing`."""
        with self.batch():
            seen = EMPTY
            if payload:
                cipher = self._ciphers[records.key_id_of(payload)]
                seen = records.id_of(records.unseal(payload, cipher, self.fleet_id, topic))
            self._note_seen(self.store.topic(topic), seen)

    def absent(self, prefix: str, present: set[str]) -> None:
        """The broker has sent all that it holds below `prefix` (for example "person/3f/"): what is not in `present` it does not hold."""
        with self.batch():
            for at in self.store.topics("topic GLOB ? AND best <> ''", f"{prefix}*"):
                if at.topic not in present and at.seen != EMPTY:
                    self._recompute(at.topic, seen=EMPTY)

    def expire(self) -> None:
        """Empty the topics of people who were removed longer ago than `keep_removals_ms`. It stays remembered here."""
        limit = self.clock.now_ms() - self.keep_removals_ms
        with self.batch():
            for row in self.store.rows("removed = 1 AND at < ?", limit):
                at = self.store.topic(row.topic)
                if at.best_id == row.id and at.seen == row.id:
                    self.store.put_topic(at._replace(due=REPAIR))

    def held(self) -> int:
        """The number of messages that are held until their key or author is known."""
        return len(self._held)


__all__ = ["AUDIT", "STATE", "Core", "Message", "Taken"]
