"""People and templates <-> the rows of a sealed gallery.

In the column identity_id stands a pseudonym. Each person has a random key, which the key of the device encrypts together with id
and name in the column `name`. The person's key encrypts the templates. So it is enough to destroy one row to make every copy of a
template that remains on the disk unreadable. What a row cannot show without the key: id, name, vector, quality. What it shows:
template_id (random), encoder_id, created_at, no_rate. These are authenticated with it, so no row can be given to another person.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime

from edge_oneshot.gallery.rows import make_template, parts_of, slug
from edge_oneshot.storage.cipher import KEY_BYTES, Cipher, new_key
from edge_oneshot.storage.database import Row, Value, text
from edge_oneshot.types import Identity, Template

_FAULT = "its content is not what was sealed"  # and not what it is: the reason is stored beside the row


@dataclass(frozen=True, slots=True)
class Person:
    identity_id: str
    key: bytes
    cipher: Cipher


class SealedGalleryRows:
    """Implements gallery.rows.GalleryRows. It keeps the keys of the people that it has read or written."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher
        self._people: dict[str, Person] = {}

    def key(self, identity_id: str) -> str:
        return self._cipher.pseudonym(identity_id, "identity")

    def cipher(self, identity_id: str) -> Cipher:
        """Encrypts what belongs to one person, and ends with them. Raises KeyError for a person who was not read."""
        return self._people[self.key(identity_id)].cipher

    def identity_of(self, row: Row) -> tuple[Identity, datetime]:
        key, name, created_at = row
        data = self._cipher.decrypt(
            base64.b64decode(text(name), validate=True), "identities", text(key), text(created_at)
        )
        own, (identity_id, _, name) = data[:KEY_BYTES], data[KEY_BYTES:].decode().partition("\0")
        if self.key(identity_id) != key or not name.strip():
            raise ValueError(_FAULT)
        self._keep(slug(identity_id), own)
        return Identity(identity_id=identity_id, name=name), datetime.fromisoformat(created_at)

    def identity_row(self, identity: Identity, created: datetime, *, keep: bool) -> tuple[Value, ...]:
        key, created_at = self.key(identity.identity_id), created.isoformat()
        own = self._people[key].key if keep else new_key()
        self._keep(identity.identity_id, own)
        data = own + f"{identity.identity_id}\0{identity.name}".encode()
        sealed = self._cipher.encrypt(data, "identities", key, created_at)
        return key, base64.b64encode(sealed).decode("ascii"), created_at

    def template_of(self, row: Row) -> Template:
        template_id, key, encoder_id, sealed, _, created_at, no_rate = row
        person = self._people.get(text(key))
        if person is None:
            raise ValueError(f"template {template_id} of {key!r} cannot be read: the key of the person is gone")
        about = ("templates", key, text(template_id), text(encoder_id), text(created_at), str(no_rate))
        quality, _, vector = person.cipher.decrypt(sealed, *about).partition(b"\0")
        try:
            return make_template(
                (template_id, person.identity_id, encoder_id, created_at, no_rate), vector, quality.decode()
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

    def _keep(self, identity_id: str, own: bytes) -> None:
        key = self.key(identity_id)
        known = self._people.get(key)
        if known is None or known.key != own:
            self._people[key] = Person(identity_id, own, Cipher(own))
