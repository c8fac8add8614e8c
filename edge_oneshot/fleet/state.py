"""One device's view of its fleet: the members, the keys, and the record in force of each topic.

What is in force is a function of the set of records that were seen, so their order and repetition do not matter (fleet/merge.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_oneshot.errors import FleetError
from edge_oneshot.fleet import merge, records, topics
from edge_oneshot.fleet.hlc import Hlc, HlcClock, wall_ms
from edge_oneshot.fleet.invite import DeviceKeys
from edge_oneshot.fleet.keys import Epoch, open_sealed
from edge_oneshot.fleet.members import ADMIN, Member, admission_of, evaluate
from edge_oneshot.fleet.records import Record
from edge_oneshot.fleet.store import EMPTY, NOT_DUE, OWN, REPAIR, Row, Store, Topic
from edge_oneshot.fleet.topics import MEMBER, PERSON, REVOKED, TEMPLATE
from edge_oneshot.storage.cipher import Cipher

KEEP_REMOVALS_MS = 400 * 24 * 3600 * 1000


class State:
    """The base of Core. It belongs to one thread."""

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
            "SELECT wall, tick FROM records WHERE author = ? ORDER BY wall DESC, tick DESC LIMIT 1", (self.key,)
        )
        self.clock = HlcClock(now_ms, Hlc(*own[0]) if own else Hlc(0, 0))
        self._depth = 0
        self._load()

    def _load(self) -> None:
        """Read anew what is kept in memory."""
        self._epochs = [Epoch(n, key, author, sig) for _, n, key, author, sig in self.store.epochs()]
        self._ciphers = {cipher.key_id: cipher for cipher in (self.life, *(Cipher(e.key) for e in self._epochs))}
        self._members = self._evaluate()
        self._changed = self.store.last_change()
        self._retake = False  # the held messages are to be judged again

    def refresh(self) -> None:
        """Another process has changed the file."""
        self._load()

    def _secret(self, name: str) -> bytes:
        value = self.store.secret(name)
        if value is None:  # the power was cut while it was founded or joined
            raise FleetError(
                f"fleet: expected the keys of this device, got a file without them ({self.store.db.path})",
                "edge-oneshot fleet leave; then found or join the fleet again",
            )
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
        return self.store.best(self.store.topic(topics.topic_of(PERSON, subject)))

    def _wanted(self, at: Topic, best: Row | None = None, rows: list[Row] | None = None) -> bytes | None:
        """The id of what the broker should hold at a topic; EMPTY; None: this device has nothing to say."""
        kind = topics.kind_of(at.topic)
        rows = self.store.rows("topic = ?", at.topic) if rows is None else rows
        best = best or next((r for r in rows if r.id == at.best_id), None)
        if best is not None:
            if (
                kind == PERSON
                and best.removed
                and at.due != OWN
                and self._expired(best)
                and at.seen in (EMPTY, best.id)
            ):
                return EMPTY if at.due == REPAIR else at.seen  # the broker may hold it, or nothing
            return best.id
        if kind == TEMPLATE and at.seen:  # of a person who was removed, or of an earlier enrollment
            person = self.person_row(rows[0].person) if rows else None
            return EMPTY if merge.obsolete(rows, person) else None
        return None

    def _expired(self, removal: Row) -> bool:
        """Whether the broker need not hold a removal any more. The time is its author's, so all devices agree within their clocks."""
        return self.clock.now_ms() - removal.wall > self.keep_removals_ms

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
        for about in {row.topic for row in self.store.rows("person = ? AND person <> ''", topics.subject_of(topic))}:
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
                self._retake = True
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
    def epochs(self) -> int:
        """The number of fleet keys that are known here."""
        return len(self._epochs)

    @property
    def epoch(self) -> Epoch:
        """The fleet key that encrypts what is new."""

        def rank(epoch: Epoch) -> tuple[bool, int, str]:
            maker = self._members.get(epoch.author)
            return maker is not None and maker.in_force and maker.role == ADMIN, epoch.number, epoch.key_id

        return max(self._epochs, key=rank)
