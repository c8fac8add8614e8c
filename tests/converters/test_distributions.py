"""The device's and the converter's distribution, built from this checkout: their content, and that their commands run."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import edge_oneshot

pytest.importorskip("setuptools", "77", reason="building needs setuptools (extra: test)")

ROOT = Path(__file__).parents[2]
VERSION = edge_oneshot.__version__
NAMES = {"edge-oneshot": "edge_oneshot", "edge-oneshot-convert": "converters"}  # distribution -> its only package
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def build(folder: Path, kind: str, out: Path) -> Path:
    """kind: "wheel" or "sdist". Returns the file."""
    out.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(out)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since a build writes into its folder. It includes folders that must not be packaged, such as training/."""
    copy = tmp_path_factory.mktemp("checkout")
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist")
    for name in ("edge_oneshot", "converters", "training", "benchmarks", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=leave)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheels(checkout: Path) -> dict[str, Path]:
    folders = {"edge-oneshot": checkout, "edge-oneshot-convert": checkout / "converters"}
    return {name: build(folder, "wheel", checkout / "out") for name, folder in folders.items()}


def files(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def read(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (found,) = (n for n in archive.namelist() if n.endswith(f".dist-info/{name}"))
        return archive.read(found).decode()


def metadata(wheel: Path) -> Message:
    return Parser().parsestr(read(wheel, "METADATA"))


@pytest.mark.parametrize(("name", "package"), NAMES.items())
def test_a_wheel_contains_only_its_package(wheels: dict[str, Path], name: str, package: str) -> None:
    stem = f"{name.replace('-', '_')}-{VERSION}"
    assert {n.split("/")[0] for n in files(wheels[name])} == {package, f"{stem}.dist-info"}
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / package).rglob("*.py")} - {"converters/setup.py"}
    assert {n for n in files(wheels[name]) if n.endswith(".py")} == modules
    assert metadata(wheels[name])["Version"] == VERSION


def test_the_device_has_its_data_and_no_converter(wheels: dict[str, Path]) -> None:
    device = wheels["edge-oneshot"]
    kept = {n.removeprefix("edge_oneshot/") for n in files(device)}
    assert "py.typed" in kept
    for folder in ("models", "events/schema"):
        there = {f"{folder}/{p.name}" for p in (ROOT / "edge_oneshot" / folder).iterdir() if p.is_file()}
        assert there and there <= kept
    assert "models/NOTICE" in kept
    assert read(device, "entry_points.txt").split() == [
        "[console_scripts]", "edge-oneshot", "=", "edge_oneshot.cli:main",
    ]  # fmt: skip
    needed = " ".join(metadata(device).get_all("Requires-Dist", []))
    assert not [n for n in ("torch", "onnx", "tensorflow", "quantizer", "convert") if n in needed]


def test_the_converter_needs_the_device_package_of_its_version(wheels: dict[str, Path]) -> None:
    wheel = wheels["edge-oneshot-convert"]
    found = metadata(wheel)
    assert f"edge-oneshot=={VERSION}" in found.get_all("Requires-Dist", [])
    assert set(found.get_all("Provides-Extra", [])) == {"onnx", "torch", "keras", "litert-torch"}
    assert read(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_converter_imports_no_trainer_and_no_command_line() -> None:
    """training/ is not published, and edge_oneshot.cli is no library."""
    for path in (ROOT / "converters").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [n for n in names if f"{n}.".startswith(("training.", "benchmarks.", "edge_oneshot.cli."))], path


@pytest.mark.parametrize("name", NAMES)
def test_a_source_distribution_gives_the_same_wheel(
    checkout: Path, wheels: dict[str, Path], name: str, tmp_path: Path
) -> None:
    folder = checkout if name == "edge-oneshot" else checkout / "converters"
    with tarfile.open(build(folder, "sdist", tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (p for p in tmp_path.iterdir() if p.is_dir())
    inside = {p.name for p in unpacked.iterdir()}
    assert not inside & {"training", "benchmarks", *({"converters"} if name == "edge-oneshot" else set())}
    again = build(unpacked, "wheel", tmp_path / "out")
    assert sorted(files(again)) == sorted(files(wheels[name]))
    assert metadata(again).get_all("Requires-Dist") == metadata(wheels[name]).get_all("Requires-Dist")


def test_both_commands_run_from_their_wheels(wheels: dict[str, Path], tmp_path: Path) -> None:
    """In an environment without this checkout; third-party packages come from the environment of the tests."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60)
    python = venv / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index",
         *map(str, wheels.values())],
        check=True, timeout=120,
    )  # fmt: skip
    (site,) = (venv / "lib").glob("python*/site-packages")
    (site / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import edge_oneshot, converters; print(edge_oneshot.__file__); print(converters.__file__)"
    assert all(line.startswith(str(venv)) for line in run(str(python), "-c", where).splitlines())
    assert "--calibration" in run(str(venv / "bin" / "edge-oneshot-convert"), "--help")
    assert "enroll" in run(str(venv / "bin" / "edge-oneshot"), "--help")
