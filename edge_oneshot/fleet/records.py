"""One record of a fleet <-> the bytes of a message: sign, then encrypt (docs/reference/fleet.md).

The author signs the body. Any member can encrypt it anew with a newer fleet key without the author, so a rotation of keys changes
no signature. The topic is part of the body and of what is authenticated with the encryption.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_oneshot.fleet.hlc import MAX_COUNT, MAX_WALL, Hlc
from edge_oneshot.fleet.topics import AUDIT, MEMBER, PERSON, STATE, kind_of, subject_of
from edge_oneshot.storage.cipher import Cipher, Signer, signed_by

FORMAT = b"\x01"
ID_BYTES = 32
MAX_NUMBER = 2**53  # of a version, generation or sequence number
MAX_COUNTED = 2**40  # no device reaches a greater one by counting; after a revocation the others count on from below it
MAX_PAYLOAD = 2 * 1024 * 1024
MAX_DEPTH = 32  # lists and objects within each other, in a body
_KEY_ID = 8  # bytes of the id of the key, after the format
_SIGNATURE = 64
_PAD = 256  # a message is a multiple of this, so that its length does not show that of a name
_SEAL = 1 + _KEY_ID + 29  # bytes that a message has besides the padded record
_MOST = {MEMBER: 8 * 1024, PERSON: 64 * 1024, AUDIT: 64 * 1024, STATE: 256 * 1024}  # the others: MAX_PAYLOAD
_FIELDS = {"author", "content", "generation", "hlc", "lineage", "person", "removed", "seq", "topic", "version"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one device has said about one topic.

    author: its Ed25519 public key, hex. version: of the changes of this topic, one more than the greatest that the author knew.
    generation: of a person: one more after each removal; of a template: that of its person. removed: of a person.
    lineage: a random name of one enrollment; a template counts only with the person record of its lineage.
    person: of a template: the hash of its person. seq: the entry in the author's audit log; 0: none. raw: signature and body.
    """

    topic: str
    author: str
    version: int
    hlc: Hlc
    generation: int
    removed: bool
    lineage: str
    person: str
    seq: int
    content: Mapping[str, Any]
    raw: bytes

    @property
    def id(self) -> bytes:
        """32 bytes that identify the record."""
        return id_of(self.raw)

    @property
    def kind(self) -> str:
        return kind_of(self.topic)

    @property
    def subject(self) -> str:
        return subject_of(self.topic)


def id_of(raw: bytes) -> bytes:
    return hashlib.sha256(b"edge-oneshot record\0" + raw).digest()[:ID_BYTES]


def sign(
    signer: Signer,
    fleet_id: str,
    topic: str,
    content: Mapping[str, Any],
    *,
    version: int,
    hlc: Hlc,
    generation: int = 0,
    removed: bool = False,
    lineage: str = "",
    person: str = "",
    seq: int = 0,
) -> Record:
    """A new record by the owner of `signer`. Raises ValueError if it is too long."""
    author = signer.public.hex()
    about: dict[str, Any] = {
        "author": author,
        "content": content,
        "generation": generation,
        "hlc": list(hlc),
        "lineage": lineage,
        "person": person,
        "removed": removed,
        "seq": seq,
        "topic": topic,
        "version": version,
    }
    body = canonical(about)
    raw = signer.sign(_context(fleet_id) + body) + body
    _check_size(raw, topic)
    return Record(raw=raw, **{**about, "hlc": hlc})


def verify(raw: bytes, fleet_id: str, topic: str) -> Record:
    """The record of a signature and body. Raises ValueError, with the reason, if it is not one for `topic`.

    One that passes can be stored, written again and shown: it is the canonical form of what it says, so text is UTF-8.
    """
    _check_size(raw, topic)
    record = read(raw)
    if record.topic != topic:
        raise ValueError("it belongs to another topic")
    if not signed_by(bytes.fromhex(record.author), raw[:_SIGNATURE], _context(fleet_id) + raw[_SIGNATURE:]):
        raise ValueError("its signature is not that of its author")
    return record


def read(raw: bytes) -> Record:
    """As `verify`, for a record that was verified before. Raises ValueError if it is none."""
    try:
        about = json.loads(raw[_SIGNATURE:])
        _check_depth(about, MAX_DEPTH)
        if canonical(about) != raw[_SIGNATURE:]:
            raise ValueError("its body is not in the canonical form")
        if not isinstance(about, dict) or set(about) != _FIELDS:
            raise ValueError("its fields are not those of a record")
        wall, count = about["hlc"]
        hlc = Hlc(number_of(wall, MAX_WALL), number_of(count, MAX_COUNT))
        kind_of(about["topic"])
        if len(bytes.fromhex(about["author"])) != 32 or about["author"] != about["author"].lower():
            raise ValueError("its author is no key")
        if not isinstance(about["content"], dict) or not isinstance(about["removed"], bool):
            raise ValueError("its content is none")
        for name in ("version", "generation", "seq"):
            number_of(about[name], MAX_NUMBER)
        for name in ("lineage", "person"):
            if not isinstance(about[name], str) or len(about[name]) > 64:
                raise ValueError(f"its {name} is no short text")
    except (TypeError, KeyError, AttributeError, UnicodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("it is no record") from None
    return Record(raw=raw, **{**about, "hlc": hlc})


def most(topic: str) -> int:
    """The length of the longest message of a topic, bytes."""
    return _MOST.get(kind_of(topic), MAX_PAYLOAD)


def _check_size(raw: bytes, topic: str) -> None:
    """Raises ValueError for a record that does not fit into a message: it may have come without padding."""
    if len(raw) + -len(raw) % _PAD + _SEAL > most(topic):
        raise ValueError("it is too long")


def seal(raw: bytes, key: Cipher, fleet_id: str, topic: str) -> bytes:
    """The message that carries a record."""
    padded = raw + b" " * (-len(raw) % _PAD)
    return FORMAT + bytes.fromhex(key.key_id)[:_KEY_ID] + key.encrypt(padded, "fleet", fleet_id, topic)


def key_id_of(payload: bytes, topic: str) -> str:
    """The id of the key that a message needs. Raises ValueError if it is no message of a fleet."""
    if payload[:1] != FORMAT or not 1 + _KEY_ID < len(payload) <= most(topic):
        raise ValueError("it is no message of a fleet of this release")
    return payload[1 : 1 + _KEY_ID].hex()


def unseal(payload: bytes, key: Cipher, fleet_id: str, topic: str) -> bytes:
    """The signature and body of a message. Raises ValueError if it was changed, moved to another topic, or has another key."""
    raw = key.decrypt(payload[1 + _KEY_ID :], "fleet", fleet_id, topic).rstrip(b" ")
    if len(raw) <= _SIGNATURE:
        raise ValueError("it is too short")
    return raw


def canonical(value: object) -> bytes:
    """JSON with sorted keys and without spaces, UTF-8. Raises ValueError for what JSON has no word for."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _check_depth(value: object, left: int) -> None:
    if isinstance(value, dict | list):
        if not left:
            raise ValueError("its body is nested too deeply")
        for part in value.values() if isinstance(value, dict) else value:
            _check_depth(part, left - 1)


def _context(fleet_id: str) -> bytes:
    return b"edge-oneshot fleet record 1\0" + fleet_id.encode() + b"\0"


def number_of(value: object, most: int) -> int:
    """`value`, if it is a number from 0 to `most`. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"expected a number from 0 to {most}, got {value!r}"[:100])
    return value
