"""Reading the gallery: who is enrolled, with which templates."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery import access, captures, fleet
from edge_oneshot.gallery.rows import GalleryRows
from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.storage.database import Database, Row, Value
from edge_oneshot.storage.rows import UNREADABLE
from edge_oneshot.types import AccessRules, Identity, Template
from edge_oneshot.types.access import ALWAYS

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """One person of the gallery. access: when and where they are allowed."""

    identity: Identity
    created_at: datetime
    templates: tuple[Template, ...]
    access: AccessRules = ALWAYS


class GalleryReader:
    """Everything that does not change the gallery; the base of Gallery. Each method raises StorageError if the file fails."""

    _db: Database
    _rows: GalleryRows

    def _read(self, table: str, parse: Callable[[Row], T], clause: str = "", values: Sequence[Value] = ()) -> list[T]:
        return self._db.read(table, parse, clause, values, proven=self.sealed)

    @property
    def set_aside(self) -> int:
        """Rows that cannot be read."""
        return self._db.count_set_aside()

    def contents_set_aside(self) -> list[str]:
        """The rows that are set aside, as SQL literals."""
        return self._db.contents_set_aside()

    @property
    def sealed(self) -> bool:
        """Whether the file holds nothing about a person that can be read without the key."""
        return self._db.cipher is not None

    def stored_as(self, identity_id: str) -> str:
        """What stands for the id in the file: itself, or in a sealed gallery a pseudonym."""
        return self._rows.key(identity_id)

    def cipher_of(self, identity_id: str) -> Cipher | None:
        """Encrypts what belongs to this person alone, and is destroyed with them; None if the gallery is not sealed.

        Raises GalleryError if the id is unknown. Replacing the person changes the key.
        """
        self.find(identity_id)
        return self._rows.cipher(identity_id)

    def identities(self) -> list[Identity]:
        """All identities, by name. A person whose own row was set aside is named by the id that the templates hold."""
        return [identity for identity, _ in self._entries()]

    def templates(self) -> list[Template]:
        """All templates of all encoders."""
        return self._templates("", ())

    def templates_of(self, identity_id: str) -> list[Template]:
        """All templates of one identity; none if it is unknown."""
        return self._templates("WHERE identity_id = ?", (self._rows.key(identity_id),))

    def captures_of(self, identity_id: str) -> dict[str, bytes]:
        """template_id -> what was kept of its captures (gallery/captures.py). The person must have been read by this object."""
        try:
            return captures.read(self._db, self._rows, identity_id)
        except KeyError:  # the row of the person, which held the key, was set aside
            return {}

    def access(self) -> dict[str, AccessRules]:
        """identity_id -> access rules, of the people who have some."""
        return access.read(self._db, self._rows, [i.identity_id for i in self.identities()])

    def access_of(self, identity_id: str) -> AccessRules:
        """The access rules of one person; without any limit for a person who has none, or who is unknown."""
        return access.read(self._db, self._rows, [identity_id]).get(identity_id, ALWAYS)

    @property
    def in_fleet(self) -> bool:
        """Whether this gallery belongs to a fleet (`Gallery.join_fleet`)."""
        return fleet.belongs(self._db)

    @property
    def fleet_number(self) -> int:
        """How often this gallery was brought together with its fleet (`Gallery.apply`)."""
        return fleet.number(self._db)

    def removals(self) -> list[str]:
        """The ids of the people who were removed while the gallery belonged to a fleet, until `Gallery.clear_removals`."""
        return fleet.read(self._db)

    def with_captures(self) -> frozenset[str]:
        """What stands in the file (`stored_as`) for the people of whom captures are kept."""
        return frozenset(captures.owners(self._db))

    def _templates(self, where: str, values: Sequence[Value]) -> list[Template]:
        """Those of the people that `where` selects, which must be a clause for both tables."""
        with self._db.snapshot():
            if self.sealed:  # their keys; without the snapshot another process could change one in between
                found = set()
                for row in self._db.rows(f"SELECT identity_id, name, created_at FROM identities {where}", values):
                    with contextlib.suppress(*UNREADABLE):  # whoever reads the people sets this row aside
                        self._rows.identity_of(row)
                        found.add(row[0])
                if not where:
                    self._rows.keep_only(found)
            return self._read("templates", self._rows.template_of, f"{where} ORDER BY rowid", values)

    def people(self) -> list[Enrolled]:
        """All people with their templates, by name."""
        own: dict[str, list[Template]] = {}
        for template in self.templates():
            own.setdefault(template.identity_id, []).append(template)
        entries = self._entries()
        rules = access.read(self._db, self._rows, [i.identity_id for i, _ in entries])
        return [
            Enrolled(
                identity=i,
                created_at=created,
                templates=tuple(own.get(i.identity_id, ())),
                access=rules.get(i.identity_id, ALWAYS),
            )
            for i, created in entries
        ]

    def _entries(self) -> list[tuple[Identity, datetime]]:
        """(identity, when it was enrolled), by name."""
        found = {i.identity_id: (i, created) for i, created in self._read("identities", self._rows.identity_of)}
        # Their own row was set aside. In a sealed gallery it held the key of the templates, which are set aside as well.
        orphans = "WHERE identity_id NOT IN (SELECT identity_id FROM identities) ORDER BY rowid"
        for template in self._read("templates", self._rows.template_of, orphans):
            i = template.identity_id
            found.setdefault(i, (Identity(identity_id=i, name=i), template.created_at))
        return sorted(found.values(), key=lambda entry: (entry[0].name.casefold(), entry[0].identity_id))

    def find(self, identity_id: str) -> Enrolled:
        """One person. Raises GalleryError if the id is unknown."""
        own = self._read("identities", self._rows.identity_of, "WHERE identity_id = ?", (self._rows.key(identity_id),))
        templates = self.templates_of(identity_id)
        if not own and not templates:
            raise unknown_id(identity_id)
        # Without their own row, which was set aside, they are named by the id.
        identity, created = (
            own[0] if own else (Identity(identity_id=identity_id, name=identity_id), templates[0].created_at)
        )
        rules = self.access_of(identity_id)
        return Enrolled(identity=identity, created_at=created, templates=tuple(templates), access=rules)

    def lookup(self, name_or_id: str) -> Identity:
        """The identity of this id or name, in any case; `id:ID` is an id only. Raises GalleryError if none or several fit."""
        # Names are stored in NFC; some keyboards send ë as e and a combining mark.
        name_or_id = unicodedata.normalize("NFC", name_or_id).strip()
        by_id = name_or_id.removeprefix("id:")
        identities = self.identities()
        named = [i for i in identities if i.name.casefold() == name_or_id.casefold()]
        found = named + [i for i in identities if i.identity_id == by_id and i not in named]
        if by_id != name_or_id and not named:
            found = [i for i in identities if i.identity_id == by_id]
        if len(found) == 1:
            return found[0]
        if found:
            who = ", ".join(f"id:{i.identity_id} ({i.name})" for i in found)
            raise GalleryError(
                f"{name_or_id!r} is the name or the id of {len(found)} people: {who}", "give one of them"
            )
        raise GalleryError(
            f"no person with the name or id {name_or_id!r} is enrolled", "`edge-oneshot gallery list` lists the people"
        )

    def _alike(self, identity: Identity) -> list[Identity]:
        """The enrolled people with the id or the name of `identity`. To read everybody takes seconds in a large gallery."""
        same = (identity.identity_id, identity.name.casefold())
        if self.sealed:
            return [i for i in self.identities() if i.identity_id == same[0] or i.name.casefold() == same[1]]
        clause = "WHERE identity_id = ? OR fold(CAST(name AS BLOB)) = ?"
        found = [i for i, _ in self._read("identities", self._rows.identity_of, clause, same)]
        # Their own row was set aside: the name is the id.
        orphans = "WHERE identity_id IN (?, ?) AND identity_id NOT IN (SELECT identity_id FROM identities)"
        ids = {t.identity_id for t in self._read("templates", self._rows.template_of, orphans, same)}
        return [*found, *(Identity(identity_id=i, name=i) for i in sorted(ids))]


def unknown_id(identity_id: str) -> GalleryError:
    hint = "`edge-oneshot gallery list` lists the people"
    return GalleryError(f"no person with the id {identity_id!r} is enrolled", hint)
