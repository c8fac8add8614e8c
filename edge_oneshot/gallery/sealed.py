"""People and templates <-> the rows of a sealed gallery.

In the column identity_id stands a pseudonym. Each person has a random key, which the key of the device encrypts together with id
and name in the column `name`. The person's key encrypts the templates. So it is enough to destroy one row to make every copy of a
template that remains on the disk unreadable. What a row cannot show without the key: id, name, vector, quality. What it shows:
template_id (random), encoder_id, created_at, no_rate. These are authenticated with it, so no row can be given to another person.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime

from edge_oneshot.gallery.rows import make_template, parts_of, slug
from edge_oneshot.storage.cipher import KEY_BYTES, Cipher, new_key
from edge_oneshot.storage.database import Row, Value, text
from edge_oneshot.types import Identity, Template

_FAULT = "its content is not what was sealed"  # and not what it is: the reason is stored beside the row


@dataclass(frozen=True, slots=True)
class Person:
    """One row of `identities` that was read or written. stored: its columns name and created_at."""

    identity: Identity
    created: datetime
    stored: tuple[str, str]
    key: bytes
    cipher: Cipher


class SealedGalleryRows:
    """Implements gallery.rows.GalleryRows. It keeps the keys of the people that it has read or written."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher
        self._people: dict[str, Person] = {}
        self._last = ("", "")  # an id and its pseudonym: each statement about a person asks for it again

    def key(self, identity_id: str) -> str:
        if self._last[0] != identity_id:
            self._last = (identity_id, self._cipher.pseudonym(identity_id, "identity"))
        return self._last[1]

    def cipher(self, identity_id: str) -> Cipher:
        """Encrypts what belongs to one person, and ends with them. Raises KeyError for a person who was not read."""
        return self._people[self.key(identity_id)].cipher

    def identity_of(self, row: Row) -> tuple[Identity, datetime]:
        key, sealed, created_at = map(text, row)
        known = self._people.get(key)
        if known is None or known.stored != (sealed, created_at):
            data = self._cipher.decrypt(binascii.a2b_base64(sealed, strict_mode=True), "identities", key, created_at)
            identity_id, _, name = data[KEY_BYTES:].decode().partition("\0")
            if not name.strip():
                raise ValueError(_FAULT)
            identity = Identity(identity_id=slug(identity_id), name=name)
            known = self._keep(key, identity, (sealed, created_at), data[:KEY_BYTES])
        return known.identity, known.created

    def identity_row(self, identity: Identity, created: datetime, *, keep: bool) -> tuple[Value, ...]:
        key, created_at = self.key(identity.identity_id), created.isoformat()
        own = self._people[key].key if keep else new_key()
        data = own + f"{identity.identity_id}\0{identity.name}".encode()
        sealed = base64.b64encode(self._cipher.encrypt(data, "identities", key, created_at)).decode("ascii")
        self._keep(key, identity, (sealed, created_at), own)
        return key, sealed, created_at

    def template_of(self, row: Row) -> Template:
        template_id, key, encoder_id, sealed, _, created_at, no_rate = row
        person = self._people.get(text(key))
        if person is None:
            raise ValueError(f"template {template_id} of {key!r} cannot be read: the key of the person is gone")
        about = ("templates", key, text(template_id), text(encoder_id), text(created_at), str(no_rate))
        quality, _, vector = person.cipher.decrypt(sealed, *about).partition(b"\0")
        try:
            return make_template(
                (template_id, person.identity.identity_id, encoder_id, created_at, no_rate), vector, quality.decode()
            )
        except (ValueError, TypeError, RecursionError):
            raise ValueError(f"template {template_id} of {key!r} is damaged: {_FAULT}") from None

    def template_row(self, template: Template) -> tuple[Value, ...]:
        t, key = template, self.key(template.identity_id)
        vector, quality = parts_of(t)
        about = (t.template_id, key, t.encoder_id, t.created_at.isoformat(), int(t.no_rate))
        template_id, _, encoder_id, created_at, no_rate = about
        sealed = self._people[key].cipher.encrypt(
            quality.encode() + b"\0" + vector, "templates", key, template_id, encoder_id, created_at, str(no_rate)
        )
        return template_id, key, encoder_id, sealed, "", created_at, no_rate

    def keep_only(self, keys: Set[str]) -> None:
        self._people = {key: person for key, person in self._people.items() if key in keys}

    def _keep(self, key: str, identity: Identity, stored: tuple[str, str], own: bytes) -> Person:
        known = self._people.get(key)
        cipher = known.cipher if known is not None and known.key == own else Cipher(own)
        person = Person(identity, datetime.fromisoformat(stored[1]), stored, own, cipher)
        self._people[key] = person
        return person
