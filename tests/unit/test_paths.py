"""Paths of a configuration mean the same in every working directory, or are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_oneshot.config import load_config, parse_config
from edge_oneshot.errors import ConfigError

KEYS = {
    "device": ("state_dir", "socket"),
    "model": ("encoder", "old_encoder", "detector", "refiner", "landmarks", "cohort"),
    "mqtt": ("password_file", "ca_file", "cert_file", "key_file", "sign_key_file"),
}
ALL = [(section, key) for section, keys in KEYS.items() for key in keys]


def value(folder: Path, section: str, key: str, text: str) -> str:
    (file := folder / "default.toml").write_text(
        f"[{section}]\n{key} = '{text}'\n"
        + ("tls = true\nusername = 'u'\n" if section == "mqtt" else "")
        + ("cert_file = '/c'\n" if key == "key_file" else "key_file = '/k'\n" if key == "cert_file" else "")
    )
    return str(getattr(getattr(load_config(file), section), key))


@pytest.mark.parametrize(("section", "key"), ALL)
@pytest.mark.parametrize(
    ("text", "meant"),
    [("~/x.pem", "{home}/x.pem"), ("$PLACE/x", "{place}/x"), ("${PLACE}/x", "{place}/x"), ("./x", "{folder}/x")],
)
def test_every_path_is_absolute_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, key: str, text: str, meant: str
) -> None:
    monkeypatch.setenv("HOME", "/srv/pi")
    monkeypatch.setenv("PLACE", "/srv/place")
    assert value(tmp_path, section, key, text) == meant.format(home="/srv/pi", place="/srv/place", folder=tmp_path)


@pytest.mark.parametrize(("section", "key"), ALL)
@pytest.mark.parametrize("text", ["$NO_SUCH_VARIABLE/x", "~no-such-user/x"])
def test_a_path_that_means_nothing_is_a_fault_of_its_key(tmp_path: Path, section: str, key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{section}.{key}: expected a path, got .*: write the whole path"):
        value(tmp_path, section, key, text)


def test_a_relative_state_dir_does_not_follow_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "default.toml").write_text('[device]\nstate_dir = "state"\n')
    (tmp_path / "elsewhere").mkdir()
    found = set()
    for folder in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(folder)
        found.add(load_config(Path(os.path.relpath(tmp_path / "default.toml"))).gallery_path)
    assert found == {tmp_path / "state" / "gallery.sqlite"}


def test_names_of_bundles_and_credentials_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("face", "secret"):
        (tmp_path / name).touch()
    assert value(tmp_path, "model", "encoder", "face") == "face"
    assert value(tmp_path, "mqtt", "password_file", "secret") == str(tmp_path / "secret")
    (credentials := tmp_path / "credentials").mkdir()
    (credentials / "secret").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert value(tmp_path, "mqtt", "password_file", "secret") == "secret"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes a user who is in no database")
@pytest.mark.parametrize("command", [["gallery", "list"], ["config", "show"]])
def test_a_user_without_a_home_gets_a_message(command: list[str]) -> None:
    code = (
        "import os, sys\nimport edge_oneshot.service.compose\nfrom edge_oneshot.cli import main\n"
        "for name in ('HOME', 'XDG_DATA_HOME', 'EDGE_ONESHOT_CONFIG'): os.environ.pop(name, None)\n"
        f"os.setuid(54321); sys.argv = ['edge-oneshot', *{command!r}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert "Traceback" not in done.stderr
    assert "the user 54321 is not in the user database, and HOME is not set" in done.stderr + done.stdout


def test_a_credential_that_this_process_may_not_look_at_is_still_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd hides the credentials from ExecReload=, so `systemctl reload` failed. Here the name is too long."""
    (tmp_path / "mqtt-password").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", f"/{'x' * 300}")
    config = parse_config({"mqtt": {"password_file": "mqtt-password", "username": "a"}}, tmp_path / "a.toml")
    assert config.mqtt.password_file == "mqtt-password"
