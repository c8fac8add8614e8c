"""What `doctor` says of the seal and of the key (doctor/seal.py)."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from samples import person, random_unit, template

from edge_oneshot.config import Config, DeviceConfig, GalleryConfig
from edge_oneshot.doctor.seal import check
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.service import sealing


@pytest.fixture
def device(tmp_path: Path) -> Config:
    return Config(
        device=DeviceConfig(state_dir=str(tmp_path / "state")),
        gallery=GalleryConfig(key_file=str(tmp_path / "keys/gallery.key")),
    )


def found(device: Config) -> list[tuple[str, str]]:
    return [(f.status, f.message) for f in check(device)]


def test_the_states_of_the_seal(device: Config) -> None:
    ((status, message),) = found(device)
    assert status == "ok" and "will not be sealed" in message
    with Gallery(device.gallery_path) as gallery:
        gallery.add(person("zoe"), [template("zoe", random_unit(1))])
    ((status, message),) = found(device)
    assert status == "warning" and "is not sealed" in message
    sealing.seal(device)
    ((status, message),) = found(device)
    assert status == "ok" and f"is sealed with {device.key_path}" in message
    device.key_path.rename(device.key_path.with_suffix(".gone"))
    ((status, message),) = found(device)
    assert status == "fault" and f"no key at {device.key_path}" in message


def test_a_key_that_others_may_read_and_a_change_that_was_interrupted(device: Config) -> None:
    sealing.seal(device)
    device.key_path.chmod(0o644)
    assert ("warning", f"{device.key_path}: expected mode 0600, got 0644: other users may read the key") in found(
        device
    )
    device.key_path.chmod(0o600)
    device.key_path.rename(sealing.Keys(device.key_path).pending_path)
    (first, second) = found(device)
    assert first[0] == "warning" and "was interrupted" in first[1]
    assert second[0] == "ok"


def test_a_key_in_the_state_folder(device: Config, tmp_path: Path) -> None:
    inside = Config(device=device.device, gallery=GalleryConfig(key_file=str(tmp_path / "state/gallery.key")))
    sealing.seal(inside)
    assert any(
        status == "warning" and "every copy of that folder contains the key" in text for status, text in found(inside)
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_that_is_closed_to_the_daemon_is_a_fault_for_root_too(device: Config) -> None:
    """Root itself can read it, and the daemon does not start."""
    sealing.seal(device)
    for path in (device.state_dir, *device.state_dir.iterdir()):
        os.chown(path, 65534, 65534)
    closed = [f for f in found(device) if f[0] == "fault"]
    assert [message for _, message in closed] == [
        f"{path} is closed to the user of the daemon" for path in (device.key_path.parent, device.key_path)
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("owner", [True, False])
def test_a_folder_of_the_key_that_is_closed_to_this_user_is_named(owner: bool) -> None:
    with tempfile.TemporaryDirectory() as name:  # which another user can reach
        Path(name).chmod(0o755)
        device = Config(
            device=DeviceConfig(state_dir=f"{name}/state"), gallery=GalleryConfig(key_file=f"{name}/keys/gallery.key")
        )
        sealing.seal(device)
        device.key_path.parent.chmod(0o700)
        device.state_dir.chmod(0o755)
        device.gallery_path.chmod(0o644)
        if owner:
            os.chown(device.state_dir, 65534, 65534)
        os.seteuid(65534)
        try:
            ((status, message),) = found(device)
        finally:
            os.seteuid(0)
    assert status == ("fault" if owner else "warning")
    assert f"{device.key_path.parent} is closed to {'the user of the daemon' if owner else 'you'}" in message


def test_two_different_keys_are_a_fault(device: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealing.seal(device)
    shutil.copy(device.key_path, tmp_path / "gallery-key")
    sealing.rotate(device)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert "expected the same key in the credential" in found(device)[0][1]
