"""The parts of the Debian package that can be checked without building a whole one; scripts/package-lab installs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = [(r, a) for r in ("bookworm", "trixie") for a in ("amd64", "arm64")]


@pytest.fixture(scope="module")
def package() -> ModuleType:
    pytest.importorskip("pip")
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import package
    finally:
        sys.path.pop(0)
    return package


def locked(release: str, architecture: str) -> dict[str, str]:
    lines = (ROOT / f"deploy/locks/{release}-{architecture}.txt").read_text().splitlines()
    found = [re.fullmatch(r"([a-z0-9-]+)==(\S+) --hash=sha256:[0-9a-f]{64}", line) for line in lines if line[0] != "#"]
    assert all(found), "every file has its version and its hash"
    return {m[1]: m[2] for m in found if m}


@pytest.mark.parametrize(("release", "architecture"), TARGETS)
def test_every_requirement_is_locked_or_comes_from_debian(package: ModuleType, release: str, architecture: str) -> None:
    """Add a requirement to pyproject.toml: run scripts/lock."""
    from pip._vendor.packaging.requirements import Requirement

    have = locked(release, architecture) | {name: v for name, (_, v) in package.from_debian(release).items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["sign"]]:
        wanted = Requirement(text)
        assert have[wanted.name] in wanted.specifier, f"{text}: {have[wanted.name]} in {release}"


def wheel(path: Path, files: dict[str, str]) -> Path:
    meta = "Metadata-Version: 2.1\nName: tiny\nVersion: 1\nLicense-Expression: MIT\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {"tiny-1.dist-info/METADATA": meta, "tiny-1.dist-info/LICENSE": "MIT", **files}.items():
            archive.writestr(name, text)
    return path


@pytest.fixture(scope="module")
def built(package: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with one small wheel, built twice under different umasks."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is missing: apt-get install dpkg")
    folder = tmp_path_factory.mktemp("package")
    parts = {"tiny/__init__.py": "x = 1\n", "tiny-1.data/scripts/tiny": "#!python\n", "tiny-1.data/purelib/more.py": ""}
    wheels, target = [wheel(folder / "tiny-1-py3-none-any.whl", parts)], package.Target("bookworm", "amd64")
    contents = []
    for umask in (0o022, 0o077):
        before = os.umask(umask)
        try:
            contents.append(package.build(target, "1.2~bookworm", wheels, ROOT, folder, 1_700_000_000).read_bytes())
        finally:
            os.umask(before)
    assert contents[0] == contents[1], "built twice, the same bytes"
    return folder / "edge-oneshot_1.2~bookworm_amd64.deb"


def test_the_control_files_are_complete_and_the_scripts_valid(built: Path, tmp_path: Path) -> None:
    fields = subprocess.run(["dpkg-deb", "-f", built], capture_output=True, text=True, check=True).stdout
    assert "Depends: python3 (>= 3.11), python3 (<< 3.12), python3-click, python3-numpy, python3-pil, " in fields
    subprocess.run(["dpkg-deb", "-e", built, tmp_path], check=True)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"control", "md5sums", "preinst", "postinst", "prerm", "postrm"}
    for name in names - {"control", "md5sums"}:
        text = (tmp_path / name).read_text()
        assert "@" not in re.sub(r"edge-oneshot@(\*?\.service|)", "", text), f"{name}: a field is not filled in"
        subprocess.run(["sh", "-n", tmp_path / name], check=True)


def test_the_files_are_owned_by_root_and_readable_and_the_start_follows_the_program(built: Path) -> None:
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", built], capture_output=True, check=True).stdout
    path = built.with_suffix(".tar")
    path.write_bytes(data)
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    assert {(m.uid, m.gid) for m in members} == {(0, 0)}
    assert all(m.mode & 0o444 == 0o444 for m in members), (
        "a umask of 077 must not make a program that only root can read"
    )
    names = [m.name for m in members]
    site = "./usr/lib/edge-oneshot/1.2~bookworm/lib/python3.11/site-packages"
    assert {f"{site}/tiny/__init__.py", f"{site}/more.py"} <= set(names)
    assert not any(name.endswith("scripts/tiny") for name in names)
    files = [m.name for m in members if m.isfile()]
    program = [i for i, name in enumerate(files) if name.startswith("./usr/lib/edge-oneshot/1.2~bookworm/")]
    assert files.index("./usr/lib/edge-oneshot/start") > max(program), "dpkg replaces files in this order"


def test_a_wheel_that_leaves_its_folder_is_refused(package: ModuleType, tmp_path: Path) -> None:
    bad = wheel(tmp_path / "tiny-1-py3-none-any.whl", {"../../outside.py": ""})
    with pytest.raises(package.PackageError, match="expected paths inside"):
        package.unpack(bad, tmp_path / "a/b/site")
    assert not (tmp_path / "a/outside.py").exists()


def test_the_bill_of_materials_names_every_part(package: ModuleType, tmp_path: Path) -> None:
    part = package.Component.of_wheel(wheel(tmp_path / "tiny-1-py3-none-any.whl", {}))
    assert (part.licence, part.files) == ("MIT", ("tiny-1.dist-info/LICENSE",))
    document = json.loads(package.bom("1.2", "bookworm", "amd64", [part], ROOT, 0))
    names = {c["name"] for c in document["components"]}
    assert {"tiny", "python3-numpy", "mobilefacenet_apart"} <= names
    assert document["specVersion"] == "1.5"


def test_a_purge_keeps_the_data_of_an_installation_by_the_script(tmp_path: Path) -> None:
    """The package was removed, install.sh took over its data, and the rest of the package is purged later."""
    text = (ROOT / "deploy/debian/postrm").read_text()
    for place in ("/etc/", "/var/lib/", "/usr/local/", "/opt/"):
        text = text.replace(place, f"{tmp_path}{place}")
    text = re.sub(r"(if getent .*|.*deb-systemd-helper.*)\n", "", text)  # they concern this machine
    gallery, program = tmp_path / "var/lib/edge-oneshot/gallery.sqlite", tmp_path / "usr/local/bin/edge-oneshot"
    for file in (gallery, program):
        file.parent.mkdir(parents=True)
        file.touch()
    done = subprocess.run(["sh", "-c", text, "postrm", "purge"], capture_output=True, text=True, check=True)
    assert gallery.exists() and "kept" in done.stdout
    program.unlink()
    subprocess.run(["sh", "-c", text, "postrm", "purge"], capture_output=True, check=True)
    assert not gallery.parent.exists()
