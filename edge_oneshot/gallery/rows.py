"""People and templates <-> the rows of a gallery that is not sealed. gallery/sealed.py does the same for a sealed one."""

from __future__ import annotations

import json
from collections.abc import Set
from datetime import datetime
from typing import Protocol

import numpy as np

from edge_oneshot.gallery.naming import SLUG
from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.storage.database import Row, Value, text
from edge_oneshot.types import Embedding, Float64Array, Identity, Quality, Template


class GalleryRows(Protocol):
    """How the file holds people and templates. Each method that takes a row raises ValueError or TypeError if it is damaged."""

    def key(self, identity_id: str) -> str:
        """What stands for the id in the file."""
        ...

    def cipher(self, identity_id: str) -> Cipher | None:
        """The cipher of one person, who was read or written before; None in a file that is not sealed."""
        ...

    def identity_of(self, row: Row) -> tuple[Identity, datetime]:
        """row: identity_id, name, created_at."""
        ...

    def identity_row(self, identity: Identity, created: datetime, *, keep: bool) -> tuple[Value, ...]:
        """keep: with the present key of the person, for the templates that stay."""
        ...

    def template_of(self, row: Row) -> Template:
        """row: template_id, identity_id, encoder_id, vector, quality, created_at, no_rate; its person was read before."""
        ...

    def template_row(self, template: Template) -> tuple[Value, ...]:
        """Its person was read or written before."""
        ...

    def keep_only(self, keys: Set[str]) -> None:
        """Drop what is remembered of all other people; keys: as in the column identity_id."""
        ...


class PlainRows:
    """Everything in the file can be read by anyone who has it."""

    def key(self, identity_id: str) -> str:
        return identity_id

    def cipher(self, identity_id: str) -> None:
        return None

    def identity_of(self, row: Row) -> tuple[Identity, datetime]:
        identity_id, name, created_at = row
        created = datetime.fromisoformat(text(created_at))
        if not text(name).strip():
            raise ValueError(f"expected a name for {identity_id!r}, got {name!r}")
        return Identity(identity_id=slug(identity_id), name=name), created

    def identity_row(self, identity: Identity, created: datetime, *, keep: bool) -> tuple[Value, ...]:
        return identity.identity_id, identity.name, created.isoformat()

    def template_of(self, row: Row) -> Template:
        template_id, identity_id, encoder_id, vector, quality, created_at, no_rate = row
        try:
            return make_template(
                (template_id, slug(identity_id), encoder_id, created_at, no_rate), vector, text(quality)
            )
        except (ValueError, TypeError, RecursionError) as e:
            raise ValueError(f"template {template_id} of {identity_id!r} is damaged: {e}") from None

    def template_row(self, t: Template) -> tuple[Value, ...]:
        vector, quality = parts_of(t)
        return t.template_id, t.identity_id, t.encoder_id, vector, quality, t.created_at.isoformat(), int(t.no_rate)

    def keep_only(self, keys: Set[str]) -> None:
        pass


def make_template(about: tuple[object, ...], vector: bytes, quality: str) -> Template:
    """about: template_id, identity_id, encoder_id, created_at, no_rate. Raises ValueError or TypeError if a part is damaged."""
    template_id, identity_id, encoder_id, created_at, no_rate = about
    return Template(
        template_id=text(template_id),
        identity_id=text(identity_id),
        embedding=Embedding(vector=np.frombuffer(vector, dtype="<f4").astype(np.float32), encoder_id=text(encoder_id)),
        quality=Quality(**json.loads(quality)),
        created_at=datetime.fromisoformat(text(created_at)),
        no_rate=bool(no_rate),
    )


def parts_of(t: Template) -> tuple[bytes, str]:
    """The vector as float32, little-endian, and the measures of the capture as JSON."""
    return t.embedding.vector.astype("<f4").tobytes(), json.dumps(t.quality.measures())


def slug(identity_id: object) -> str:
    """An id becomes a level of MQTT topics. Raises ValueError if it is no slug."""
    if not (isinstance(identity_id, str) and SLUG.fullmatch(identity_id)):
        raise ValueError(f"expected an id of a-z, 0-9, _ and -, got {identity_id!r}")
    return identity_id


def floats(blob: object) -> Float64Array:
    """The values of a BLOB of float64, little-endian: (N,). Raises TypeError or ValueError if it cannot be one."""
    if not isinstance(blob, bytes):
        raise TypeError(f"expected bytes, got {type(blob).__name__}")
    return np.frombuffer(blob, dtype="<f8").astype(np.float64)
