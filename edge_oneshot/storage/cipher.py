"""Authenticated encryption of what a file or message holds about people, the keys of it, and signatures.

AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits. Each use has a key of its own, derived with HKDF-SHA256
(RFC 5869). Needs the `cryptography` package.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from edge_oneshot import installation
from edge_oneshot.errors import ConfigError
from edge_oneshot.text_file import read_text

KEY_BYTES = 32
_KIND = "aes-256"
_NONCE, _TAG = 12, 16
_FORMAT = b"\x01"  # the first byte of everything that is encrypted here


class Cipher:
    """Encrypts and authenticates with one key. The repr does not show it."""

    def __init__(self, key: bytes) -> None:
        """key: 32 random bytes. Raises ConfigError if the `cryptography` package is absent."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
        self._key, self._mac = key, b""  # the second is derived when it is needed
        self._gcm = _aesgcm()(_derive(key, b"edge-oneshot AES-256-GCM"))

    def __repr__(self) -> str:
        return f"Cipher({self.key_id})"

    @property
    def key_id(self) -> str:
        """16 hex digits that identify the key."""
        return hashlib.sha256(b"edge-oneshot key id\0" + self._key).hexdigest()[:16]

    def derived(self, use: str) -> Cipher:
        """The cipher of one use, for example of one file. Who has it does not have the key of another use."""
        return Cipher(_derive(self._key, b"edge-oneshot use " + use.encode()))

    def encrypt(self, data: bytes, *about: str) -> bytes:
        """`data`, encrypted. about: what it belongs to (table, row); `decrypt` must be given the same."""
        nonce = secrets.token_bytes(_NONCE)
        return _FORMAT + nonce + bytes(self._gcm.encrypt(nonce, data, _join(about)))

    def encrypt_alike(self, data: bytes, *about: str) -> bytes:
        """As `encrypt`, but equal data and `about` give equal results, which can be searched for.

        The nonce is an authenticator of both (a synthetic one, as in RFC 5297), so that no other data has the same.
        """
        nonce = self.authenticator(data, "nonce", *about)[:_NONCE]
        return _FORMAT + nonce + bytes(self._gcm.encrypt(nonce, data, _join(about)))

    def decrypt(self, sealed: bytes, *about: str) -> bytes:
        """What `encrypt` was given. Raises ValueError if it was changed, or has another key or another `about`."""
        if not isinstance(sealed, bytes) or sealed[:1] != _FORMAT or len(sealed) < 1 + _NONCE + _TAG:
            raise ValueError("expected sealed data, got something else")
        try:
            return bytes(self._gcm.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], _join(about)))
        except _invalid_tag():
            raise ValueError("its seal is broken: it was changed or moved, or sealed with another key") from None

    def pseudonym(self, text: str, use: str) -> str:
        """32 hex digits that stand for `text`: always the same with this key, and meaningless without it (HMAC-SHA256)."""
        return self.authenticator(text.encode(), use)[:16].hex()

    def authenticator(self, data: bytes, *about: str) -> bytes:
        """32 bytes that only a holder of the key can compute (HMAC-SHA256, RFC 2104)."""
        if not self._mac:
            self._mac = _derive(self._key, b"edge-oneshot pseudonyms")
        return hmac.digest(self._mac, _join(about) + data, "sha256")


def new_key() -> bytes:
    """32 random bytes."""
    return secrets.token_bytes(KEY_BYTES)


def write_key(path: Path, key: bytes) -> None:
    """Write a new key file, mode 0600, and wait until the disk has it. Raises OSError; FileExistsError if there is one."""
    write_text(path, f"{_KIND}:{base64.urlsafe_b64encode(key).decode()}\n")


def write_text(path: Path, text: str) -> None:
    """As `write_key`, for the text of another kind of key."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_key(path: Path) -> bytes:
    """The key of a file that `write_key` wrote. Raises ConfigError if it cannot be read or is no such file."""
    try:
        kind, _, material = read_text(path).strip().partition(":")
        key = base64.b64decode(material, altchars=b"-_", validate=True)
    except (OSError, ValueError) as e:
        reason = (e.strerror if isinstance(e, OSError) else None) or "other content"
        raise ConfigError(
            f"key {path}: expected a key file, got: {reason}", "restore the key from your backup"
        ) from None
    if kind != _KIND or len(key) != KEY_BYTES:
        raise ConfigError(
            f"key {path}: expected {_KIND} and {KEY_BYTES} bytes, got {kind[:20]!r} and {len(key)}",
            "restore the key from your backup",
        )
    return key


def key_from(secret: bytes, use: str) -> bytes:
    """The key of one use of a shared secret (HKDF-SHA256)."""
    return _derive(secret, use.encode())


def x25519(private: bytes, other: bytes | None) -> tuple[bytes, bytes]:
    """(own public key, secret shared with the owner of the public key `other`), 32 bytes each (RFC 7748).

    private: 32 random bytes. other: None: no secret. Raises ValueError for a public key with which every secret is zero.
    """
    _aesgcm()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    key = X25519PrivateKey.from_private_bytes(private)
    shared = b"" if other is None else key.exchange(X25519PublicKey.from_public_bytes(other))
    return key.public_key().public_bytes_raw(), shared


class Signer:
    """Signs with one Ed25519 key (RFC 8032). The repr does not show it."""

    def __init__(self, private: bytes) -> None:
        """private: 32 random bytes. Raises ConfigError if the `cryptography` package is absent."""
        _aesgcm()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"Signer({self.public.hex()[:16]})"

    def sign(self, data: bytes) -> bytes:
        """A signature of 64 bytes."""
        return self._key.sign(data)


def signed_by(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the owner of the Ed25519 public key has signed `data`. False for a key or signature that is none."""
    from cryptography.exceptions import InvalidSignature

    try:
        _ed25519_public(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=64)
def _ed25519_public(public: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(public)


def _derive(key: bytes, use: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) with an empty salt, one block: the input is a random key already."""
    return hmac.digest(hmac.digest(bytes(32), key, "sha256"), use + b"\x01", "sha256")


def _join(about: tuple[str, ...]) -> bytes:
    """The parts with their lengths, so that ("ab", "c") differs from ("a", "bc")."""
    parts = [part.encode() for part in about]
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])


@cache
def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag


@cache
def _aesgcm() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise ConfigError(
            "sealed data: expected the cryptography package, got none", installation.how_to_add("cryptography>=42")
        ) from None
    return AESGCM
