"""Signatures of events: who holds the key made this, whole, and nobody plays a recording of it.

A signed payload ends with
    ,"signature":{"alg":"HMAC-SHA256","key_id":"3f9c…","counter":17,"value":"…"}}
and the signature is over every byte before `,"value":"`. The bytes as sent are the canonical form: no two JSON libraries
must agree on how to write a number, and no byte of the message is outside the signature. A payload that was parsed and
written anew on its way cannot be verified any more.

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
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_oneshot.errors import ConfigError, EdgeOneshotError

HMAC, ED25519 = "HMAC-SHA256", "Ed25519"
_MARK = b',"value":"'
_TAIL = re.compile(rb'([A-Za-z0-9_-]+)"\}\}')
_KINDS = ("hmac-sha256", "ed25519-private", "ed25519-public")


class SignatureRefused(EdgeOneshotError):
    """The payload must not be acted on. The text says why."""


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """kind: one of _KINDS. material: 32 bytes. Its repr does not show it."""

    kind: str
    material: bytes

    @property
    def alg(self) -> str:
        return HMAC if self.kind == "hmac-sha256" else ED25519

    @property
    def key_id(self) -> str:
        """16 hex digits that name the key: of the public key, or of the secret with a label (it tells nothing of it)."""
        material = self.material if self.kind == "hmac-sha256" else self._public_bytes()
        return hashlib.sha256(b"edge-oneshot key id\0" + material).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Key({self.kind}, {self.key_id})"

    def text(self) -> str:
        """The line of a key file."""
        return f"{self.kind}:{_encode(self.material).decode()}\n"

    def public(self) -> Key:
        """What a consumer needs: the public key, or the secret itself for HMAC."""
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
    """A fresh key: alg is "hmac" or "ed25519"."""
    return Key("hmac-sha256" if alg == "hmac" else "ed25519-private", secrets.token_bytes(32))


def read_key(path: Path) -> Key:
    """Raises ConfigError for a file that is no key."""
    try:
        kind, _, material = path.read_text(encoding="ascii").strip().partition(":")
        key = Key(kind, base64.urlsafe_b64decode(material + "=" * (-len(material) % 4)))
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "something else"
        raise ConfigError(
            f"key {path}: expected a key file, got: {reason}", "`edge-oneshot mqtt new-key` makes one"
        ) from None
    if kind not in _KINDS or len(key.material) != 32:
        raise ConfigError(
            f"key {path}: expected one of {', '.join(_KINDS)} and 32 bytes, got {kind[:20]!r} and {len(key.material)}",
            "`edge-oneshot mqtt new-key` makes one",
        )
    return key


def write_key(path: Path, key: Key) -> None:
    """A new file, 0600. Raises FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
        f.write(key.text())


class Sealer:
    """Signs messages. counter: gives a number that was never given before."""

    def __init__(self, key: Key, counter: Callable[[], int]) -> None:
        key.sign(b"")  # a key that cannot sign is found here, at the start
        self._key, self._counter = key, counter

    def __call__(self, message: dict[str, Any]) -> bytes:
        """The payload: `message` (without `signature`) and its signature."""
        head = {"alg": self._key.alg, "key_id": self._key.key_id, "counter": self._counter()}
        text = json.dumps({**message, "signature": head}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        sealed = text[: -len("}}")].encode()
        return sealed + _MARK + _encode(self._key.sign(sealed)) + b'"}}'


def verify(payload: bytes, key: Key) -> dict[str, Any]:
    """The message, if its signature is by this key. Raises SignatureRefused."""
    sealed, mark, tail = payload.rpartition(_MARK)
    match = _TAIL.fullmatch(tail)
    if not mark or match is None:
        raise SignatureRefused("not signed")
    try:
        message = json.loads(payload)
        head = message["signature"]
        alg, key_id, counter = head["alg"], head["key_id"], head["counter"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SignatureRefused("no event") from None
    if (alg, key_id) != (key.alg, key.key_id):
        raise SignatureRefused(f"signed with {alg} by key {key_id}, expected {key.alg} by {key.key_id}")
    try:
        signature = base64.urlsafe_b64decode(match[1] + b"=" * (-len(match[1]) % 4))
    except ValueError:
        signature = b""
    # One spelling only: the last letter of base64 has bits that decode to nothing.
    if _encode(signature) != match[1] or not key.verifies(sealed, signature):
        raise SignatureRefused("the signature does not hold")
    if not isinstance(counter, int):
        raise SignatureRefused("no counter")
    assert isinstance(message, dict)
    return message


@dataclass(slots=True)
class Gate:
    """What a lock asks: signed, fresh, and never seen. Remembers the highest counter of each device."""

    key: Key
    counters: dict[str, int] = field(default_factory=dict)

    def admit(self, payload: bytes, now: datetime) -> dict[str, Any]:
        """The event, if it may be acted on at `now` (aware). Raises SignatureRefused with the reason."""
        event = verify(payload, self.key)
        device, counter = str(event.get("device")), event["signature"]["counter"]
        if counter <= self.counters.get(device, 0):
            raise SignatureRefused(f"repeated: counter {counter}, and {self.counters[device]} was seen")
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
        return event


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ConfigError(
            "Ed25519 keys: expected the cryptography package, got none", "pip install 'edge-oneshot[sign]'"
        ) from None
    return ed25519
