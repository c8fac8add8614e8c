"""The keys of a fleet: the fleet keys (epochs), and how an admin hands them to one device.

A fleet key is made by an admin, who signs its number and id. It encrypts what is new while its maker is in force, and no fleet key has
a greater number. Every fleet key is kept, to read what was encrypted with it.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from edge_oneshot.fleet.records import canonical
from edge_oneshot.storage.cipher import KEY_BYTES, Cipher, Signer, key_from, new_key, signed_by, x25519

_MAX_NUMBER = 2**31


@dataclass(frozen=True, slots=True, repr=False)
class Epoch:
    """One fleet key. number: of the epoch. author: the public key of who made it, hex. The repr does not show the key."""

    number: int
    key: bytes
    author: str
    signature: bytes

    def __repr__(self) -> str:
        return f"Epoch({self.number}, {self.key_id})"

    @property
    def key_id(self) -> str:
        return Cipher(self.key).key_id


def new_epoch(signer: Signer, fleet_id: str, number: int) -> Epoch:
    key = new_key()
    return Epoch(number, key, signer.public.hex(), signer.sign(_statement(fleet_id, number, Cipher(key).key_id)))


def seal_for(exchange: str, epochs: Iterable[Epoch], fleet_id: str, device: str) -> str:
    """The fleet keys for the owner of the X25519 public key `exchange` (hex): base64."""
    listed = [
        [e.number, base64.b64encode(e.key).decode(), e.author, base64.b64encode(e.signature).decode()] for e in epochs
    ]
    private = secrets.token_bytes(32)
    public, shared = x25519(private, bytes.fromhex(exchange))
    key = _exchange_key(shared, public, exchange)
    return base64.b64encode(public + key.encrypt(canonical(listed), "fleet keys", fleet_id, device)).decode()


def open_sealed(sealed: str, private: bytes, fleet_id: str, device: str) -> list[Epoch]:
    """What `seal_for` has sealed for this device. Raises ValueError if it was changed or is for another one."""
    data = base64.b64decode(sealed, validate=True)
    own = x25519(private, None)[0].hex()
    _, shared = x25519(private, data[:32])
    plain = _exchange_key(shared, data[:32], own).decrypt(data[32:], "fleet keys", fleet_id, device)
    try:
        listed = [
            Epoch(int(number), base64.b64decode(key), str(author), base64.b64decode(signature))
            for number, key, author, signature in json.loads(plain)
        ]
    except (TypeError, ValueError):
        raise ValueError("the fleet keys are damaged") from None
    for epoch in listed:
        if len(epoch.key) != KEY_BYTES or not 0 < epoch.number < _MAX_NUMBER:
            raise ValueError("the fleet keys are damaged")
        statement = _statement(fleet_id, epoch.number, epoch.key_id)
        if not signed_by(bytes.fromhex(epoch.author), epoch.signature, statement):
            raise ValueError("a fleet key is not signed by who made it")
    return listed


def _exchange_key(shared: bytes, ephemeral: bytes, receiver: str) -> Cipher:
    return Cipher(key_from(shared + ephemeral + bytes.fromhex(receiver), "edge-oneshot fleet keys 1"))


def _statement(fleet_id: str, number: int, key_id: str) -> bytes:
    return b"edge-oneshot fleet epoch 1\0" + f"{fleet_id}\0{number}\0{key_id}".encode()
