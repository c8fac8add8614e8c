"""scripts/release.py on a small project: two builds give the same bytes, and a faulty wheel is refused."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("setuptools", "77", reason="building needs setuptools 77 or newer (extra: test)")

EPOCH = 1_700_000_000
PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "small-thing"
version = "1.2"
description = "A small thing."
readme = "README.md"
license = "Apache-2.0"
license-files = ["LICENSE"]
requires-python = ">=3.11"

[tool.setuptools]
packages = ["small_thing"]
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "release.py"
    spec = importlib.util.spec_from_file_location("release_script", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(folder: Path, *words: str) -> None:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, env={**os.environ, **identity})


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "small_thing").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "README.md").write_text("# A small thing\n" + 20 * "It does nothing. ")
    (folder / "LICENSE").write_text("Apache-2.0")
    (folder / "small_thing" / "__init__.py").write_text("value = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def test_two_builds_are_the_same_and_pass_the_checks(script: ModuleType, checkout: Path, tmp_path: Path) -> None:
    (checkout / "small_thing" / "left_over.py").write_text("not committed\n")
    wheel, sdist = script.build_twice(checkout, tmp_path / "work", EPOCH)
    assert (wheel.name, sdist.name) == ("small_thing-1.2-py3-none-any.whl", "small_thing-1.2.tar.gz")
    assert "small_thing/__init__.py" in script.contents(wheel)
    assert not [name for name in script.contents(wheel) if "left_over" in name]
    assert script.check_wheel(wheel, checkout)["Version"] == "1.2"
    script.check_sdist(sdist, wheel, tmp_path / "sdist", EPOCH)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('description = "A small thing."\n', "", "expected Summary in the metadata"),
        ('packages = ["small_thing"]', 'packages = []\npy-modules = ["one", "two"]', "expected one package"),
        ('license-files = ["LICENSE"]', "license-files = []", "expected a licence file"),
    ],
)
def test_a_faulty_wheel_is_refused(
    script: ModuleType, checkout: Path, tmp_path: Path, old: str, new: str, says: str
) -> None:
    project = checkout / "pyproject.toml"
    assert old in PROJECT
    project.write_text(PROJECT.replace(old, new))
    for name in ("one", "two"):
        (checkout / f"{name}.py").write_text("")
    wheel = script.build(checkout, "wheel", tmp_path / "out", EPOCH)
    with pytest.raises(script.ReleaseError, match=says):
        script.check_wheel(wheel, checkout)


def test_a_build_that_differs_is_refused(script: ModuleType, checkout: Path, tmp_path: Path) -> None:
    (checkout / "setup.py").write_text(
        "import os\nfrom setuptools import setup\n"
        "with open('small_thing/zone.py', 'w') as file:\n    file.write(f'zone = {os.environ[\"TZ\"]!r}\\n')\nsetup()\n"
    )
    git(checkout, "add", "-A")
    git(checkout, "commit", "-qm", "second")
    with pytest.raises(script.ReleaseError, match=r"the second build differs: .*small_thing/zone\.py"):
        script.build_twice(checkout, tmp_path / "work", EPOCH)
