"""The gallery on disk: identities and their templates in SQLite. Never a picture.

What was reported as stored survives a power cut. A removed template is overwritten in the file. Mode 0600. One `Gallery`
belongs to one thread; several processes may use the file at once.
"""

from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.schema import SCHEMA
from edge_oneshot.storage.database import Database, Row, text
from edge_oneshot.types import Embedding, Identity, Quality, Template

log = logging.getLogger(__name__)

_TEMPLATE = "template_id, identity_id, encoder_id, vector, quality, created_at, no_rate"
_IDENTITY = "identity_id, name, created_at"
_BY_NAME = "ORDER BY name COLLATE NOCASE, identity_id"

OnDamage = Callable[[GalleryError], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """One person of the gallery: who, since when, and with which templates."""

    identity: Identity
    created_at: datetime
    templates: tuple[Template, ...]


class Gallery:
    """The gallery at `path`, which is created if it is absent.

    Each method raises StorageError if the file or its disk fails, and GalleryError for a damaged row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = Database(path, SCHEMA)
        self._log_holds_removed = False  # the write-ahead log still contains templates that were removed

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def version(self) -> int:
        """A number that changes when another connection has committed: a cheap test whether to read again.

        Raises StorageError if the file was moved, removed or replaced.
        """
        version = self._db.data_version()
        if self._log_holds_removed:
            self._erase_removed(0.0)
        return version

    # ---- reading

    def identities(self) -> list[Identity]:
        """All identities, by name. A damaged name is logged and replaced by the id, so that the person can be removed."""
        found = []
        for identity_id, name in self._db.rows(f"SELECT identity_id, name FROM identities {_BY_NAME}"):
            if not isinstance(identity_id, str):
                log.error("%s: skipped an identity whose id is damaged: %r", self.path, identity_id)
                continue
            if not isinstance(name, str):
                log.error("%s: the name of %r is damaged; its id is used instead", self.path, identity_id)
            found.append(Identity(identity_id=identity_id, name=name if isinstance(name, str) else identity_id))
        return found

    def templates(self, on_damage: OnDamage | None = None) -> list[Template]:
        """All templates of all encoders. A damaged row goes to on_damage and is skipped; without on_damage it raises."""
        found = []
        for row in self._db.rows(f"SELECT {_TEMPLATE} FROM templates ORDER BY rowid"):
            try:
                found.append(self._template(row))
            except GalleryError as e:
                if on_damage is None:
                    raise
                on_damage(e)
        return found

    def people(self) -> list[Enrolled]:
        """All people with their templates, by name. Raises GalleryError if a row is damaged."""
        own: dict[str, list[Template]] = {}
        for template in self.templates():
            own.setdefault(template.identity_id, []).append(template)
        rows = self._db.rows(f"SELECT {_IDENTITY} FROM identities {_BY_NAME}")
        return [self._enrolled(row, own.get(row[0], [])) for row in rows]

    def find(self, identity_id: str) -> Enrolled:
        """One person. Raises GalleryError if the id is unknown or a row is damaged."""
        found = self._db.rows(f"SELECT {_IDENTITY} FROM identities WHERE identity_id = ?", (identity_id,))
        if not found:
            raise _unknown_id(identity_id)
        rows = self._db.rows(f"SELECT {_TEMPLATE} FROM templates WHERE identity_id = ? ORDER BY rowid", (identity_id,))
        return self._enrolled(found[0], [self._template(r) for r in rows])

    def lookup(self, name_or_id: str) -> Identity:
        """The identity of this id, or else of this name in any case. Raises GalleryError if none or several fit."""
        identities = self.identities()
        # Names are stored in NFC; some keyboards send ë as e and a combining mark.
        name_or_id = unicodedata.normalize("NFC", name_or_id).strip()
        found = [i for i in identities if i.identity_id == name_or_id]
        found = found or [i for i in identities if i.name.casefold() == name_or_id.casefold()]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(i.identity_id for i in found)
            raise GalleryError(
                f"{name_or_id!r} is the name of {len(found)} people: {ids}", "give the id of one of them"
            )
        raise GalleryError(
            f"no person with the name or id {name_or_id!r} is enrolled", "`edge-oneshot gallery list` lists the people"
        )

    # ---- writing

    def add(self, identity: Identity, templates: Sequence[Template], *, replace: bool = False) -> None:
        """Store a person, all or nothing. Raises GalleryError if the id or the name is in use, unless `replace`."""
        self.add_all([(identity, templates)], replace=replace)

    def add_all(self, people: Sequence[tuple[Identity, Sequence[Template]]], *, replace: bool = False) -> None:
        """Store several people in one transaction. Raises GalleryError as `add` does; then nothing is stored."""
        with self._db.transaction():
            for identity, templates in people:
                self._add(identity, templates, replace)
        if replace:
            self._erase_removed(1.0)

    def check_free(self, identity: Identity, *, replace: bool = False) -> None:
        """Raises GalleryError if the id or the name is in use. `replace` allows the same person, by id and name."""
        for other in self.identities():
            same_id = other.identity_id == identity.identity_id
            same_name = other.name.casefold() == identity.name.casefold()
            if same_id and same_name and not replace:
                raise GalleryError(
                    f"{other.name!r} is already enrolled as {other.identity_id!r}", "--replace replaces the template"
                )
            if same_id and not same_name:
                raise GalleryError(
                    f"the id {other.identity_id!r} belongs to {other.name!r}", "give another one with --id"
                )
            if same_name and not same_id:
                raise _name_taken(identity.name, other)
            if not same_id:
                _check_distinct(identity, other)

    def _add(self, identity: Identity, templates: Sequence[Template], replace: bool) -> None:
        self.check_free(identity, replace=replace)
        self._db.execute("DELETE FROM templates WHERE identity_id = ?", (identity.identity_id,))
        for template in templates:
            if used := self._db.rows(
                "SELECT identity_id FROM templates WHERE template_id = ?", (template.template_id,)
            ):
                raise GalleryError(
                    f"template {template.template_id} of {identity.identity_id!r}: the id is in use for {used[0][0]!r}",
                    "each template needs an id of its own: export or enroll again",
                )
        self._db.execute(
            "INSERT INTO identities VALUES (?, ?, ?) ON CONFLICT (identity_id) DO UPDATE SET name = excluded.name",
            (identity.identity_id, identity.name, templates[0].created_at.isoformat()),
        )
        self._db.execute_many(
            f"INSERT INTO templates ({_TEMPLATE}) VALUES (?, ?, ?, ?, ?, ?, ?)", [_row(t) for t in templates]
        )

    def rename(self, identity_id: str, name: str) -> None:
        """Change the name; the id stays. Raises GalleryError if the id is unknown or the name is in use."""
        with self._db.transaction():
            for other in self.identities():
                if other.identity_id == identity_id:
                    continue
                if other.name.casefold() == name.casefold():
                    raise _name_taken(name, other)
                _check_distinct(Identity(identity_id=identity_id, name=name), other)
            if not self._db.execute("UPDATE identities SET name = ? WHERE identity_id = ?", (name, identity_id)):
                raise _unknown_id(identity_id)

    def remove(self, identity_id: str) -> None:
        """Remove a person and overwrite the bytes of the templates. Raises GalleryError if the id is unknown."""
        with self._db.transaction():
            if not self._db.execute("DELETE FROM identities WHERE identity_id = ?", (identity_id,)):
                raise _unknown_id(identity_id)
        self._erase_removed(1.0)

    def _erase_removed(self, wait_s: float) -> None:
        """Remove the old pages from the write-ahead log, too. A reader delays that: `version` then tries it again."""
        erased = self._db.truncate_log(wait_s)
        if not erased and not self._log_holds_removed:
            log.warning(
                "%s: another program is reading; the removed templates are overwritten when it has finished", self.path
            )
        self._log_holds_removed = not erased

    # ---- rows

    def _template(self, row: Row) -> Template:
        template_id, identity_id, encoder_id, vector, quality, created_at, no_rate = row
        try:
            return Template(
                template_id=text(template_id),
                identity_id=text(identity_id),
                embedding=Embedding(
                    vector=np.frombuffer(vector, dtype="<f4").astype(np.float32), encoder_id=text(encoder_id)
                ),
                quality=Quality(**json.loads(text(quality))),
                created_at=datetime.fromisoformat(text(created_at)),
                no_rate=bool(no_rate),
            )
        except (ValueError, TypeError, RecursionError) as e:
            what = f"{self.path}: template {template_id} of {identity_id!r} is damaged: {e}"
            raise GalleryError(what, "enroll that person again with --replace") from None

    def _enrolled(self, row: Row, templates: Sequence[Template]) -> Enrolled:
        identity_id, name, created_at = row
        try:
            identity = Identity(identity_id=text(identity_id), name=text(name))
            created = datetime.fromisoformat(text(created_at))
        except (ValueError, TypeError) as e:
            what = f"{self.path}: the entry of {identity_id!r} is damaged: {e}"
            raise GalleryError(what, "remove that person and enroll again") from None
        return Enrolled(identity=identity, created_at=created, templates=tuple(templates))


def _check_distinct(identity: Identity, other: Identity) -> None:
    """Raises GalleryError if the name of one is the id of the other: `remove` and `verify` accept both."""
    if identity.name.casefold() == other.identity_id:
        raise GalleryError(f"the name {identity.name!r} is the id of {other.name!r}", "choose another name")
    if other.name.casefold() == identity.identity_id:
        raise GalleryError(
            f"the id {identity.identity_id!r} is the name of {other.identity_id!r}", "choose another id with --id"
        )


def _unknown_id(identity_id: str) -> GalleryError:
    hint = "`edge-oneshot gallery list` lists the people"
    return GalleryError(f"no person with the id {identity_id!r} is enrolled", hint)


def _name_taken(name: str, owner: Identity) -> GalleryError:
    return GalleryError(f"the name {name!r} is already enrolled as {owner.identity_id!r}", "choose another name")


def _row(t: Template) -> tuple[str, str, str, bytes, str, str, int]:
    vector = t.embedding.vector.astype("<f4").tobytes()
    quality = json.dumps(t.quality.measures())
    return t.template_id, t.identity_id, t.encoder_id, vector, quality, t.created_at.isoformat(), int(t.no_rate)
