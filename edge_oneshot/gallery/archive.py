"""Gallery <-> one JSON file, to move people to another device or keep a copy. It holds biometric data: mode 0600."""

from __future__ import annotations

import base64
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.naming import check_id, clean_name
from edge_oneshot.gallery.store import Enrolled, Gallery
from edge_oneshot.types import Embedding, Identity, Quality, Template

FORMAT = "edge-oneshot-gallery"
VERSION = 1


def to_document(gallery: Gallery) -> dict[str, Any]:
    """Everybody as one JSON document."""
    return {"format": FORMAT, "version": VERSION, "identities": [_encode(p) for p in gallery.people()]}


def write_document(document: dict[str, Any], path: Path) -> None:
    """Write a document to `path`, which must not exist yet. Raises GalleryError."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1, ensure_ascii=False)
    except OSError as e:
        raise GalleryError(
            f"cannot write {path}: {e.strerror}", "name a new file in a folder that you may write"
        ) from None


def read_document(path: Path) -> dict[str, Any]:
    """Raises GalleryError if the file is unreadable or no JSON object."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise GalleryError(f"cannot read {path}: {e}", "name a file that `gallery export` wrote") from None
    return document if isinstance(document, dict) else {}


def from_document(document: dict[str, Any]) -> list[Enrolled]:
    """Check a document completely, before anything is stored. Raises GalleryError that names the person."""
    got = document.get("format"), document.get("version")
    if got != (FORMAT, VERSION) or not isinstance(document.get("identities"), list):
        raise GalleryError(
            f"expected a {FORMAT} of version {VERSION}, got {got}", "name a file that `gallery export` wrote"
        )
    people: list[Enrolled] = []
    for i, entry in enumerate(document["identities"]):
        try:
            people.append(_decode(entry))
        except (KeyError, TypeError, ValueError, GalleryError) as e:
            raise GalleryError(f"identities[{i}] is damaged: {e}; nothing was imported", "export it again") from None
    return people


def _encode(person: Enrolled) -> dict[str, Any]:
    return {
        "identity_id": person.identity.identity_id,
        "name": person.identity.name,
        "templates": [
            {
                "template_id": t.template_id,
                "encoder_id": t.encoder_id,
                "vector": base64.b64encode(t.embedding.vector.astype("<f4").tobytes()).decode("ascii"),
                "quality": t.quality.measures(),
                "created_at": t.created_at.isoformat(),
            }
            for t in person.templates
        ],
    }


def _decode(entry: dict[str, Any]) -> Enrolled:
    identity = Identity(identity_id=check_id(entry["identity_id"]), name=clean_name(entry["name"]))
    templates = tuple(
        Template(
            template_id=_text(t["template_id"]),
            identity_id=identity.identity_id,
            embedding=Embedding(
                vector=np.frombuffer(base64.b64decode(t["vector"], validate=True), dtype="<f4").astype(np.float32),
                encoder_id=_text(t["encoder_id"]),
            ),
            quality=Quality(**t["quality"]),
            created_at=datetime.fromisoformat(t["created_at"]),
        )
        for t in entry["templates"]
    )
    if not templates:
        raise ValueError(f"{identity.identity_id!r} has no template")
    return Enrolled(identity=identity, created_at=templates[0].created_at, templates=templates)


def _text(value: object) -> str:
    """Raises TypeError or ValueError for what is no text, or text that no file can hold (half a surrogate pair)."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}"[:100])
    value.encode()
    return value
