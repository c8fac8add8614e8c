"""The gallery on disk: identities and their templates in SQLite. Never a picture.

WAL, synchronous=FULL: a power cut loses nothing that was told as stored. secure_delete: a removed template is gone from
the file. Mode 0600. One connection belongs to one thread; several processes may share the file.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.migrations import migrate
from edge_oneshot.types import Embedding, Identity, Quality, Template

log = logging.getLogger(__name__)

IN_MEMORY = Path(":memory:")  # the path of a gallery that ends with its connection
BUSY_TIMEOUT_S = 10.0
COLUMNS = (
    "template_id, identity_id, encoder_id, vector, quality, created_at"  # of a template, in the order of its fields
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """One person of the gallery: who, since when, and with which templates."""

    identity: Identity
    created_at: datetime
    templates: tuple[Template, ...]


class Gallery:
    """Opens (and makes, if absent) the gallery at `path`, which may be IN_MEMORY.

    Raises GalleryError if the file is unreadable or no gallery.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._uncut = False  # the write-ahead log still holds what was removed
        try:
            if path != IN_MEMORY:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its side files the same mode
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        except (OSError, sqlite3.Error) as e:
            raise GalleryError(
                f"cannot open the gallery {path}: {e}", "run as the gallery's owner, or set device.state_dir"
            ) from None
        try:
            self._file = _identify(path)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
                self._db.execute(f"PRAGMA {pragma}")
            migrate(self._db, path)
        except sqlite3.Error as e:
            self._db.close()
            raise GalleryError(
                f"{path} is no readable gallery: {e}", "restore it from `gallery export`, or move the file away"
            ) from None
        except GalleryError:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def version(self) -> int:
        """Grows with every change that another connection committed: the cheap question "must I read again?".

        Raises GalleryError if another file stands at the path, or none: what is written here would be lost.
        """
        if _identify(self.path) != self._file:
            raise GalleryError(
                f"{self.path} was moved, removed or replaced while it was open", "start again; stop first, then restore"
            )
        if self._uncut:
            self._cut_log(0.0)
        return int(self._read("PRAGMA data_version")[0][0])

    def identities(self) -> list[Identity]:
        """All identities, by name."""
        rows = self._read("SELECT identity_id, name FROM identities ORDER BY name COLLATE NOCASE, identity_id")
        return [Identity(identity_id=i, name=n) for i, n in rows]

    def templates(self, on_damage: Callable[[GalleryError], None] | None = None) -> list[Template]:
        """All templates of all encoders. A damaged row is named: to on_damage, and left out; without that, raises GalleryError."""
        found = []
        for row in self._read(f"SELECT {COLUMNS} FROM templates ORDER BY rowid"):
            try:
                found.append(self._template(row))
            except GalleryError as e:
                if on_damage is None:
                    raise
                on_damage(e)
        return found

    def people(self) -> list[Enrolled]:
        """Everybody with their templates, by name. Raises GalleryError if a row is damaged."""
        own: dict[str, list[Template]] = {}
        for template in self.templates():
            own.setdefault(template.identity_id, []).append(template)
        rows = self._read(
            "SELECT identity_id, name, created_at FROM identities ORDER BY name COLLATE NOCASE, identity_id"
        )
        return [_enrolled(row, own.get(row[0], [])) for row in rows]

    def find(self, identity_id: str) -> Enrolled:
        """One person. Raises GalleryError if there is none of that id."""
        found = self._read("SELECT identity_id, name, created_at FROM identities WHERE identity_id = ?", identity_id)
        if not found:
            raise GalleryError(
                f"nobody with the id {identity_id!r} is enrolled", "`edge-oneshot gallery list` shows who is"
            )
        rows = self._read(f"SELECT {COLUMNS} FROM templates WHERE identity_id = ? ORDER BY rowid", identity_id)
        return _enrolled(found[0], [self._template(r) for r in rows])

    def lookup(self, name_or_id: str) -> Identity:
        """The identity that a person means: by id, else by exact name. Raises GalleryError if none or several fit."""
        everyone = self.identities()
        name_or_id = unicodedata.normalize(
            "NFC", name_or_id
        ).strip()  # as names are stored: some keyboards send ë as e and ¨
        found = [i for i in everyone if i.identity_id == name_or_id] or [
            i for i in everyone if i.name.casefold() == name_or_id.casefold()
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise GalleryError(
                f"{name_or_id!r} names {len(found)} people: {', '.join(i.identity_id for i in found)}",
                "name one by its id",
            )
        raise GalleryError(f"nobody called {name_or_id!r} is enrolled", "`edge-oneshot gallery list` shows who is")

    def add(self, identity: Identity, templates: Sequence[Template], *, replace: bool = False) -> None:
        """Store a person, all or nothing. Raises GalleryError if the id or the name is taken, unless `replace`."""
        self.add_all([(identity, templates)], replace=replace)

    def add_all(self, people: Sequence[tuple[Identity, Sequence[Template]]], *, replace: bool = False) -> None:
        """Store several people in one transaction. Raises GalleryError as `add` does; then nobody is stored."""
        with self._transaction():
            for identity, templates in people:
                self._add(identity, templates, replace)
        if replace:
            self._cut_log()

    def check_free(self, identity: Identity, *, replace: bool = False) -> None:
        """Raises GalleryError if the id or the name is taken. `replace` allows the very same person, by id and name."""
        for other in self.identities():
            same_id, same_name = (
                other.identity_id == identity.identity_id,
                other.name.casefold() == identity.name.casefold(),
            )
            if same_id and same_name and not replace:
                raise GalleryError(
                    f"{other.name!r} is already enrolled as {other.identity_id!r}", "--replace renews the template"
                )
            if same_id and not same_name:
                raise GalleryError(
                    f"the id {other.identity_id!r} belongs to {other.name!r}", "give another one with --id"
                )
            if same_name and not same_id:
                raise GalleryError(
                    f"the name {other.name!r} is already enrolled as {other.identity_id!r}", "choose another name"
                )
            if not same_id:
                _not_crossed(identity, other)

    def _add(self, identity: Identity, templates: Sequence[Template], replace: bool) -> None:
        self.check_free(identity, replace=replace)
        created = templates[0].created_at.isoformat()
        self._db.execute("DELETE FROM templates WHERE identity_id = ?", (identity.identity_id,))
        self._db.execute(
            "INSERT INTO identities VALUES (?, ?, ?) ON CONFLICT (identity_id) DO UPDATE SET name = excluded.name",
            (identity.identity_id, identity.name, created),
        )
        self._db.executemany("INSERT INTO templates VALUES (?, ?, ?, ?, ?, ?)", [_row(t) for t in templates])

    def rename(self, identity_id: str, name: str) -> None:
        """Change the name for people; the id in topics stays. Raises GalleryError if the id is unknown or the name taken."""
        with self._transaction():
            if taken := [
                i for i in self.identities() if i.name.casefold() == name.casefold() and i.identity_id != identity_id
            ]:
                raise GalleryError(
                    f"the name {name!r} is already enrolled as {taken[0].identity_id!r}", "choose another name"
                )
            for other in self.identities():
                if other.identity_id != identity_id:
                    _not_crossed(Identity(identity_id=identity_id, name=name), other)
            if (
                self._db.execute("UPDATE identities SET name = ? WHERE identity_id = ?", (name, identity_id)).rowcount
                == 0
            ):
                raise GalleryError(
                    f"nobody with the id {identity_id!r} is enrolled", "`edge-oneshot gallery list` shows who is"
                )

    def remove(self, identity_id: str) -> None:
        """Forget a person; the bytes of the templates are overwritten. Raises GalleryError if there is none of that id."""
        with self._transaction():
            if self._db.execute("DELETE FROM identities WHERE identity_id = ?", (identity_id,)).rowcount == 0:
                raise GalleryError(
                    f"nobody with the id {identity_id!r} is enrolled", "`edge-oneshot gallery list` shows who is"
                )
        self._cut_log()

    def _cut_log(self, wait_s: float = 1.0) -> None:
        """The old pages also stand in the write-ahead log until it is folded back and cut. A busy reader delays that:

        then it is tried again with each `version`.
        """
        self._read(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
        busy = bool(self._read("PRAGMA wal_checkpoint(TRUNCATE)")[0][0])
        self._read(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")
        if busy and not self._uncut:
            log.warning(
                "%s: another program is reading; what was removed is overwritten as soon as it has ended", self.path
            )
        self._uncut = busy

    def _read(self, sql: str, *values: str) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as e:
            raise GalleryError(
                f"cannot read the gallery {self.path}: {e}", "restore it from `gallery export`, or move the file away"
            ) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled back already
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as e:
            raise GalleryError(
                f"cannot write the gallery {self.path}: {e}", "check the disk's space and the file's owner"
            ) from None

    def _template(self, row: tuple[str, str, str, bytes, str, str]) -> Template:
        template_id, identity_id, encoder_id, vector, quality, created_at = row
        try:
            return Template(
                template_id=template_id,
                identity_id=identity_id,
                embedding=Embedding(
                    vector=np.frombuffer(vector, dtype="<f4").astype(np.float32), encoder_id=encoder_id
                ),
                quality=Quality(**json.loads(quality)),
                created_at=datetime.fromisoformat(created_at),
            )
        except (ValueError, TypeError) as e:
            what = f"{self.path}: template {template_id} of {identity_id!r} is damaged: {e}"
            raise GalleryError(what, "enroll that person again") from None


def _not_crossed(identity: Identity, other: Identity) -> None:
    """Raises GalleryError if one's name is the other's id: `remove` and `verify` take both, and would take the wrong person."""
    if identity.name.casefold() == other.identity_id:
        raise GalleryError(f"the name {identity.name!r} is the id of {other.name!r}", "choose another name")
    if other.name.casefold() == identity.identity_id:
        raise GalleryError(
            f"the id {identity.identity_id!r} is the name of {other.identity_id!r}", "choose another id with --id"
        )


def _identify(path: Path) -> tuple[int, int] | None:
    """The file at `path`; None: there is none, or it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _enrolled(row: tuple[str, str, str], templates: Sequence[Template]) -> Enrolled:
    identity_id, name, created_at = row
    identity = Identity(identity_id=identity_id, name=name)
    return Enrolled(identity=identity, created_at=datetime.fromisoformat(created_at), templates=tuple(templates))


def _row(t: Template) -> tuple[str, str, str, bytes, str, str]:
    vector = t.embedding.vector.astype("<f4").tobytes()
    return (
        t.template_id,
        t.identity_id,
        t.encoder_id,
        vector,
        json.dumps(t.quality.measures()),
        t.created_at.isoformat(),
    )
