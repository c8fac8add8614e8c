"""Build what is published, reproducibly, and check it. scripts/release runs this with the pinned setuptools.

Every distribution of the checkout (./pyproject.toml and converters/pyproject.toml, as far as they exist) is built from the
commit HEAD as a wheel and a source distribution.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from email.message import Message
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (".", "converters")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
# The two builds differ in what must not matter: folder, time zone, and the order of Python's sets.
CONDITIONS = ({"TZ": "UTC", "PYTHONHASHSEED": "0"}, {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1"})
METADATA = ("Name", "Version", "Summary", "License-Expression", "Requires-Python", "Description-Content-Type")
SDIST_METADATA = {"PKG-INFO", "setup.cfg", "MANIFEST.in"}


class ReleaseError(Exception):
    """A build or a check failed."""


def run(command: Sequence[str | Path], cwd: Path, environment: dict[str, str] | None = None) -> str:
    """The standard output. Raises ReleaseError with the error output."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = " ".join(map(str, command[:4]))
        raise ReleaseError(f"{words} failed with exit code {done.returncode}:\n{(done.stderr or done.stdout)[-3000:]}")
    return done.stdout


def export(checkout: Path, folder: Path) -> None:
    """Unpack the commit HEAD into a folder, without anything that is not committed."""
    archive = subprocess.run(["git", "-C", checkout, "archive", "HEAD"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")


def build(project: Path, kind: str, out: Path, epoch: int, conditions: dict[str, str] = CONDITIONS[0]) -> Path:
    """Build a "wheel" or an "sdist" of a project. Returns the file."""
    out.mkdir(parents=True, exist_ok=True)
    environment = {**conditions, "SOURCE_DATE_EPOCH": str(epoch)}
    name = run([sys.executable, "-c", BUILD, f"build_{kind}", out], project, environment).splitlines()[-1]
    if kind == "sdist":
        normalise(out / name, epoch)
    return out / name


def normalise(sdist: Path, epoch: int) -> None:
    """Rewrite a .tar.gz with sorted members, one time, no owner and plain modes: setuptools ignores SOURCE_DATE_EPOCH here."""
    with tarfile.open(sdist) as tar:
        members = [(m, tar.extractfile(m)) for m in sorted(tar.getmembers(), key=lambda m: m.name)]
        with (
            sdist.with_suffix(".part").open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as out,
        ):
            for old, content in members:
                new = tarfile.TarInfo(old.name)
                new.type, new.size, new.mtime = old.type, old.size, epoch
                new.mode = 0o755 if old.isdir() or old.mode & 0o100 else 0o644
                out.addfile(new, content)
    sdist.with_suffix(".part").replace(sdist)


def build_twice(checkout: Path, folder: Path, epoch: int) -> list[Path]:
    """All distributions of the commit HEAD. Raises ReleaseError if a second build differs in a byte."""
    built: list[list[Path]] = []
    for number, conditions in enumerate(CONDITIONS, start=1):
        tree, out = folder / f"tree {number}", folder / f"out-{number}"
        export(checkout, tree)
        projects = [tree / name for name in FOLDERS if (tree / name / "pyproject.toml").is_file()]
        built.append([build(p, kind, out, epoch, conditions) for p in projects for kind in ("wheel", "sdist")])
    for first, second in zip(*built, strict=True):
        if first.name != second.name or first.read_bytes() != second.read_bytes():
            raise ReleaseError(f"{first.name}: the second build differs: {difference(first, second)}")
    return built[0]


def contents(path: Path) -> dict[str, bytes]:
    """The files of a wheel or a source distribution."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as tar:
        return {m.name: content.read() for m in tar.getmembers() if (content := tar.extractfile(m)) is not None}


def difference(first: Path, second: Path) -> str:
    one, two = contents(first), contents(second)
    names = sorted(name for name in {*one, *two} if one.get(name) != two.get(name))
    return ", ".join(names) or "times, modes or order of the files"


def check_wheel(wheel: Path, checkout: Path) -> Message:
    """The metadata. Raises ReleaseError for a file too many or too few, and for missing metadata."""
    files = contents(wheel)
    tops = {name.split("/")[0] for name in files}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    metadata = Parser().parsestr(files[f"{info}/METADATA"].decode())
    if missing := [key for key in METADATA if not metadata[key]]:
        raise ReleaseError(f"{wheel.name}: expected {', '.join(missing)} in the metadata, got none")
    if len(metadata.get_payload()) < 100:
        raise ReleaseError(f"{wheel.name}: expected the README as description, got {metadata.get_payload()!r}")
    if not any(name.startswith(f"{info}/licenses/") for name in files):
        raise ReleaseError(f"{wheel.name}: expected a licence file, got none")
    if len(tops) != 2:
        raise ReleaseError(f"{wheel.name}: expected one package, got {', '.join(sorted(tops - {info}))}")
    (package,) = tops - {info}
    tracked = set(run(["git", "ls-files", package], checkout).splitlines()) - {f"{package}/{f}" for f in NOT_PACKAGED}
    packed = {name for name in files if not name.startswith(info)}
    if packed != tracked:
        raise ReleaseError(
            f"{wheel.name}: expected the committed files of {package}/; different: {sorted(packed ^ tracked)}"
        )
    return metadata


NOT_PACKAGED = ("pyproject.toml", "setup.py", "README.md", "LICENSE")  # of a distribution in a folder of its own


def check_sdist(sdist: Path, wheel: Path, folder: Path, epoch: int) -> None:
    """Raises ReleaseError for an unexpected file, or if the wheel built from it is not the same."""
    names = {tuple(name.split("/")[1:]) for name in contents(sdist)}
    packages = {name.split("/")[0] for name in contents(wheel) if ".dist-info/" not in name}
    allowed = packages | SDIST_METADATA | set(NOT_PACKAGED)
    modules = {name.split("/", 1)[1] for name in contents(wheel) if ".dist-info/" not in name}
    extra = {n[0] for n in names} - allowed - {m.split("/")[0] for m in modules}
    if extra := {name for name in extra if not name.endswith(".egg-info")}:
        raise ReleaseError(f"{sdist.name}: unexpected {', '.join(sorted(extra))}")
    with tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    again = build(tree, "wheel", folder / "out", epoch)
    if again.read_bytes() != wheel.read_bytes():
        raise ReleaseError(f"{sdist.name}: the wheel built from it differs: {difference(again, wheel)}")


def check_install(wheels: list[Path], versions: set[str], folder: Path) -> None:
    """Install all wheels, with their dependencies, into a new virtual environment, and start every command."""
    venv.create(folder, with_pip=True)
    python, environment = folder / "bin" / "python", {"PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    run([python, "-m", "pip", "install", "--quiet", *wheels], folder, environment)
    run([python, "-m", "pip", "check"], folder, environment)
    shown = run([folder / "bin" / "edge-oneshot", "--version"], folder, environment).split()
    if {shown[-1]} != versions:
        raise ReleaseError(f"edge-oneshot --version: expected {', '.join(sorted(versions))}, got {shown[-1]}")
    for command in sorted((folder / "bin").glob("edge-oneshot*")):
        run([command, "--help"], folder, environment)


def release(checkout: Path, out: Path, install: bool) -> list[Path]:
    """Build and check, then write the files and SHA256SUMS to `out`. Raises ReleaseError."""
    os.umask(0o022)
    epoch = int(run(["git", "log", "-1", "--format=%ct", "HEAD"], checkout))
    with tempfile.TemporaryDirectory(prefix="edge-oneshot-release-") as name:
        folder = Path(name)
        built = build_twice(checkout, folder, epoch)
        versions = set()
        for wheel, sdist in zip(built[::2], built[1::2], strict=True):
            versions.add(check_wheel(wheel, checkout)["Version"])
            check_sdist(sdist, wheel, folder / f"sdist {wheel.name}", epoch)
        if len(versions) != 1:
            raise ReleaseError(f"expected one version, got {', '.join(sorted(versions))}")
        if install:
            check_install(built[::2], versions, folder / "venv")
        out.mkdir(parents=True, exist_ok=True)
        files = [Path(shutil.copy(path, out)) for path in built]
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(files)]
    (out / "SHA256SUMS").write_text("".join(sums))
    return files


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the files; default: dist/")
    options.add_argument("--no-install", action="store_true", help="skip the installation, which needs a package index")
    o = options.parse_args()
    if changed := run(["git", "status", "--porcelain", "--untracked-files=no"], ROOT):
        print(f"warning: HEAD is built, without these uncommitted changes:\n{changed}", end="", file=sys.stderr)
    try:
        files = release(ROOT, o.out.resolve(), not o.no_install)
    except ReleaseError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    for path in files:
        print(f"{path}  {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
