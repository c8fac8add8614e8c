"""Files from any editor: a byte order mark is accepted, and another encoding is named."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest

from edge_oneshot.config import MqttConfig, load_config
from edge_oneshot.errors import ConfigError, EdgeOneshotError, GalleryError
from edge_oneshot.events.signing import new_key, read_key
from edge_oneshot.gallery.archive import read_document
from edge_oneshot.gallery.naming import clean_name, propose_id
from edge_oneshot.mqtt.broker import read_password

TOML = '[device]\nname = "Tür"\n'


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(codecs.BOM_UTF8 + TOML.encode())
    assert load_config(path).device.name == "Tür"
    path.write_bytes(codecs.BOM_UTF8 + b"secret\r\n")
    assert read_password(MqttConfig(username="me", password_file=str(path))) == "secret"
    path.write_bytes(codecs.BOM_UTF8 + json.dumps({"format": "x"}).encode())
    assert read_document(path) == {"format": "x"}
    key = new_key("hmac")
    path.write_bytes(codecs.BOM_UTF8 + key.text().encode())
    assert read_key(path) == key


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (TOML.encode("latin-1"), "byte 0xfc in line 2 (Latin-1?)"),
        (TOML.encode("utf-16"), "got UTF-16;"),
        (TOML.encode("utf-16-be"), "UTF-16 or binary"),
    ],
)
def test_another_encoding_is_named(data: bytes, got: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert got in caught.value.message and "save the file as UTF-8" in caught.value.message
    assert "permissions" not in str(caught.value)
    with pytest.raises(GalleryError, match="save the file as UTF-8"):
        read_document(path)
    with pytest.raises(EdgeOneshotError, match="expected a key file"):
        read_key(path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_password_of_another_encoding_is_not_shown(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes("gehüim".encode(encoding))
    with pytest.raises(ConfigError, match="expected UTF-8 text, got another encoding") as caught:
        read_password(MqttConfig(username="me", password_file=str(path)))
    assert "0x" not in str(caught.value) and "permissions" not in str(caught.value)


@pytest.mark.parametrize("name", ["علی\u200cرضا", "نام\u200cها", "ක්\u200dරිස්", "👩\u200d💻", "👩🏽\u200d❤️\u200d👨🏽"])
def test_names_that_are_spelled_with_a_joiner(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "Al\u200dice",
        "Al\u200cice",
        "\u200dعلی",
        "علی\u200c",
        "علی\u200c\u200cرضا",
        "علی\u200c رضا",
        "Ма\u200dша",
        "a\u2066b",
        "a\u200eb",
    ],
)
def test_an_invisible_character_that_joins_nothing_is_refused(name: str) -> None:
    with pytest.raises(GalleryError, match="printable characters"):
        clean_name(name)


def test_a_name_with_a_joiner_needs_an_id() -> None:
    with pytest.raises(GalleryError, match="no id can be made"):
        propose_id(clean_name("علی\u200cرضا"))
