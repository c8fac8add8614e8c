"""Signatures of events: a holder of the key made the event, it is complete, and it is not a replay.

A signed payload ends with
    ,"signature":{"alg":"HMAC-SHA256","key_id":"3f9c…","counter":17,"value":"…"}}
and the signature covers every byte before `,"value":"`. The bytes as sent are the canonical form, so JSON libraries need
not agree on how to write a number. A payload that was parsed and written again on its path cannot be verified.

HMAC-SHA256 (RFC 2104): one secret on the device and at each consumer, standard library only.
Ed25519 (RFC 8032): the consumer has only the public key; needs the `cryptography` package.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_oneshot import installation
from edge_oneshot.errors import ConfigError, EdgeOneshotError
from edge_oneshot.shown import plain
from edge_oneshot.text_file import read_text

HMAC, ED25519 = "HMAC-SHA256", "Ed25519"
_MARK = b',"value":"'
_TAIL = re.compile(rb'([A-Za-z0-9_-]+)"\}\}')
_KINDS = ("hmac-sha256", "ed25519-private", "ed25519-public")


class SignatureRefused(EdgeOneshotError):
    """The payload must not be acted on. The message gives the reason."""


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """kind: one of _KINDS. material: 32 bytes, which the repr does not show."""

    kind: str
    material: bytes

    @property
    def alg(self) -> str:
        return HMAC if self.kind == "hmac-sha256" else ED25519

    @property
    def key_id(self) -> str:
        """16 hex digits of a hash that identifies the key: of the public key, or of the secret with a label."""
        material = self.material if self.kind == "hmac-sha256" else self._public_bytes()
        return hashlib.sha256(b"edge-oneshot key id\0" + material).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Key({self.kind}, {self.key_id})"

    def text(self) -> str:
        """The line of a key file."""
        return f"{self.kind}:{_encode(self.material).decode()}\n"

    def public(self) -> Key:
        """The key for a consumer: the public key, or the secret itself for HMAC."""
        return self if self.kind == "hmac-sha256" else Key("ed25519-public", self._public_bytes())

    def sign(self, data: bytes) -> bytes:
        if self.kind == "hmac-sha256":
            return hmac.new(self.material, data, hashlib.sha256).digest()
        if self.kind == "ed25519-private":
            return bytes(_ed25519().Ed25519PrivateKey.from_private_bytes(self.material).sign(data))
        message = "this key can only verify: expected hmac-sha256 or ed25519-private, got ed25519-public"
        raise ConfigError(message, "give the device the private key")

    def verifies(self, data: bytes, signature: bytes) -> bool:
        if self.kind == "hmac-sha256":
            return hmac.compare_digest(self.sign(data), signature)
        from cryptography.exceptions import InvalidSignature

        try:
            _ed25519().Ed25519PublicKey.from_public_bytes(self._public_bytes()).verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def _public_bytes(self) -> bytes:
        if self.kind == "ed25519-public":
            return self.material
        return bytes(_ed25519().Ed25519PrivateKey.from_private_bytes(self.material).public_key().public_bytes_raw())


def new_key(alg: str) -> Key:
    """A new key. alg: "hmac" or "ed25519"."""
    return Key("hmac-sha256" if alg == "hmac" else "ed25519-private", secrets.token_bytes(32))


def read_key(path: Path) -> Key:
    """Raises ConfigError if the file is not a key file."""
    try:
        kind, _, material = read_text(path).strip().partition(":")
        key = Key(kind, base64.urlsafe_b64decode(material + "=" * (-len(material) % 4)))
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "other content"
        raise ConfigError(
            f"key {path}: expected a key file, got: {reason}", "create one with `edge-oneshot mqtt new-key`"
        ) from None
    if kind not in _KINDS or len(key.material) != 32:
        raise ConfigError(
            f"key {path}: expected one of {', '.join(_KINDS)} and 32 bytes, got {kind[:20]!r} and {len(key.material)}",
            "create one with `edge-oneshot mqtt new-key`",
        )
    return key


def write_key(path: Path, key: Key) -> None:
    """Write a new file, mode 0600. Raises FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
        f.write(key.text())


class Sealer:
    """Signs messages. counter: returns a number that was never used before."""

    def __init__(self, key: Key, counter: Callable[[], int]) -> None:
        key.sign(b"")  # raises now if the key cannot sign
        self._key, self._counter = key, counter

    def __call__(self, message: Mapping[str, object]) -> bytes:
        """The payload: `message` (without `signature`) and its signature."""
        head = {"alg": self._key.alg, "key_id": self._key.key_id, "counter": self._counter()}
        text = json.dumps({**message, "signature": head}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        sealed = text[: -len("}}")].encode()
        return sealed + _MARK + _encode(self._key.sign(sealed)) + b'"}}'


def verify(payload: bytes, key: Key) -> dict[str, Any]:
    """The message, if this key signed it. Raises SignatureRefused."""
    sealed, mark, tail = payload.rpartition(_MARK)
    match = _TAIL.fullmatch(tail)
    if not mark or match is None:
        raise SignatureRefused("not signed")
    try:
        message = json.loads(payload)
        head = message["signature"]
        alg, key_id, counter = head["alg"], head["key_id"], head["counter"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SignatureRefused("not an event") from None
    if (alg, key_id) != (key.alg, key.key_id):
        message = f"signed with {_short(alg)} by key {_short(key_id)}, expected {key.alg} by {key.key_id}"
        raise SignatureRefused(message)
    try:
        signature = base64.urlsafe_b64decode(match[1] + b"=" * (-len(match[1]) % 4))
    except ValueError:
        signature = b""
    # Only one spelling is accepted: the last letter of base64 has bits that are ignored.
    if _encode(signature) != match[1] or not key.verifies(sealed, signature):
        raise SignatureRefused("the signature is not valid")
    if not isinstance(counter, int) or isinstance(counter, bool):
        raise SignatureRefused("no counter")
    assert isinstance(message, dict)
    return message


@dataclass(slots=True)
class Gate:
    """The checks of a consumer that opens a door: signed, fresh, not a replay, a rate is stated.

    Keeps the highest counter of each device.
    """

    key: Key
    counters: dict[str, int] = field(default_factory=dict)

    def admit(self, payload: bytes, now: datetime) -> dict[str, Any]:
        """The event, if a consumer may act on it at `now` (aware). Raises SignatureRefused with the reason."""
        event = verify(payload, self.key)
        device, counter = str(event.get("device")), event["signature"]["counter"]
        if counter <= self.counters.get(device, 0):
            raise SignatureRefused(f"replayed: counter {counter}, expected more than {self.counters[device]}")
        self.counters[device] = counter
        if event.get("late") is not False:
            raise SignatureRefused("late")
        if event.get("clock") != "synced":
            raise SignatureRefused("the device's clock is not synchronised")
        try:
            expires_at = datetime.fromisoformat(str(event.get("expires_at")))
            expired = expires_at <= now
        except (ValueError, TypeError):
            raise SignatureRefused("no expires_at") from None
        if expired:
            raise SignatureRefused(f"expired at {event['expires_at']}")
        if event.get("rate") == "none":
            raise SignatureRefused("no error rate can be stated for this person")
        return event


def _short(value: object) -> str:
    """A value of an unverified payload, for a message."""
    return plain(value[:20]) if isinstance(value, str) else "something else"


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ConfigError(
            "Ed25519 keys: expected the cryptography package, got none", installation.how_to_add("cryptography>=42")
        ) from None
    return ed25519
