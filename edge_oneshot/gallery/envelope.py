"""An export that only a passphrase, or the private key of a recipient, opens: one JSON object that encrypts the document.

    {"format": "edge-oneshot-sealed-gallery", "version": 1, "key": {…}, "data": base64 of the sealed document}

key: {"from": "scrypt", "n", "r", "p", "salt"} (RFC 7914), or {"from": "x25519", "ephemeral", "recipient"} (RFC 7748; HKDF-SHA256
of the shared secret and both public keys). The document is JSON, sealed as in storage/cipher.py; header and key are authenticated
with it. Needs the `cryptography` package.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import secrets
import unicodedata
from collections.abc import Callable
from pathlib import Path

from edge_oneshot.errors import GalleryError
from edge_oneshot.storage.cipher import KEY_BYTES, Cipher, key_from, x25519
from edge_oneshot.text_file import parse_json, read_text

FORMAT, VERSION = "edge-oneshot-sealed-gallery", 1
N, R, P = 2**15, 8, 1  # 32 MB and about 0.1 s on a PC, 0.5 s on a Pi 4
MOST_MEMORY = 256 * 2**20  # that a file may ask for
MIN_PASSPHRASE = 12  # characters: who has the file can try as many as they like
PRIVATE, PUBLIC = "x25519-private", "x25519-public"
_CHANGED = "the passphrase or the key is another one, or the file was changed after the export; nothing was imported"


def available() -> bool:
    """Whether an export can be encrypted."""
    return importlib.util.find_spec("cryptography") is not None


def for_passphrase(document: object, passphrase: str) -> dict[str, object]:
    """The document, encrypted to a passphrase. Raises GalleryError for one that is too short."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise GalleryError(
            f"passphrase: expected at least {MIN_PASSPHRASE} characters, got {len(passphrase)}",
            "take several words: anyone who has the file can try passphrases without limit",
        )
    about: dict[str, object] = {"from": "scrypt", "n": N, "r": R, "p": P, "salt": _text(secrets.token_bytes(16))}
    return _seal(document, about, _scrypt(about, passphrase))


def for_recipient(document: object, public: bytes) -> dict[str, object]:
    """The document, encrypted to the public key of a recipient. Anyone can do that: it does not show who made the file."""
    ephemeral, secret = x25519(secrets.token_bytes(KEY_BYTES), public)
    about: dict[str, object] = {"from": "x25519", "ephemeral": _text(ephemeral), "recipient": _text(public)}
    return _seal(document, about, key_from(secret, f"edge-oneshot archive {_text(ephemeral)} {_text(public)}"))


def is_sealed(document: dict[str, object]) -> bool:
    return document.get("format") == FORMAT


def open_document(
    envelope: dict[str, object], passphrase: Callable[[], str], private: Callable[[], bytes]
) -> dict[str, object]:
    """The document. passphrase, private: ask for what the file needs. Raises GalleryError."""
    about, data = envelope.get("key"), envelope.get("data")
    if envelope.get("version") != VERSION or not isinstance(about, dict) or not isinstance(data, str):
        raise GalleryError(
            f"expected a file of format {FORMAT}, version {VERSION}, got another",
            "give a file that `gallery export` wrote",
        )
    try:
        if about.get("from") == "scrypt":
            key = _scrypt(about, passphrase())
        else:
            key = _shared(about, private())
        document = parse_json(Cipher(key).decrypt(base64.b64decode(data, validate=True), *_header(about)))
    except (ValueError, TypeError, KeyError) as e:
        raise GalleryError(f"cannot open the export: {_CHANGED}", "try again; export it again") from e
    return document if isinstance(document, dict) else {}


def new_recipient(private: bytes) -> tuple[str, str]:
    """The lines of the private and the public key file. private: 32 random bytes."""
    public, _ = x25519(private, None)
    return f"{PRIVATE}:{_text(private)}\n", f"{PUBLIC}:{_text(public)}\n"


def read_key(path: Path, kind: str) -> bytes:
    """The key of a file of `gallery new-recipient`. kind: PRIVATE or PUBLIC. Raises GalleryError."""
    try:
        got, _, material = read_text(path).strip().partition(":")
        key = base64.b64decode(material, validate=True)
    except (OSError, ValueError) as e:
        raise GalleryError(f"cannot read the key {path}: {e}", "give a file of `gallery new-recipient`") from None
    if got != kind or len(key) != KEY_BYTES:
        what = (
            "FILE.pub of `gallery new-recipient`" if kind == PUBLIC else "the private file of `gallery new-recipient`"
        )
        raise GalleryError(f"key {path}: expected {kind}, got {got[:20]!r}", f"give {what}")
    return key


def _seal(document: object, about: dict[str, object], key: bytes) -> dict[str, object]:
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return {
        "format": FORMAT,
        "version": VERSION,
        "key": about,
        "data": _text(Cipher(key).encrypt(data, *_header(about))),
    }


def _header(about: dict[str, object]) -> tuple[str, str, str]:
    return FORMAT, str(VERSION), json.dumps(about, sort_keys=True)


def _scrypt(about: dict[str, object], passphrase: str) -> bytes:
    """Raises ValueError, TypeError or KeyError for parameters of a file that are damaged, or that ask for too much memory."""
    n, r, p, salt = about["n"], about["r"], about["p"], about["salt"]
    if not (isinstance(n, int) and isinstance(r, int) and isinstance(p, int) and isinstance(salt, str)):
        raise TypeError("expected numbers")
    if not (n >= N and r >= R and 1 <= p <= 16) or 128 * n * r > MOST_MEMORY:
        raise ValueError(f"expected scrypt parameters from {N}, {R}, {P} on, within {MOST_MEMORY} bytes")
    secret = unicodedata.normalize("NFC", passphrase).encode()
    return hashlib.scrypt(
        secret, salt=base64.b64decode(salt, validate=True), n=n, r=r, p=p, maxmem=2 * MOST_MEMORY, dklen=KEY_BYTES
    )


def _shared(about: dict[str, object], private: bytes) -> bytes:
    ephemeral, recipient = str(about["ephemeral"]), str(about["recipient"])
    public, secret = x25519(private, base64.b64decode(ephemeral, validate=True))
    if _text(public) != recipient:
        raise ValueError("another recipient")
    return key_from(secret, f"edge-oneshot archive {ephemeral} {recipient}")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
