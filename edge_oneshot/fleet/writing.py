"""What this device changes in its fleet: new records, each with an entry in its audit log."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_oneshot.errors import FleetError
from edge_oneshot.fleet import audit, contents, merge, records, topics
from edge_oneshot.fleet.core import Core
from edge_oneshot.fleet.members import Member
from edge_oneshot.fleet.store import OWN, Row, row_of
from edge_oneshot.fleet.topics import AUDIT, MEMBER, PERSON, REVOKED, STATE, TEMPLATE
from edge_oneshot.storage.cipher import Signer
from edge_oneshot.types import Identity, Template


class Writing(Core):
    """The base of Fleet that authors records. Each method raises FleetError if this device may not make the change."""

    def _load(self) -> None:
        super()._load()
        self._entries: list[audit.Entry] = []  # of the present transaction

    # ---- people

    def enroll(
        self, identity: Identity, templates: Sequence[Template] = (), rules: Mapping[str, Any] | None = None
    ) -> None:
        """Make this person, with these templates for each encoder that they name, and these access rules, part of the fleet.

        A person who was removed is enrolled anew. Templates of encoders that `templates` does not name stay. Nothing is written
        where nothing differs.
        """
        with self.batch():
            self._may(PERSON)
            row = self._live(identity.identity_id)
            generation, lineage = (row.generation, row.lineage) if row else self._new_enrollment(identity.identity_id)
            content = contents.person_content(identity, rules)
            topic = topics.person_topic(self.life, identity.identity_id)
            if row is None or not self._says(row, content):
                self._write(topic, content, generation=generation, lineage=lineage)
            for encoder_id, listed in contents.by_encoder(templates).items():
                self._write_templates(identity.identity_id, encoder_id, listed, generation, lineage)

    def set_rules(self, identity_id: str, rules: Mapping[str, Any] | None) -> None:
        """Change the access rules of a person of the fleet."""
        self._change_person(identity_id, rules=rules)

    def rename(self, identity_id: str, name: str) -> None:
        """Change the name of a person of the fleet; the id stays."""
        self._change_person(identity_id, name=name)

    def set_templates(self, identity_id: str, encoder_id: str, templates: Sequence[Template]) -> None:
        """Replace all templates of one encoder; none: the person has no template of this encoder any more."""
        with self.batch():
            row = self._person(identity_id)
            self._write_templates(identity_id, encoder_id, templates, row.generation, row.lineage)

    def remove(self, identity_id: str) -> None:
        """Remove a person everywhere. Nothing is written if the fleet does not have the person."""
        with self.batch():
            self._may(PERSON)
            row = self._live(identity_id)
            if row is None:
                return
            templates = {r.topic for r in self.store.rows("person = ? AND person <> ''", topics.subject_of(row.topic))}
            self._write(row.topic, {}, generation=row.generation, lineage=row.lineage, removed=True)
            for at in map(self.store.topic, templates):
                if at.due:  # the templates leave the broker at once
                    self.store.put_topic(at._replace(due=OWN))

    def report(self, state: Mapping[str, Any]) -> None:
        """Publish what this device has in force. The content is the agent's."""
        with self.batch():
            self._write(f"{STATE}/{self.device_id}", dict(state), logged=False)

    # ---- the parts of it

    def _change_person(self, identity_id: str, **changed: object) -> None:
        with self.batch():
            row = self._person(identity_id)
            before = records.read(self.store.raw(row)).content
            content = {**before, **changed}
            if content != before:
                self._write(row.topic, content, generation=row.generation, lineage=row.lineage)

    def _says(self, row: Row, content: Mapping[str, Any]) -> bool:
        """Whether a record has this content already."""
        return records.canonical(records.read(self.store.raw(row)).content) == records.canonical(content)

    def _person(self, identity_id: str) -> Row:
        self._may(PERSON)
        row = self._live(identity_id)
        if row is None:
            raise FleetError(f"fleet {self.name}: no person has the id {identity_id!r}", "enroll the person first")
        return row

    def _live(self, identity_id: str) -> Row | None:
        row = self.person_row(topics.person_subject(self.life, identity_id))
        return None if row is None or row.removed else row

    def _new_enrollment(self, identity_id: str) -> tuple[int, str]:
        """(generation, lineage) of a person who is not in force."""
        removed = self.person_row(topics.person_subject(self.life, identity_id))
        return (1 if removed is None else removed.generation + 1), secrets.token_hex(8)

    def _write_templates(
        self, identity_id: str, encoder_id: str, templates: Iterable[Template], generation: int, lineage: str
    ) -> None:
        topic = topics.template_topic(self.life, identity_id, encoder_id)
        content = contents.template_content(identity_id, encoder_id, templates)
        at = self.store.topic(topic)
        if (row := self.store.best(at)) is not None:
            same = (row.generation, row.lineage) == (generation, lineage)
            if same and self._says(row, content):
                return
        elif not content["templates"]:
            return
        person = topics.person_subject(self.life, identity_id)
        self._write(topic, content, generation=generation, lineage=lineage, person=person)

    def _may(self, kind: str) -> Member:
        """This device as a member. Raises FleetError if it may not write records of this kind."""
        member = self._members.get(self.key)
        if member is None or not member.in_force:
            why = "was revoked" if member else "is no member"
            raise FleetError(f"fleet {self.name}: this device {why}", "ask an admin of the fleet to invite it anew")
        why = merge.refusal(kind, self.device_id, b"", member)
        if why:
            raise FleetError(
                f"fleet {self.name}: this device is a {member.role}, which may not make this change",
                "make it on a desk or admin device" if kind in (PERSON, TEMPLATE) else "make it on an admin device",
            )
        return member

    def _write(
        self,
        topic: str,
        content: Mapping[str, Any],
        *,
        signer: Signer | None = None,
        version: int = 0,
        generation: int = 0,
        removed: bool = False,
        lineage: str = "",
        person: str = "",
        logged: bool = True,
    ) -> None:
        """Author a record, which is in force from now on. Part of a batch. version: 0: the next one of the topic.

        signer: the root key, whose records stand in the log of the device that used it.
        """
        signer = signer or self._signer
        kind, subject = topics.kind_of(topic), topics.subject_of(topic)
        if signer is self._signer:
            self._may(kind)
        rows = [r for r in self.store.rows("topic = ?", topic) if merge.counts(kind, subject, r, self._members)]
        version = version or min(1 + max((r.version for r in rows), default=0), records.MAX_NUMBER)
        if generation > records.MAX_COUNTED and not removed:  # to remove is possible always
            raise self._blocked(topic)
        seq = self._next_seq() if logged else 0
        try:
            record = records.sign(
                signer,
                self.fleet_id,
                topic,
                content,
                version=version,
                hlc=self.clock.tick(),
                generation=generation,
                removed=removed,
                lineage=lineage,
                person=person,
                seq=seq if signer is self._signer else 0,
            )
            contents.check(record, self.life)
        except ValueError as e:
            raise FleetError(f"fleet {self.name}: the change is refused: {e}") from None
        by_rank = kind not in (MEMBER, REVOKED)  # of these the most senior counts
        if by_rank and version == records.MAX_NUMBER and any(row.rank > row_of(record).rank for row in rows):
            raise self._blocked(topic)
        if logged:
            self._entries.append(audit.Entry(seq, record.hlc, topic, removed, record.id.hex()))
        self._keep(record, self.epoch.key_id if self._epochs else "")
        self._recompute(topic, own=True)

    def _blocked(self, topic: str) -> FleetError:
        return FleetError(
            f"fleet {self.name}: another device has used the last number at {topic}", "revoke the device that wrote it"
        )

    # ---- the audit log

    def _next_seq(self) -> int:
        if self._entries:
            return self._entries[-1].seq + 1
        last = self._last_segment()
        return 1 if last is None else last.entries[-1].seq + 1

    def _last_segment(self) -> audit.Segment | None:
        """The newest segment of this device's log."""
        found = self.store.rows(
            "topic GLOB ? ORDER BY length(topic) DESC, topic DESC LIMIT 1", f"{AUDIT}/{self.device_id}/*"
        )
        return audit.Segment.of(records.read(self.store.raw(found[0]))) if found else None

    def _finish(self) -> None:
        super()._finish()
        entries, self._entries = self._entries, []
        last = self._last_segment() if entries else None
        for segment in audit.extend(last, entries):
            topic = f"{AUDIT}/{self.device_id}/{segment.number}"
            self._write(topic, segment.content, version=len(segment.entries), logged=False)
