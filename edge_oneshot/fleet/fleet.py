"""`Fleet`: what one device knows of its fleet and may change in it. No network: fleet/link.py and fleet/agent.py carry the messages.

fleet, recovery = Fleet.found(path, name="gym", device_name="desk")    # on the first device
code = fleet.invite("door", "gate")                                    # the agent publishes fleet.answer(place, request)
joining = Joining(code); joining.request -> ...; fleet = joining.finish(path, answer)    # on the second one

fleet.take(topic, payload)                  # each retained message
for m in fleet.outgoing(): ...publish...; fleet.acknowledged(m.topic, m.payload)
with fleet.batch(): ...                     # many of these in one transaction
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edge_oneshot.errors import FleetError
from edge_oneshot.fleet import audit, contents, invite, keys, records, recovery, topics
from edge_oneshot.fleet.contents import Person
from edge_oneshot.fleet.core import Core, Message, Taken
from edge_oneshot.fleet.hlc import MAX_COUNT, MAX_WALL, wall_ms
from edge_oneshot.fleet.managing import Managing
from edge_oneshot.fleet.members import ADMIN, Member
from edge_oneshot.fleet.store import Row, Store
from edge_oneshot.fleet.topics import AUDIT, MEMBER, PERSON, REVOKED, STATE
from edge_oneshot.storage.cipher import new_key
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.types import Identity

__all__ = ["Conflict", "Core", "Fleet", "Joining", "Member", "Message", "Person", "Taken"]


class Conflict(NamedTuple):
    """Two people were enrolled under one id, without one desk knowing of the other. identity: who is not in force. author: the desk."""

    subject: str
    identity: Identity
    author: str


class Fleet(Managing):
    """The fleet of this device. One thread."""

    @classmethod
    def found(
        cls,
        path: Path,
        *,
        name: str,
        device_name: str,
        keys_of_device: Keys = NO_KEYS,
        now_ms: Callable[[], int] = wall_ms,
    ) -> tuple[Fleet, str]:
        """(a new fleet with this device as its first admin, the recovery code, to be kept on paper).

        path: of the file, or IN_MEMORY. Raises FleetError if this device belongs to a fleet.
        """
        root, code = recovery.new_root()
        fleet = cls._begin(path, name, root.public.hex(), new_key(), invite.DeviceKeys(), keys_of_device, now_ms)
        with fleet.batch():
            key, exchange = fleet._device.public
            content = {"key": key, "exchange": exchange, "role": ADMIN, "name": device_name}
            fleet._add_epoch(keys.new_epoch(fleet._signer, fleet.fleet_id, 1))
            fleet._write(f"{MEMBER}/{fleet.device_id}", content, signer=root)
            fleet.hand_out_keys()
        return fleet, code

    @classmethod
    def open(cls, path: Path, keys_of_device: Keys = NO_KEYS, now_ms: Callable[[], int] = wall_ms) -> Fleet:
        """The fleet of this device. Raises FleetError if it belongs to none, StorageError if the file cannot be used.

        A file without the keys of the device, of a founding that was cut off, is no membership.
        """
        if not path.exists():
            raise FleetError(
                f"fleet: this device belongs to none ({path} is absent)",
                "edge-oneshot fleet init, or edge-oneshot fleet join",
            )
        store = Store(path, keys_of_device)
        try:
            return cls(store, now_ms)
        except BaseException:
            store.close()
            raise

    @classmethod
    def _begin(
        cls,
        path: Path,
        name: str,
        root: str,
        life: bytes,
        device: invite.DeviceKeys,
        keys_of_device: Keys,
        now_ms: Callable[[], int],
    ) -> Fleet:
        store = Store(path, keys_of_device)
        try:
            if store.secret("root") is not None:
                raise FleetError(f"fleet: this device belongs to one already ({path})", "edge-oneshot fleet leave")
            with store.db.transaction():
                values = {"name": name.encode(), "root": root.encode(), "life": life}
                for about, value in {**values, "sign": device.sign, "exchange": device.exchange}.items():
                    store.put_secret(about, value)
            return cls(store, now_ms)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        self.store.close()

    # ---- what is in force

    def members(self) -> list[Member]:
        """All members, revoked ones included, the most senior admins first; not the root key."""
        listed = [m for m in self._members.values() if m.admitted is not None]
        return sorted(listed, key=lambda m: (m.role != ADMIN, m.seniority))

    @property
    def member(self) -> Member | None:
        """This device; None until its admission is known here."""
        return self._members.get(self.key)

    def subject(self, identity_id: str) -> str:
        """The hash that stands for an id."""
        return topics.person_subject(self.life, identity_id)

    def people(self) -> dict[str, Person]:
        """identity_id -> person, of those in force."""
        found = (self.person(row) for row in self._in_force(PERSON) if not row.removed)
        return {person.identity.identity_id: person for person in found}

    def changed_since(self, change: int) -> tuple[int, dict[str, Person | None]]:
        """(the number of the last change, subject -> person of those who have changed since `change`; None: not in force any more)."""
        where = "topic GLOB 'person/*' AND changed > ?"
        found: dict[str, Person | None] = {}
        for at in self.store.topics(where, change):
            row = self.person_row(topics.subject_of(at.topic))
            found[topics.subject_of(at.topic)] = None if row is None or row.removed else self.person(row)
        return self._changed, found

    def person(self, row: Row) -> Person:
        """The person of a record in force."""
        record = records.read(self.store.raw(row))
        templates = {}
        for about in {r.topic for r in self.store.rows("person = ? AND person <> ''", record.subject)}:
            at = self.store.topic(about)
            for raw in self.store.raws("topic = ? AND id = ?", about, at.best_id):
                encoder_id, listed = contents.templates_of(records.read(raw))
                if listed:
                    templates[encoder_id] = listed
        return Person(
            subject=record.subject,
            identity=contents.identity_of(record),
            rules=record.content["rules"],
            generation=row.generation,
            lineage=row.lineage,
            author=topics.device_id(row.author),
            changed_ms=row.wall,
            templates=templates,
        )

    def digests(self) -> dict[str, str]:
        """slice ("person/3f", "template/a0") -> a hash of the people in force in it. Equal on devices that have the same."""
        found: dict[str, Any] = {}
        for topic, best in self.store.best_live():
            found.setdefault(topic.rpartition("/")[0], hashlib.sha256()).update(topic.encode() + best)
        return {name: state.hexdigest()[:32] for name, state in found.items()}

    def _in_force(self, kind: str) -> Iterator[Row]:
        for at in self.store.topics("topic GLOB ? AND best <> ''", f"{kind}/*"):
            yield from self.store.rows("topic = ? AND id = ?", at.topic, at.best_id)

    def states(self) -> dict[str, Mapping[str, Any]]:
        """device id -> what it has reported last (`report`)."""
        return {
            topics.device_id(row.author): records.read(self.store.raw(row)).content for row in self._in_force(STATE)
        }

    def state_time(self, device_id: str) -> int | None:
        """When a device has reported last, ms since 1970 by its clock."""
        found = self.store.rows("topic = ?", f"{STATE}/{device_id}")
        return max((row.wall for row in found), default=None)

    # ---- what a person should know

    def conflicts(self) -> list[Conflict]:
        """People who lost their id to another one. They are not in force: enroll them under another id, then `dismiss`."""
        found = []
        for subject, _, raw in self.store.conflicts():
            record = records.read(raw)
            found.append(Conflict(subject, contents.identity_of(record), topics.device_id(record.author)))
        return found

    def dismiss(self, subject: str) -> None:
        """Do not list the conflicts about this id again."""
        with self.batch():
            self.store.dismiss_conflict(subject)

    def voided(self) -> list[tuple[str, str, bool]]:
        """(topic, device id, removed) of people's records that a revoked device has written and that do not count, where they are
        newer than what is in force. An admin can check and enroll, or remove, these people again."""
        found = []
        for member in self._members.values():
            if member.in_force:
                continue
            for row in self.store.rows("author = ? AND topic GLOB 'person/*'", member.key):
                best = self.person_row(topics.subject_of(row.topic))
                if not member.counts(row.id) and (best is None or row.rank > best.rank):
                    found.append((row.topic, member.device_id, bool(row.removed)))
        return found

    def readable_by(self, device_id: str) -> set[str]:
        """The subjects of people whose templates a device could read.

        Those published under a fleet key that it was given; and those signed before it was revoked, whatever key encrypts them here:
        they may have been published anew since. A device that is in force can read everybody.
        """
        revocations = self.store.rows("topic = ?", f"{REVOKED}/{device_id}")
        until = min(((row.wall, row.tick) for row in revocations), default=(MAX_WALL, MAX_COUNT))
        held = self._given(device_id)
        rows = self.store.rows("topic GLOB 'template/*'")
        return {row.person for row in rows if row.epoch in held or (row.wall, row.tick) < until}

    def audit(self) -> list[audit.ChainReport]:
        """The check of every log that is known here, one for each author."""
        segments: dict[str, list[audit.Segment]] = {}
        for row in self._in_force(AUDIT):
            segment = audit.Segment.of(records.read(self.store.raw(row)))
            segments.setdefault(row.author, []).append(segment)
        in_force: dict[str, dict[int, tuple[str, str]]] = {}
        for at in self.store.topics("best <> ''"):
            for row in self.store.rows("topic = ? AND id = ? AND seq > 0", at.topic, at.best_id):
                in_force.setdefault(row.author, {})[row.seq] = (row.topic, row.id.hex())
        return [
            audit.verify(topics.device_id(author), segments.get(author, ()), in_force.get(author, {}))
            for author in sorted(segments.keys() | in_force.keys())
        ]


class Joining:
    """A device that joins a fleet with a one-time code."""

    def __init__(self, code: str) -> None:
        """Raises FleetError for a typing error."""
        self._secret = invite.secret_of(code)
        self._device = invite.DeviceKeys()
        self.place = invite.place_of(self._secret)
        self.request = invite.request(self._secret, self._device)

    def finish(
        self,
        path: Path,
        payload: bytes,
        *,
        name: str,
        keys_of_device: Keys = NO_KEYS,
        now_ms: Callable[[], int] = wall_ms,
    ) -> Fleet:
        """The fleet, from the answer of an admin. name: what this device calls the fleet. Raises FleetError if it is no answer."""
        try:
            about = invite.open_answer(self._secret, self._device, payload)
            fleet = Fleet._begin(path, name, about.root, about.life, self._device, keys_of_device, now_ms)
        except ValueError as e:
            raise FleetError(f"fleet join: the answer is refused: {e}", "ask for a new code and try again") from None
        with fleet.batch():
            for topic, message in about.records:
                fleet.take(topic, message)
        return fleet
