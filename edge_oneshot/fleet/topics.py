"""The topics of a fleet, relative to `<prefix>/fleet/<fleet id>/`, and what stands in them for people and devices.

A topic shows no name: people are keyed hashes with a key that only members have, devices are hashes of their public keys.
"""

from __future__ import annotations

import hashlib
import re

from edge_oneshot.storage.cipher import Cipher

PERSON, TEMPLATE, MEMBER, REVOKED, KEY, STATE, AUDIT = (
    "person",
    "template",
    "member",
    "revoked",
    "key",
    "state",
    "audit",
)
_HEX32 = "[0-9a-f]{32}"
_FORM = re.compile(
    rf"(?P<gallery>person|template)/(?P<slice>[0-9a-f]{{2}})/(?P<subject>(?P=slice)[0-9a-f]{{30}})"
    rf"|(?P<device>member|revoked|key|state)/(?P<id>{_HEX32})"
    rf"|audit/(?P<author>{_HEX32})/(?P<number>0|[1-9][0-9]{{0,8}})"
)


def kind_of(topic: str) -> str:
    """The first level. Raises ValueError for a topic that a fleet does not have."""
    if not _FORM.fullmatch(topic):
        raise ValueError(f"expected a topic of a fleet, got {topic[:80]!r}")
    return topic.partition("/")[0]


def subject_of(topic: str) -> str:
    """The hash that stands for the person, template or device."""
    parts = topic.split("/")
    return parts[1] if parts[0] == AUDIT else parts[-1]


def person_subject(life: Cipher, identity_id: str) -> str:
    return life.pseudonym(identity_id, "fleet person")


def person_topic(life: Cipher, identity_id: str) -> str:
    return topic_of(PERSON, person_subject(life, identity_id))


def template_topic(life: Cipher, identity_id: str, encoder_id: str) -> str:
    return topic_of(TEMPLATE, life.pseudonym(f"{identity_id}\0{encoder_id}", "fleet template"))


def topic_of(kind: str, subject: str) -> str:
    """Of a person or template by its hash, or of a device by its id."""
    return f"{kind}/{subject[:2]}/{subject}" if kind in (PERSON, TEMPLATE) else f"{kind}/{subject}"


def device_id(public: str) -> str:
    """32 hex digits: the id of the device with this Ed25519 public key (hex); of the root key: the id of the fleet."""
    return hashlib.sha256(b"edge-oneshot device\0" + bytes.fromhex(public)).hexdigest()[:32]
