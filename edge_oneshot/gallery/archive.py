"""Gallery <-> one JSON file, to move people to another device or to keep a copy.

The file holds biometric data: mode 0600. It has a checksum over all people; a file that was changed is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.naming import check_id, clean_name
from edge_oneshot.gallery.store import Enrolled, Gallery
from edge_oneshot.text_file import parse_json, read_text
from edge_oneshot.types import Embedding, Identity, Quality, Template
from edge_oneshot.types.access import rules_from_json

FORMAT = "edge-oneshot-gallery"
VERSION = 3  # files of version 1 have no checksum, those of version 2 no access rules
_FROM_EXPORT = "give a file that `gallery export` wrote"


class TemplateEntry(TypedDict):
    """vector: float32, little-endian, in base64. quality: the measures of the capture. created_at: ISO 8601.

    no_rate: true if no error rate can be stated for the template; files of earlier releases lack it.
    """

    template_id: str
    encoder_id: str
    vector: str
    quality: dict[str, float]
    created_at: str
    no_rate: NotRequired[bool]


class PersonEntry(TypedDict):
    """access: as AccessRules.to_json; absent for a person without rules."""

    identity_id: str
    name: str
    templates: list[TemplateEntry]
    access: NotRequired[dict[str, Any]]


class Document(TypedDict):
    """digest: `digest_of` the identities."""

    format: str
    version: int
    digest: str
    identities: list[PersonEntry]


def to_document(gallery: Gallery) -> Document:
    """All people as one JSON document. Without access rules an earlier release, which would ignore them, reads it as well."""
    people = [_encode(p) for p in gallery.people()]
    version = VERSION if any("access" in p for p in people) else VERSION - 1
    return {"format": FORMAT, "version": version, "digest": digest_of(people), "identities": people}


def digest_of(identities: object) -> str:
    """ "sha256:<hex>" of the list `identities` as JSON with sorted keys, without spaces, in ASCII."""
    text = json.dumps(identities, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def write_document(document: object, path: Path) -> None:
    """Write a document to `path`, which must not exist yet. Raises GalleryError."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1, ensure_ascii=False)
    except OSError as e:
        raise GalleryError(
            f"cannot write {path}: {e.strerror}", "name a new file in a folder that you may write"
        ) from e


def read_document(path: Path) -> dict[str, object]:
    """Raises GalleryError if the file cannot be read or is not a JSON object."""
    try:
        document = parse_json(read_text(path))
    except (OSError, ValueError) as e:
        raise GalleryError(f"cannot read {path}: {e}", _FROM_EXPORT) from None
    return document if isinstance(document, dict) else {}


def from_document(document: dict[str, object], progress: Callable[[], None] = lambda: None) -> list[Enrolled]:
    """Check a whole document before anything is stored. Raises GalleryError that names the damaged entry.

    progress: called after each person.
    """
    got, entries = (document.get("format"), document.get("version")), document.get("identities")
    if got not in [(FORMAT, version) for version in range(1, VERSION + 1)] or not isinstance(entries, list):
        raise GalleryError(f"expected a file of format {FORMAT}, version 1 to {VERSION}, got {got}", _FROM_EXPORT)
    try:
        digest = None if got[1] == 1 else digest_of(entries)
    except (ValueError, RecursionError):  # no export is nested so deep
        digest = ""
    if document.get("digest") != digest:
        raise GalleryError(
            "the checksum of the file is wrong: it was changed after the export, or it is damaged; nothing was imported",
            "export it again",
        )
    people: list[Enrolled] = []
    for i, entry in enumerate(entries):
        try:
            people.append(_decode(entry))
            progress()
        except (KeyError, TypeError, ValueError, GalleryError) as e:
            raise GalleryError(f"identities[{i}] is damaged: {e}; nothing was imported", "export it again") from None
    return people


def _encode(person: Enrolled) -> PersonEntry:
    entry: PersonEntry = {
        "identity_id": person.identity.identity_id,
        "name": person.identity.name,
        "templates": [
            {
                "template_id": t.template_id,
                "encoder_id": t.encoder_id,
                "vector": base64.b64encode(t.embedding.vector.astype("<f4").tobytes()).decode("ascii"),
                "quality": t.quality.measures(),
                "created_at": t.created_at.isoformat(),
                "no_rate": t.no_rate,
            }
            for t in person.templates
        ],
    }
    if person.access:
        entry["access"] = person.access.to_json()
    return entry


def _decode(entry: PersonEntry) -> Enrolled:
    """entry: of an untrusted file, so each value is checked. Raises KeyError, TypeError, ValueError or GalleryError."""
    identity = Identity(identity_id=check_id(entry["identity_id"]), name=clean_name(entry["name"]))
    templates = tuple(
        Template(
            template_id=_text(t["template_id"]),
            identity_id=identity.identity_id,
            embedding=Embedding(
                vector=np.frombuffer(base64.b64decode(t["vector"], validate=True), dtype="<f4").astype(np.float32),
                encoder_id=_text(t["encoder_id"]),
            ),
            quality=Quality(**t["quality"]),  # type: ignore[arg-type]  # a file can hold other keys: TypeError
            created_at=datetime.fromisoformat(t["created_at"]),
            no_rate=_flag(t.get("no_rate", False)),
        )
        for t in entry["templates"]
    )
    if not templates:
        raise ValueError(f"{identity.identity_id!r} has no template")
    rules = rules_from_json(entry.get("access", {}))
    return Enrolled(identity=identity, created_at=templates[0].created_at, templates=templates, access=rules)


def _flag(value: object) -> bool:
    """Raises TypeError if `value` is neither true nor false."""
    if not isinstance(value, bool):
        raise TypeError(f"no_rate: expected true or false, got {value!r}"[:100])
    return value


def _text(value: object) -> str:
    """Raises TypeError if `value` is not text, ValueError if it cannot be stored (half a surrogate pair)."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}"[:100])
    value.encode()
    return value
