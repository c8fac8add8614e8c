"""What an admin does: invite and admit devices, hand out and rotate keys, revoke, recover."""

from __future__ import annotations

import logging
from typing import NamedTuple

from edge_oneshot.errors import FleetError
from edge_oneshot.fleet import invite, keys, records, recovery, topics
from edge_oneshot.fleet.members import ADMIN, ROLES, Member, revocation_content
from edge_oneshot.fleet.store import REPAIR
from edge_oneshot.fleet.topics import KEY, MEMBER, PERSON, REVOKED, STATE, TEMPLATE
from edge_oneshot.fleet.writing import Writing
from edge_oneshot.storage.cipher import Signer

log = logging.getLogger(__name__)

MAX_KEPT = 20_000  # records that a revocation names; a message of 0.9 MB


class Kept(NamedTuple):
    """What stays of a revoked device. ids: as it has signed it. adopted: to be signed anew, people before templates."""

    ids: list[bytes]
    adopted: list[records.Record]


class Managing(Writing):
    """The base of Fleet that manages members. Each method raises FleetError if this device is no admin of the fleet."""

    def invite(self, role: str, name: str, valid_s: float = invite.VALID_S) -> str:
        """A one-time code with which another device joins. name: of that device; no other member may have it."""
        with self.batch():
            self._may(MEMBER)
            if role not in ROLES:
                raise FleetError(f"fleet invite: expected a role of {', '.join(ROLES)}, got {role!r}")
            if any(m.name == name and m.in_force for m in self._members.values()):
                raise FleetError(f"fleet invite: {name!r} is the name of another member", "choose another name")
            code = invite.new_code()
            secret = invite.secret_of(code)
            until = self.clock.now_ms() + round(valid_s * 1000)
            self.store.drop_invites("until < ?", self.clock.now_ms())
            self.store.put_invite(invite.place_of(secret), secret, role, name, until)
            return code

    def invited(self) -> list[str]:
        """The places at which requests are expected now: `join/<place>/request`."""
        return [place for place, _, _, _, until in self.store.invites() if until >= self.clock.now_ms()]

    def answer(self, place: str, payload: bytes) -> bytes:
        """Admit the device that has sent this request; the message for `join/<place>/answer`. The code is used up.

        Raises FleetError if there is no such code, it is too old, or the request was not made with it.
        """
        with self.batch():
            self._may(MEMBER)
            found = [i for i in self.store.invites() if i[0] == place and i[4] >= self.clock.now_ms()]
            if not found:
                raise FleetError(
                    "fleet join: the code is unknown, used or too old", "create one: edge-oneshot fleet invite"
                )
            _, secret, role, name, _ = found[0]
            try:
                key, exchange = invite.open_request(secret, payload)
            except ValueError as e:
                raise FleetError(f"fleet join: the request is refused: {e}") from None
            device = topics.device_id(key)
            if key in self._members:
                raise FleetError("fleet join: the keys of the request belong to a member", "join with new keys")
            content = {"key": key, "exchange": exchange, "role": role, "name": name}
            self._write(f"{MEMBER}/{device}", content)
            self._hand_out(self._by_device[device])
            self.store.drop_invites("place = ?", place)
            return invite.answer(
                secret, exchange, invite.Answer(self.root, self._secret("life"), self._first_of(device))
            )

    def _first_of(self, device: str) -> tuple[tuple[str, bytes], ...]:
        """The messages that a new device takes first: all admins, all who were revoked, itself, its keys.

        So the broker cannot withhold a revocation from it.
        """
        known = [m for m in self._members.values() if m.admitted is not None and (m.role == ADMIN or not m.in_force)]
        first = [
            f"{kind}/{m.device_id}" for kind in (MEMBER, REVOKED) for m in sorted(known, key=lambda m: m.seniority)
        ]
        messages = (self.message(self.store.topic(t)) for t in (*first, f"{MEMBER}/{device}", f"{KEY}/{device}"))
        return tuple((m.topic, m.payload) for m in messages if m is not None and m.payload)

    def hand_out_keys(self) -> int:
        """Give every member the fleet keys that it lacks; the number of members that got some. For example after a partition.

        A member to whom they cannot be given is logged, and gets them when whoever prevents it is revoked.
        """
        given = 0
        with self.batch():
            self._may(KEY)
            for member in [m for m in self._members.values() if m.in_force and m.admitted is not None]:
                try:
                    given += self._hand_out(member)
                except (FleetError, ValueError) as e:
                    log.warning("fleet: %s gets no fleet keys: %s", member.name, e)
        return given

    def _hand_out(self, member: Member) -> bool:
        topic = f"{KEY}/{member.device_id}"
        ids = {epoch.key_id for epoch in self._epochs}
        if ids <= self._held_by(member.device_id):
            return False
        sealed = keys.seal_for(member.admission.exchange, self._epochs, self.fleet_id, member.device_id)
        self._write(topic, {"epochs": sorted(ids), "sealed": sealed}, logged=False)
        return True

    def _given(self, device: str) -> set[str]:
        """The ids of the fleet keys that a device was ever given, also by an admin who was revoked since."""
        raws = self.store.raws("topic = ?", f"{KEY}/{device}")
        return {key_id for raw in raws for key_id in records.read(raw).content["epochs"]}

    def _held_by(self, device: str) -> set[str]:
        """The ids of the fleet keys that a device was given in the record in force."""
        at = self.store.topic(f"{KEY}/{device}")
        raws = self.store.raws("topic = ? AND id = ?", at.topic, at.best_id)
        return {key_id for raw in raws for key_id in records.read(raw).content["epochs"]}

    def rotate(self, *, encrypt_anew: bool = False) -> int:
        """Make a new fleet key for what is written from now on, and hand it to every member; its number.

        encrypt_anew: publish all people again, encrypted with it.
        """
        with self.batch():
            self._may(KEY)
            makers = {m.key for m in self._members.values() if m.in_force and m.role == ADMIN}
            number = 1 + max((e.number for e in self._epochs if e.author in makers), default=0)
            self._add_epoch(keys.new_epoch(self._signer, self.fleet_id, number))
            self.hand_out_keys()
            if encrypt_anew:
                for kind in (PERSON, TEMPLATE):
                    sql = "UPDATE topics SET due = max(due, ?) WHERE topic GLOB ? AND best <> ''"
                    self.store.db.execute(sql, (REPAIR, f"{kind}/*"))
            return number

    def stale_keys(self) -> set[str]:
        """The public keys of those who have revoked a device that made or holds the present fleet key: it is to be rotated."""
        present, maker = self.epoch.key_id, self.epoch.author
        return {
            m.revoked_by
            for key, m in self._members.items()
            if not m.in_force and m.admitted is not None and (key == maker or present in self._given(m.device_id))
        }

    def revoke(
        self, device_id: str, *, since_ms: int | None = None, recovery_code: str = "", rotate: bool = True
    ) -> None:
        """Exclude a device for ever. What it has written, as far as it is in force here, stays in force. Again: in the place of a junior.

        rotate: make a new fleet key at once; else the agent does, once the revocation is published (`stale_keys`).
        since_ms: what arrived here since then does not stay. recovery_code: sign with the root key, which can revoke any device.
        """
        with self.batch():
            own, member = self._may(REVOKED), self._by_device.get(device_id)
            if member is None or member.admitted is None:
                raise FleetError(
                    f"fleet {self.name}: no member has the id {device_id}", "list them: edge-oneshot fleet list"
                )
            signer = recovery.signer_of(recovery_code, self.root) if recovery_code else self._signer
            if not member.in_force and not self._outranks(signer, member.revoked_by):
                raise FleetError(f"fleet {self.name}: {member.name} was revoked before")
            if member.key == own.key:
                raise FleetError(
                    f"fleet {self.name}: a device cannot revoke itself", "revoke it on another admin device"
                )
            if signer is self._signer and member.role == ADMIN and member.seniority < own.seniority:
                raise FleetError(
                    f"fleet {self.name}: {member.name} is senior to this device",
                    "revoke it with the recovery code of the fleet",
                )
            # What an admin has revoked stays revoked, but the records that stay are those that were seen here.
            kept = [(about, self._kept(about, since_ms)) for about in (*self._revoked_through(member), member)]
            for about, stays in kept:
                self._write(f"{REVOKED}/{about.device_id}", revocation_content(stays.ids), signer=signer)
            for record in (record for _, stays in kept for record in stays.adopted):
                self._adopt(record)
            if rotate:
                self.rotate()
            elif member.role == ADMIN:
                self.hand_out_keys()  # those that it has handed out do not stay

    def _revoked_through(self, member: Member) -> list[Member]:
        """The devices that a member has revoked, and those that they had revoked before."""
        found: list[Member] = []
        queue = [member.key]
        while queue:
            key = queue.pop()
            found += (by_it := [m for m in self._members.values() if m.revoked_by == key])
            queue += [m.key for m in by_it]
        return found

    def _outranks(self, signer: Signer, other: str) -> bool:
        """Whether a revocation by `signer` counts instead of one by the member with the key `other`."""
        return self._members[signer.public.hex()].seniority < self._members[other].seniority

    def _kept(self, member: Member, since_ms: int | None) -> Kept:
        """What a device has written and what stays: what is in force, and every removal.

        Not the keys that it has handed out, nor its revocations. What has a number that is too great to count on from is adopted.
        """
        rows = [
            row
            for row in self.store.rows("author = ? ORDER BY topic", member.key)
            if topics.kind_of(row.topic) not in (STATE, KEY, REVOKED) and (since_ms is None or row.at < since_ms)
            if row.removed or self.store.topic(row.topic).best_id == row.id
            if member.counts(row.id)
        ]
        as_signed = [row for row in rows if max(row.version, row.generation) <= records.MAX_COUNTED][:MAX_KEPT]
        named = {row.id for row in as_signed}
        return Kept(
            [row.id for row in as_signed], [records.read(self.store.raw(row)) for row in rows if row.id not in named]
        )

    def _adopt(self, record: records.Record) -> None:
        """Sign the content of another device's record anew."""
        if record.kind not in (PERSON, TEMPLATE, MEMBER):
            return
        generation = record.generation
        if generation > records.MAX_COUNTED:  # count on from what counts now
            now = self.person_row(record.person or record.subject)
            known = 0 if now is None else now.generation
            anew = record.kind == PERSON and (now is None or bool(now.removed))
            generation = max(1, known + anew)
        self._write(
            record.topic,
            record.content,
            generation=generation,
            removed=record.removed,
            lineage=record.lineage,
            person=record.person,
        )

    def recover(self, recovery_code: str) -> None:
        """Make this device an admin with the root key, for example after the only admin was stolen."""
        with self.batch():
            own = self._members[self.key]
            signer: Signer = recovery.signer_of(recovery_code, self.root)
            about = own.admission
            content = {"key": about.key, "exchange": about.exchange, "role": ADMIN, "name": about.name}
            self._write(f"{MEMBER}/{own.device_id}", content, signer=signer)
