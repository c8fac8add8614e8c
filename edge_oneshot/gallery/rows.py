"""People and templates <-> the rows of the gallery's file."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np

from edge_oneshot.gallery.naming import SLUG
from edge_oneshot.storage.database import Row, text
from edge_oneshot.types import Embedding, Float64Array, Identity, Quality, Template


def template_of(row: Row) -> Template:
    """Raises ValueError or TypeError if the row is damaged."""
    template_id, identity_id, encoder_id, vector, quality, created_at, no_rate = row
    try:
        return Template(
            template_id=text(template_id),
            identity_id=_slug(identity_id),
            embedding=Embedding(
                vector=np.frombuffer(vector, dtype="<f4").astype(np.float32), encoder_id=text(encoder_id)
            ),
            quality=Quality(**json.loads(text(quality))),
            created_at=datetime.fromisoformat(text(created_at)),
            no_rate=bool(no_rate),
        )
    except (ValueError, TypeError, RecursionError) as e:
        raise ValueError(f"template {template_id} of {identity_id!r} is damaged: {e}") from None


def identity_of(row: Row) -> tuple[Identity, datetime]:
    """Raises ValueError or TypeError if the row is damaged."""
    identity_id, name, created_at = row
    created = datetime.fromisoformat(text(created_at))
    if not text(name).strip():
        raise ValueError(f"expected a name for {identity_id!r}, got {name!r}")
    return Identity(identity_id=_slug(identity_id), name=name), created


def _slug(identity_id: object) -> str:
    """An id becomes a level of MQTT topics. Raises ValueError if it is no slug."""
    if not (isinstance(identity_id, str) and SLUG.fullmatch(identity_id)):
        raise ValueError(f"expected an id of a-z, 0-9, _ and -, got {identity_id!r}")
    return identity_id


def row_of(t: Template) -> tuple[str, str, str, bytes, str, str, int]:
    vector = t.embedding.vector.astype("<f4").tobytes()
    quality = json.dumps(t.quality.measures())
    return t.template_id, t.identity_id, t.encoder_id, vector, quality, t.created_at.isoformat(), int(t.no_rate)


def floats(blob: object) -> Float64Array:
    """The values of a BLOB of float64, little-endian: (N,). Raises TypeError or ValueError if it cannot be one."""
    if not isinstance(blob, bytes):
        raise TypeError(f"expected bytes, got {type(blob).__name__}")
    return np.frombuffer(blob, dtype="<f8").astype(np.float64)
