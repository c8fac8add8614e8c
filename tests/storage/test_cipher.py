"""Encryption of what a file holds about people (storage/cipher.py)."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_oneshot.errors import ConfigError
from edge_oneshot.storage.cipher import Cipher, _derive, new_key, read_key, write_key

KEY = bytes(range(32))


def test_what_was_encrypted_comes_back() -> None:
    cipher = Cipher(KEY)
    sealed = cipher.encrypt(b"Alice", "templates", "1")
    assert b"Alice" not in sealed
    assert sealed != cipher.encrypt(b"Alice", "templates", "1")
    assert cipher.decrypt(sealed, "templates", "1") == b"Alice"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_byte_is_refused(data: st.DataObject) -> None:
    sealed = bytearray(Cipher(KEY).encrypt(b"Alice and her template", "templates", "1"))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="seal"):
        Cipher(KEY).decrypt(bytes(sealed), "templates", "1")


@pytest.mark.parametrize("about", [("templates", "2"), ("template", "s1"), ("templates1",), ()])
def test_sealed_data_cannot_be_moved(about: tuple[str, ...]) -> None:
    sealed = Cipher(KEY).encrypt(b"Alice", "templates", "1")
    with pytest.raises(ValueError, match="its seal is broken"):
        Cipher(KEY).decrypt(sealed, *about)


def test_each_use_has_its_own_key() -> None:
    cipher = Cipher(KEY)
    for other in (Cipher(new_key()), cipher.derived("journal")):
        with pytest.raises(ValueError, match="its seal is broken"):
            other.decrypt(cipher.encrypt(b"Alice"))
        assert other.pseudonym("alice", "id") != cipher.pseudonym("alice", "id")
    assert cipher.derived("journal").key_id == Cipher(KEY).derived("journal").key_id
    assert cipher.pseudonym("alice", "id") == Cipher(KEY).pseudonym("alice", "id") != cipher.pseudonym("alice", "name")


def test_keys_are_derived_as_rfc_5869_says() -> None:
    for use in (b"", b"one use", b"x" * 100):
        assert _derive(KEY, use) == HKDF(SHA256(), 32, None, use).derive(KEY)


def test_a_key_file_is_private_and_is_never_overwritten(tmp_path: Path) -> None:
    path, key = tmp_path / "gallery.key", new_key()
    write_key(path, key)
    assert read_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write_key(path, new_key())


@pytest.mark.parametrize("content", ["", "aes-256:", "aes-256:AAAA\n", "hmac-sha256:" + "A" * 43 + "=", "\x00" * 40])
def test_another_file_is_no_key(tmp_path: Path, content: str) -> None:
    path = tmp_path / "gallery.key"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"gallery\.key: expected") as caught:
        read_key(path)
    assert "restore the key" in str(caught.value)


def test_the_key_is_not_shown() -> None:
    assert KEY.hex() not in repr(Cipher(KEY))
    assert Cipher(KEY).key_id in repr(Cipher(KEY))
