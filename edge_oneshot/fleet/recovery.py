"""The recovery code: the private root key of a fleet, for its owner to keep on paper. No device keeps it."""

from __future__ import annotations

import base64
import hashlib
import secrets

from edge_oneshot.errors import FleetError
from edge_oneshot.storage.cipher import Signer

_CHECK = 3  # bytes


def new_root() -> tuple[Signer, str]:
    """(root key, its recovery code: seven groups of eight letters and digits)."""
    private = secrets.token_bytes(32)
    letters = base64.b32encode(private + _check(private)).decode().lower()
    return Signer(private), "-".join(letters[i : i + 8] for i in range(0, len(letters), 8))


def signer_of(code: str, root: str) -> Signer:
    """The root key. root: its public key, hex. Raises FleetError if the code is not that of this fleet."""
    letters = "".join(code.split()).replace("-", "").upper()
    try:
        data = base64.b32decode(letters)
        if len(data) != 32 + _CHECK or _check(data[:32]) != data[32:]:
            raise ValueError
    except ValueError:
        raise FleetError(
            "recovery code: expected 56 letters and digits, got something else", "type it as it was shown"
        ) from None
    signer = Signer(data[:32])
    if signer.public.hex() != root:
        raise FleetError(
            "recovery code: it belongs to another fleet", "use the code that `fleet init` of this fleet showed"
        )
    return signer


def _check(private: bytes) -> bytes:
    return hashlib.sha256(b"recovery\0" + private).digest()[:_CHECK]
