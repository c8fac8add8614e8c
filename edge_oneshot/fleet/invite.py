"""`fleet invite` and `fleet join`: two devices that share a one-time code exchange keys through a broker that neither trusts.

The code has 95 random bits, so a broker operator who records the messages cannot try all codes. The request is encrypted with
a key derived from the code and holds the public keys of the new device. The answer is encrypted with a key that needs the code and
the private key of the new device, so a code that leaks later opens nothing that was recorded. The topic is a hash of the code.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from edge_oneshot.errors import FleetError
from edge_oneshot.fleet.records import canonical
from edge_oneshot.storage.cipher import Cipher, Signer, key_from, signed_by, x25519

VALID_S = 3600.0
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_RANDOM = 19  # letters; one more is a check letter


def new_code() -> str:
    """A one-time code: five groups of four letters, the last letter a check of the others."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(_RANDOM))
    letters += _check(letters)
    return "-".join(letters[i : i + 4] for i in range(0, len(letters), 4))


def secret_of(code: str) -> bytes:
    """The secret of a code as a person may type it. Raises FleetError for a typing error."""
    letters = "".join(code.split()).replace("-", "").lower().translate(str.maketrans("ilo", "110"))
    if len(letters) != _RANDOM + 1 or set(letters) - set(_LETTERS):
        raise FleetError(
            f"fleet code: expected {_RANDOM + 1} letters and digits, got {len(letters)}",
            "type it as `fleet invite` showed it",
        )
    if _check(letters[:-1]) != letters[-1]:
        raise FleetError("fleet code: the check letter is wrong", "compare each letter with what `fleet invite` showed")
    return hashlib.sha256(b"edge-oneshot fleet code 1\0" + letters.encode()).digest()


def place_of(secret: bytes) -> str:
    """32 hex digits: where request and answer are exchanged, as `join/<place>/request` and `join/<place>/answer`."""
    return key_from(secret, "place of a fleet code").hex()[:32]


@dataclass(frozen=True, slots=True, repr=False)
class DeviceKeys:
    """The private keys of a device: Ed25519 and X25519, 32 random bytes each."""

    sign: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    exchange: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    @property
    def signer(self) -> Signer:
        return Signer(self.sign)

    @property
    def public(self) -> tuple[str, str]:
        """(Ed25519, X25519), hex."""
        return self.signer.public.hex(), x25519(self.exchange, None)[0].hex()


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What a new device learns. root: the public key of the fleet, hex. life: the key of topics and of the list of members.

    records: messages (topic, payload) to take first: the admins between the root key and this device, itself, and its keys.
    """

    root: str
    life: bytes
    records: tuple[tuple[str, bytes], ...]


def request(secret: bytes, keys: DeviceKeys) -> bytes:
    """The message of the new device."""
    key, exchange = keys.public
    proof = keys.signer.sign(_proof(secret, key, exchange)).hex()
    return _code_key(secret).encrypt(canonical({"key": key, "exchange": exchange, "proof": proof}), "request")


def open_request(secret: bytes, payload: bytes) -> tuple[str, str]:
    """(Ed25519, X25519) of the new device, hex. Raises ValueError if it does not know the code or not own the keys."""
    about = _json(_code_key(secret).decrypt(payload, "request"))
    try:
        key, exchange, proof = (str(about[name]) for name in ("key", "exchange", "proof"))
        right = len(bytes.fromhex(exchange)) == 32 and signed_by(
            bytes.fromhex(key), bytes.fromhex(proof), _proof(secret, key, exchange)
        )
    except KeyError:
        right = False
    if not right or key != key.lower() or exchange != exchange.lower():
        raise ValueError("the new device does not own its keys")
    return key, exchange


def answer(secret: bytes, exchange: str, about: Answer) -> bytes:
    """The message of the admin."""
    private = secrets.token_bytes(32)
    public, shared = x25519(private, bytes.fromhex(exchange))
    content = {
        "root": about.root,
        "life": about.life.hex(),
        "records": [[topic, base64.b64encode(payload).decode()] for topic, payload in about.records],
    }
    return public + _answer_key(secret, shared, public).encrypt(canonical(content), "answer")


def open_answer(secret: bytes, keys: DeviceKeys, payload: bytes) -> Answer:
    """Raises ValueError if it is not the answer of someone who knows the code."""
    _, shared = x25519(keys.exchange, payload[:32])
    about = _json(_answer_key(secret, shared, payload[:32]).decrypt(payload[32:], "answer"))
    try:
        records = tuple((str(topic), base64.b64decode(data, validate=True)) for topic, data in about["records"])
        return Answer(str(about["root"]), bytes.fromhex(about["life"]), records)
    except (KeyError, TypeError):
        raise ValueError("the answer is damaged") from None


def _json(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("expected an object")
    return found


def _proof(secret: bytes, key: str, exchange: str) -> bytes:
    return b"edge-oneshot fleet join 1\0" + place_of(secret).encode() + f"\0{key}\0{exchange}".encode()


def _code_key(secret: bytes) -> Cipher:
    return Cipher(key_from(secret, "edge-oneshot fleet request 1"))


def _answer_key(secret: bytes, shared: bytes, ephemeral: bytes) -> Cipher:
    return Cipher(key_from(secret + shared + ephemeral, "edge-oneshot fleet answer 1"))


def _check(letters: str) -> str:
    """A letter that shows 31 of 32 typing errors."""
    return _LETTERS[hashlib.sha256(b"check\0" + letters.encode()).digest()[0] % 32]
