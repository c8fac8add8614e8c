"""What the records of each kind say, and its check. A record that fails it is refused, whoever has signed it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_oneshot.fleet import topics
from edge_oneshot.fleet.audit import Segment
from edge_oneshot.fleet.members import admission_of, kept_of
from edge_oneshot.fleet.records import Record, canonical
from edge_oneshot.gallery.rows import make_template, parts_of, slug
from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.types import Identity, Template

MAX_TEMPLATES = 200  # of one person and encoder
MAX_NAME = 1000
MAX_RULES = 20_000  # characters of JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person in force. subject: the hash that stands for the person in topics. rules: access rules; None: always, everywhere.

    generation: one more after each removal. lineage: the name of this enrollment. author: the id of the device that wrote last.
    changed_ms: when, by its clock. templates: encoder_id -> templates; an encoder without templates is not in it.
    """

    subject: str
    identity: Identity
    rules: Mapping[str, Any] | None
    generation: int
    lineage: str
    author: str
    changed_ms: int
    templates: Mapping[str, tuple[Template, ...]]


def person_content(identity: Identity, rules: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"identity": identity.identity_id, "name": identity.name, "rules": None if rules is None else dict(rules)}


def template_content(identity_id: str, encoder_id: str, templates: Iterable[Template]) -> dict[str, Any]:
    return {
        "identity": identity_id,
        "encoder": encoder_id,
        "templates": [_listed(t) for t in sorted(templates, key=lambda t: t.template_id)],
    }


def _listed(t: Template) -> list[object]:
    vector, quality = parts_of(t)
    return [t.template_id, base64.b64encode(vector).decode(), json.loads(quality), t.created_at.isoformat(), t.no_rate]


def identity_of(record: Record) -> Identity:
    """The person of a person record. Raises ValueError if it has none."""
    about = record.content
    if set(about) != {"identity", "name", "rules"} or not isinstance(about["name"], str):
        raise ValueError("it names no person")
    if not about["name"].strip() or len(about["name"]) > MAX_NAME:
        raise ValueError("its name is none")
    if about["rules"] is not None and (
        not isinstance(about["rules"], dict) or len(canonical(about["rules"])) > MAX_RULES
    ):
        raise ValueError("its access rules are none")
    return Identity(identity_id=slug(about["identity"]), name=about["name"])


def templates_of(record: Record) -> tuple[str, tuple[Template, ...]]:
    """(encoder_id, templates) of a template record. Raises ValueError if it is damaged."""
    about = record.content
    if set(about) != {"identity", "encoder", "templates"} or not isinstance(about["encoder"], str):
        raise ValueError("it has no templates")
    identity_id, encoder_id, listed = slug(about["identity"]), about["encoder"], about["templates"]
    if not isinstance(listed, list) or len(listed) > MAX_TEMPLATES:
        raise ValueError("its templates are none")
    try:
        return encoder_id, tuple(_template(identity_id, encoder_id, *one) for one in listed)
    except (TypeError, KeyError, AttributeError, OverflowError):
        raise ValueError("one of its templates is damaged") from None


def _template(
    identity_id: str,
    encoder_id: str,
    template_id: str,
    vector: str,
    quality: Mapping[str, Any],
    created_at: str,
    no_rate: bool,
) -> Template:
    about = (template_id, identity_id, encoder_id, created_at, no_rate)
    return make_template(about, base64.b64decode(vector, validate=True), json.dumps(quality))


def check(record: Record, life: Cipher) -> None:
    """Raises ValueError, with the reason, if the content is not one of the record's kind and topic."""
    kind = record.kind
    if record.version < 1:
        raise ValueError("its version is none")
    if record.removed and kind != topics.PERSON:
        raise ValueError("it removes what is no person")
    if kind == topics.PERSON:
        _check_person(record, life)
    elif kind == topics.TEMPLATE:
        templates_of(record)
        identity_id = record.content["identity"]
        if record.topic != topics.template_topic(life, identity_id, record.content["encoder"]):
            raise ValueError("it is about another person or encoder than its topic")
        if record.person != topics.person_subject(life, identity_id) or not record.lineage or record.generation < 1:
            raise ValueError("it belongs to no enrollment")
    elif kind == topics.MEMBER:
        admission_of(record.raw)
    elif kind == topics.REVOKED:
        kept_of(record.raw)
    elif kind == topics.KEY:
        _check_key(record.content)
    elif kind == topics.AUDIT:
        Segment.of(record)


def _check_person(record: Record, life: Cipher) -> None:
    if record.generation < 1 or not record.lineage:
        raise ValueError("it belongs to no enrollment")
    if record.removed:
        if record.content:
            raise ValueError("it removes a person and names one")
    elif record.topic != topics.person_topic(life, identity_of(record).identity_id):
        raise ValueError("it is about another person than its topic")


def _check_key(content: Mapping[str, Any]) -> None:
    listed = content.get("epochs")
    if set(content) != {"epochs", "sealed"} or not isinstance(content["sealed"], str) or not isinstance(listed, list):
        raise ValueError("it holds no fleet keys")
    if not all(isinstance(key_id, str) for key_id in listed):
        raise ValueError("it holds no fleet keys")


def by_encoder(templates: Sequence[Template]) -> dict[str, list[Template]]:
    found: dict[str, list[Template]] = {}
    for template in templates:
        found.setdefault(template.encoder_id, []).append(template)
    return found
