"""Hints name a command that works in this environment."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

import edge_oneshot
from edge_oneshot import installation

ASK = "from edge_oneshot import installation as i; print(i.installed_by()); print(i.how_to_add('av>=14')); print(i.how_to_repair())"


def said(environment: Path) -> list[str]:
    return subprocess.run(
        [environment / "bin" / "python", "-c", ASK],
        env={"PYTHONPATH": str(Path(edge_oneshot.__file__).parents[1]), "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def test_a_hint_fits_the_way_the_program_was_installed(tmp_path: Path) -> None:
    """One environment without pip, as on a device, with the marks of each installer in turn."""
    venv.create(tmp_path, with_pip=False, symlinks=True)
    how, add, repair = said(tmp_path)
    assert (how, add, repair) == (
        "",
        f"install av>=14 into the Python environment {tmp_path}",
        "install edge-oneshot again",
    )
    for mark, expected in (
        ("apt", "sudo apt install --reinstall edge-oneshot"),
        ("install.sh", "sudo deploy/install.sh"),
    ):
        (tmp_path / installation.MARK).write_text(f"{mark}\n")
        how, add, repair = said(tmp_path)
        assert how == mark
        assert add == repair
        assert expected in add and "pip" not in add
    (tmp_path / installation.MARK).unlink()
    (tmp_path / "pipx_metadata.json").write_text("{}")
    assert said(tmp_path) == ["pipx", "pipx inject edge-oneshot 'av>=14'", "pipx reinstall edge-oneshot"]


def test_with_pip_the_hint_is_a_pip_command_of_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("pip")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert installation.how_to_add("av>=14") == f"{sys.executable} -m pip install 'av>=14'"


def test_a_hint_does_not_warn_beside_setuptools() -> None:
    """setuptools answers a search for the module `pip`, and warns if distutils was imported before."""
    importlib.metadata.distribution("setuptools")  # extra: test
    program = "import sys, types; sys.modules['distutils'] = types.ModuleType('distutils'); " + ASK
    said = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_no_hint_names_the_distribution_on_a_package_index() -> None:
    """It need not be registered there; and `pip` may be missing."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert list(installation.PAGE) == project["optional-dependencies"]["web"]
    package = Path(edge_oneshot.__file__).parent
    wrong = [p.name for p in package.rglob("*.py") if "pip install" in p.read_text() and p.name != "installation.py"]
    assert not wrong


def test_who_joined_the_group_after_the_log_in_is_told_what_works_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installer adds the user to the group; the shell that ran it does not get it before the next log-in."""
    import grp
    import os
    import pwd

    me = pwd.getpwuid(os.getuid()).pw_name
    for members, expected in (([me], "sg edge-oneshot"), ([], f"sudo usermod -aG edge-oneshot {me}")):
        entry = grp.struct_group(("edge-oneshot", "x", 47110, members))
        monkeypatch.setattr(grp, "getgrnam", lambda name, entry=entry: entry)
        assert expected in installation.how_to_join_group()
        assert "sudo" in installation.how_to_join_group()
    entry = grp.struct_group(("edge-oneshot", "x", os.getegid(), []))
    monkeypatch.setattr(grp, "getgrnam", lambda name: entry)
    assert installation.how_to_join_group() == ""
