"""Exports that a passphrase or the key of a recipient opens: gallery/envelope.py and the commands."""

from __future__ import annotations

import copy
import json
import stat
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from click.testing import CliRunner, Result
from samples import person, random_unit, template

from edge_oneshot.cli import cli
from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery import envelope
from edge_oneshot.gallery.archive import to_document
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.storage.keys import Keys

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    with Gallery(tmp_path / "source.sqlite") as gallery:
        gallery.add(person("canary", "Zoë Canary"), [template("canary", random_unit(1))])
        return dict(to_document(gallery))


def refuse() -> Any:
    raise AssertionError("not asked for")


def opened(sealed: dict[str, Any], passphrase: str = PASSPHRASE) -> dict[str, object]:
    return envelope.open_document(sealed, lambda: passphrase, refuse)


def test_a_passphrase_opens_the_file_and_another_does_not(document: dict[str, Any]) -> None:
    sealed = envelope.for_passphrase(document, PASSPHRASE)
    text = json.dumps(sealed)
    assert "canary" not in text and document["identities"][0]["templates"][0]["vector"][:40] not in text
    assert envelope.is_sealed(json.loads(text)) and opened(json.loads(text)) == document
    with pytest.raises(GalleryError, match="nothing was imported"):
        opened(sealed, "correct horse battery stable")
    with pytest.raises(GalleryError, match="expected at least 12 characters, got 5"):
        envelope.for_passphrase(document, "short")


def test_a_passphrase_may_be_typed_on_another_keyboard(document: dict[str, Any]) -> None:
    """ë as one character, or as e and a combining mark"""
    assert opened(envelope.for_passphrase(document, "Zoë and Zoë again"), "Zoe\u0308 and Zoe\u0308 again") == document


@pytest.mark.parametrize(
    "change",
    [
        {"n": 2**14}, {"n": 2**25}, {"p": 2}, {"salt": "AAAA"}, {"salt": 5}, {"from": "x25519"}, {"n": "many"},
        {"more": 1},
    ],
)  # fmt: skip
def test_a_changed_header_is_refused(document: dict[str, Any], change: dict[str, Any]) -> None:
    sealed: dict[str, Any] = envelope.for_passphrase(document, PASSPHRASE)
    sealed["key"] |= change
    with pytest.raises(GalleryError):
        envelope.open_document(sealed, lambda: PASSPHRASE, lambda: bytes(32))


def test_a_changed_byte_is_refused(document: dict[str, Any]) -> None:
    sealed: dict[str, Any] = envelope.for_passphrase(document, PASSPHRASE)
    data = sealed["data"]
    for place in range(0, len(data), len(data) // 2):
        changed = copy.deepcopy(sealed)
        changed["data"] = data[:place] + ("A" if data[place] != "A" else "B") + data[place + 1 :]
        with pytest.raises(GalleryError, match="the file was changed after the export"):
            opened(changed)


def test_the_private_key_of_the_recipient_opens_the_file(document: dict[str, Any], tmp_path: Path) -> None:
    for name in ("mine", "other"):
        assert CliRunner().invoke(cli, ["gallery", "new-recipient", str(tmp_path / name)]).exit_code == 0
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o600
    public = envelope.read_key(tmp_path / "mine.pub", envelope.PUBLIC)
    sealed = json.loads(json.dumps(envelope.for_recipient(document, public)))
    assert "canary" not in json.dumps(sealed)
    private = envelope.read_key(tmp_path / "mine", envelope.PRIVATE)
    assert envelope.open_document(sealed, refuse, lambda: private) == document
    with pytest.raises(GalleryError, match="nothing was imported"):
        envelope.open_document(sealed, refuse, lambda: envelope.read_key(tmp_path / "other", envelope.PRIVATE))
    with pytest.raises(
        GalleryError, match=r"expected x25519-public, got 'x25519-private'.*new-recipient|expected x25519-public"
    ):
        envelope.read_key(tmp_path / "mine", envelope.PUBLIC)


# ---- the commands


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "default.toml"
    path.write_text(
        f'[device]\nstate_dir = "{tmp_path / "state"}"\n[gallery]\nkey_file = "{tmp_path / "keys/gallery.key"}"\n'
    )
    with Gallery(tmp_path / "state/gallery.sqlite") as gallery:
        gallery.add(person("canary", "Zoë Canary"), [template("canary", random_unit(1))])
    return path


def run(device: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--config", str(device), "gallery", *words])


def test_seal_export_import_and_unseal(device: Path, tmp_path: Path) -> None:
    key, secret = tmp_path / "keys/gallery.key", tmp_path / "passphrase"
    secret.write_text(f"{PASSPHRASE}\n")
    sealed = run(device, "seal", "--json")
    assert sealed.exit_code == 0 and json.loads(sealed.stdout)["key"] == str(key)
    assert "to a safe place" in sealed.stderr and stat.S_IMODE(key.stat().st_mode) == 0o600
    assert run(device, "rotate-key").exit_code == 0
    out = tmp_path / "people.json"
    assert run(device, "export", str(out), "--passphrase-file", str(secret)).exit_code == 0
    assert b"anary" not in out.read_bytes() and stat.S_IMODE(out.stat().st_mode) == 0o600
    listed = json.loads(run(device, "list", "--json").stdout)
    assert run(device, "remove", "canary", "--yes").exit_code == 0
    back = run(device, "import", str(out), "--passphrase-file", str(secret))
    assert back.exit_code == 0 and json.loads(run(device, "list", "--json").stdout) == listed
    with Gallery(tmp_path / "state/gallery.sqlite", Keys(key)) as gallery:
        assert gallery.sealed
    assert run(device, "unseal", "--yes").exit_code == 0
    with Gallery(tmp_path / "state/gallery.sqlite") as gallery:
        assert not gallery.sealed and gallery.lookup("canary").name == "Zoë Canary"


def test_an_export_without_a_passphrase_has_to_be_asked_for(device: Path, tmp_path: Path) -> None:
    out = tmp_path / "people.json"
    refused = run(device, "export", str(out))
    assert refused.exit_code == 2 and "give --passphrase-file; --plain exports without one" in refused.stderr
    assert not out.exists()
    written = run(device, "export", "--plain", str(out))
    assert written.exit_code == 0 and "is not encrypted" in written.stderr
    assert json.loads(out.read_text())["identities"][0]["name"] == "Zoë Canary"
