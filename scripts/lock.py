"""Resolve the dependencies for each release of Debian and each architecture, and write them with hashes. See scripts/lock."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from pip._vendor.packaging.markers import default_environment
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "deploy" / "locks"
EXTRAS = ("sign", "web")  # besides the dependencies: a device without pip cannot add them
SETUPTOOLS = "setuptools==80.9.0"  # as in scripts/lib.sh: it builds the program


class Release(NamedTuple):
    """python: its minor version. glibc: of the release, which limits the tags of its wheels."""

    python: str
    glibc: int


RELEASES = {"bookworm": Release("3.11", 36), "trixie": Release("3.13", 41)}
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def platforms(release: Release, machine: str) -> list[str]:
    """pip's options for the wheels that run there: of every glibc up to the release's."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(release.glibc, 16, -1)] + [f"manylinux2014_{machine}"]
    return [f"--platform={tag}" for tag in tags]


def from_debian(release: str) -> dict[str, tuple[str, str]]:
    """Python package -> (Debian package, version), of deploy/locks/debian.txt."""
    rows = (line.split() for line in (LOCKS / "debian.txt").read_text().splitlines() if not line.startswith("#"))
    return {name: (package, version) for where, package, name, version in rows if where == release}


def wanted() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *(r for extra in EXTRAS for r in project["optional-dependencies"][extra])]


def resolve(requirements: list[str], constraints: list[str], options: list[str]) -> dict[str, dict[str, Any]]:
    """pip's answer by canonical name: the entries of its report. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "c.txt").write_text("\n".join(constraints))
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--quiet",
            "--dry-run",
            "--ignore-installed",
            "--target",
            name,
        ]
        command += ["--only-binary=:all:", "--report", str(folder / "r.json"), "-c", str(folder / "c.txt")]
        subprocess.run([*command, *options, *requirements], check=True)
        found = json.loads((folder / "r.json").read_text())["install"]
    return {canonicalize_name(entry["metadata"]["name"]): entry for entry in found}


def needed(
    roots: list[str], found: dict[str, dict[str, Any]], elsewhere: set[str], python: str, machine: str
) -> list[str]:
    """The names to install: what the roots need, without what Debian has and what only that needs."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    environment |= {"platform_machine": machine, "extra": ""}
    names, queue = set(), list(roots)
    while queue:
        requirement = Requirement(queue.pop())
        name = canonicalize_name(requirement.name)
        if name in elsewhere | names or (requirement.marker and not requirement.marker.evaluate(environment)):
            continue
        names.add(name)
        queue += found[name]["metadata"].get("requires_dist", [])
    return sorted(names)


def lines(names: list[str], found: dict[str, dict[str, Any]]) -> list[str]:
    text = []
    for name in names:
        version = found[name]["metadata"]["version"]
        digest = found[name]["download_info"]["archive_info"]["hashes"]["sha256"]
        text.append(f"{name}=={version} --hash=sha256:{digest}\n")
    return text


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file would change")
    check = options.parse_args().check
    texts: dict[str, list[str]] = {}
    for release, about in RELEASES.items():
        debian = from_debian(release)
        pinned = [f"{name}=={version}" for name, (_, version) in debian.items()]
        for architecture, machine in ARCHITECTURES.items():
            found = resolve(wanted(), pinned, [*platforms(about, machine), f"--python-version={about.python}"])
            names = needed(wanted(), found, set(debian), about.python, machine)
            texts[f"{release}-{architecture}"] = lines(names, found)
    found = resolve([SETUPTOOLS], [], [])
    texts["build"] = lines(["setuptools"], found)
    changed = 0
    for name, text in texts.items():
        path = LOCKS / f"{name}.txt"
        new = "# Written by scripts/lock.\n" + "".join(text)
        changed += not path.is_file() or path.read_text() != new
        if not check:
            path.write_text(new)
        print(f"{path.relative_to(ROOT)}: {len(text)} packages")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
