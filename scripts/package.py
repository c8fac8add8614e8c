"""Build Debian packages and an apt repository from the commit HEAD. scripts/package runs this.

A package contains an environment in /usr/lib/edge-oneshot/VERSION: the program, and the wheels that deploy/locks names, with their
hashes checked. What Debian has in a version that fits comes from there (deploy/locks/debian.txt). The packages are assembled
without running anything of the target, so any machine builds them for every architecture.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple

import release
from lock import ARCHITECTURES, LOCKS, RELEASES, ROOT, from_debian, platforms
from package_bom import Component, bom, licences

DEPLOY = ROOT / "deploy"
MAINTAINER = "The edge-oneshot developers <packages@edge-oneshot.org>"
# Never imported here: tests of numerical packages, and LiteRT's compilers for neural processors of telephones.
NOT_NEEDED = ("/tests/", "/test/", "/testing/", "/ai_edge_litert/vendors/")


class Target(NamedTuple):
    release: str
    architecture: str

    @property
    def python(self) -> str:
        return RELEASES[self.release].python

    @property
    def lock(self) -> Path:
        return LOCKS / f"{self.release}-{self.architecture}.txt"


class PackageError(Exception):
    """message, then the fix on a line of its own."""


def run(command: list[str | Path], **options: object) -> str:
    """The standard output. Raises PackageError with the reason in words (deploy/reasons.sh)."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode == 0:
        return str(done.stdout)
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        log.write(done.stdout + done.stderr)
        log.flush()
        script = f'. "{DEPLOY}/reasons.sh"; reason "{log.name}" /tmp'
        why, fix = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    raise PackageError(f"{(done.stderr or done.stdout)[-2000:]}\nerror: {command[0]}: {why}\nfix: {fix}")


def fetch(target: Target, cache: Path) -> list[Path]:
    """The wheels of the lock, each with the hash that the lock names; a file in the cache is checked again, too."""
    folder = cache / f"{target.release}-{target.architecture}"
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
    ]
    options = [
        *platforms(RELEASES[target.release], ARCHITECTURES[target.architecture]),
        f"--python-version={target.python}",
    ]
    run(
        [
            *command,
            "--only-binary=:all:",
            "--find-links",
            str(folder),
            "--dest",
            str(folder),
            *options,
            "-r",
            str(target.lock),
        ]
    )
    named = {line.split("==")[0].replace("-", "_") for line in target.lock.read_text().splitlines() if "==" in line}
    wheels = {w.name.split("-")[0].lower().replace(".", "_"): w for w in sorted(folder.glob("*.whl"))}
    return [wheels[name] for name in sorted(named)]


def unpack(wheel: Path, site: Path) -> None:
    """Install a wheel as its specification says, without console scripts: those of dependencies are not used."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            first, _, rest = name.partition("/")
            if first.endswith(".data"):
                kind, _, rest = rest.partition("/")
                if kind not in ("purelib", "platlib"):
                    continue
            else:
                rest = name
            if name.endswith("/") or any(part in f"/{rest}" for part in NOT_NEEDED):
                continue
            path = site / rest
            if not path.resolve().is_relative_to(site.resolve()):
                raise PackageError(
                    f"error: {wheel.name}: expected paths inside the wheel, got {name}\nfix: do not use it"
                )
            put(path, archive.read(name))


def put(path: Path, text: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)


def assemble(target: Target, version: str, wheels: list[Path], tree: Path, root: Path, epoch: int) -> None:
    """Lay out the files of a package below `root`. tree: the exported commit."""
    deploy, prefix = tree / "deploy", f"/usr/lib/edge-oneshot/{version}"
    program = root / prefix[1:]
    for wheel in wheels:
        unpack(wheel, program / f"lib/python{target.python}/site-packages")
    put(program / "pyvenv.cfg", f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {target.python}\n")
    put(program / "installed-by", "apt\n")
    put(
        program / f"lib/python{target.python}/site-packages/edge-oneshot-plug-ins.pth",
        "/usr/local/lib/edge-oneshot/plug-ins\n",
    )
    (program / "bin").mkdir()
    (program / "bin/python3").symlink_to(f"/usr/bin/python{target.python}")
    (program / "bin/python").symlink_to("python3")
    launcher = (deploy / "launcher.py").read_text().replace("@PREFIX@", prefix).replace("@PYTHON@", target.python)
    put(program / "bin/edge-oneshot", launcher, 0o755)
    # dpkg replaces this file after the files of the program, whose folder sorts before it, and removes the old folder last.
    put(root / "usr/lib/edge-oneshot/start", f'#!/bin/sh\nexec {prefix}/bin/edge-oneshot "$@"\n', 0o755)
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/edge-oneshot").symlink_to("../lib/edge-oneshot/start")
    for unit in (
        "edge-oneshot.service",
        "edge-oneshot@.service",
        "edge-oneshot-web.service",
        "edge-oneshot-fleet.service",
    ):
        put(root / "usr/lib/systemd/system" / unit, (deploy / unit).read_bytes())
    for kind in ("sysusers.d", "tmpfiles.d"):
        put(root / f"usr/lib/{kind}/edge-oneshot.conf", (deploy / kind / "edge-oneshot.conf").read_bytes())
    put(root / "usr/share/edge-oneshot/default.toml", (deploy / "config.example.toml").read_bytes())
    put(root / "usr/share/lintian/overrides/edge-oneshot", (deploy / "debian/lintian-overrides").read_bytes())
    document(target, version, wheels, tree, root / "usr/share/doc/edge-oneshot", epoch)
    scripts(target, version, deploy / "debian", root)


def document(target: Target, version: str, wheels: list[Path], tree: Path, doc: Path, epoch: int) -> None:
    """Copyright, licences, bill of materials, changelog and examples."""
    components = [Component.of_wheel(wheel) for wheel in wheels]
    put(doc / "sbom.cdx.json", bom(version, target.release, target.architecture, components, tree, epoch))
    put(doc / "licences.txt", licences(components))
    about = "Licence of the program: /usr/share/common-licenses/Apache-2.0. Licences of the models: NOTICE. Licences of the packages"
    text = "Copyright (C) 2026 the authors of edge-oneshot. The packages below are of their authors.\n"
    put(doc / "copyright", f"{text}{about}\nin the package:\n\n{licences(components)}")
    put(doc / "NOTICE", (tree / "edge_oneshot/models/NOTICE").read_bytes())
    date = format_datetime(datetime.fromtimestamp(epoch, UTC))
    entry = f"edge-oneshot ({version}) {target.release}; urgency=medium\n\n  * See NEWS.\n\n -- {MAINTAINER}  {date}\n"
    put(doc / "changelog.gz", gzip.compress(entry.encode(), 9, mtime=0))
    put(doc / "NEWS.gz", gzip.compress((tree / "CHANGELOG.md").read_bytes(), 9, mtime=0))
    for example in sorted((tree / "deploy/examples").iterdir()):
        put(doc / "examples" / example.name, example.read_bytes(), 0o755 if os.access(example, os.X_OK) else 0o644)


def scripts(target: Target, version: str, source: Path, root: Path) -> None:
    """The control file, md5sums and the maintainer scripts."""
    major, minor = target.python.split(".")
    fields = {
        "VERSION": version,
        "ARCHITECTURE": target.architecture,
        "MAINTAINER": MAINTAINER,
        "SIZE": str(sum(p.lstat().st_size for p in root.rglob("*") if p.is_file()) // 1024),
        "PYTHON": target.python,
        "NEXT_PYTHON": f"{major}.{int(minor) + 1}",
        "DEBIAN": ", ".join(sorted(package for package, _ in from_debian(target.release).values())),
    }
    files = sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    sums = run(["md5sum", *(p.relative_to(root) for p in files)], cwd=root)
    put(root / "DEBIAN/md5sums", sums)
    for name in ("control", "preinst", "postinst", "prerm", "postrm"):
        text = (source / name).read_text()
        for field, value in fields.items():
            text = text.replace(f"@{field}@", value)
        put(root / "DEBIAN" / name, text, 0o644 if name == "control" else 0o755)


def build(target: Target, version: str, wheels: list[Path], tree: Path, out: Path, epoch: int) -> Path:
    """Assemble and pack. Returns the package."""
    with tempfile.TemporaryDirectory(prefix="edge-oneshot-package-", dir=out) as name:
        root = Path(name) / "root"
        root.mkdir()
        root.chmod(0o755)
        assemble(target, version, wheels, tree, root, epoch)
        for path in root.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        package = out / f"edge-oneshot_{version}_{target.architecture}.deb"
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
        pack = ["dpkg-deb", "--build", "--root-owner-group", "-Zxz", "-z1", "--threads-max=1", root, package]
        run([str(word) for word in pack], env=environment)
    return package


def check(package: Path) -> None:
    """Raises PackageError for an error of lintian; warnings are printed."""
    if shutil.which("lintian") is None:
        return
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=error", "--suppress-tags=initial-upload-closes-no-bugs", package],
        capture_output=True,
        text=True,
        check=False,
    )
    counts = {letter: done.stdout.count(f"\n{letter}: ") + done.stdout.startswith(f"{letter}: ") for letter in "EW"}
    print(f"lintian: {counts['E']} errors, {counts['W']} warnings")
    (package.parent / f"{package.stem}.lintian.txt").write_text(done.stdout)
    if done.returncode not in (0, 2) or counts["E"]:
        raise PackageError(
            f"{done.stdout}{done.stderr}\nerror: {package.name}: lintian found errors\nfix: correct them"
        )


def make_packages(
    targets: list[Target], out: Path, wheel: Path, tree: Path, version: str, epoch: int, once: bool
) -> None:
    umask = os.umask(0o022)
    for target in targets:
        wheels = [*fetch(target, out / "cache"), wheel]
        folder = out / "apt" / "pool" / target.release
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{version}~{target.release}"
        package = build(target, name, wheels, tree, folder, epoch)
        first = package.read_bytes()
        os.umask(0o077)  # what differs between two machines must not matter
        if not once and first != build(target, name, wheels, tree, folder, epoch).read_bytes():
            raise PackageError(f"error: {package.name}: the second build differs\nfix: compare both with diffoscope")
        os.umask(0o022)
        print(f"{package}  {len(first):,} bytes, {'built once' if once else 'the same bytes twice'}", flush=True)
        if not once:
            check(package)
    os.umask(umask)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the files; default: dist/")
    options.add_argument("--release", action="append", choices=list(RELEASES), help="default: all")
    options.add_argument("--architecture", action="append", choices=list(ARCHITECTURES), help="default: all")
    options.add_argument(
        "--key", default="", help="key of gpg that signs the repository; default: one made in OUT/keys"
    )
    options.add_argument(
        "--version", default="", help="version of the packages, to test an upgrade; default: the program's"
    )
    options.add_argument(
        "--once", action="store_true", help="build each package once, unchecked: to test an upgrade with"
    )
    o = options.parse_args()
    out = o.out.resolve()
    targets = [Target(r, a) for r in o.release or RELEASES for a in o.architecture or ARCHITECTURES]
    try:
        files = release.release(ROOT, out, install=False)
        wheel = next(f for f in files if f.name.startswith("edge_oneshot-") and f.suffix == ".whl")
        epoch = int(release.run(["git", "log", "-1", "--format=%ct", "HEAD"], ROOT))
        with tempfile.TemporaryDirectory(prefix="edge-oneshot-tree-") as name:
            release.export(ROOT, Path(name))
            version = o.version or wheel.name.split("-")[1]
            make_packages(targets, out, wheel, Path(name), version, epoch, o.once)
        from package_repository import repository

        repository(out, sorted({t.release for t in targets}), o.key, epoch)
    except (PackageError, release.ReleaseError) as e:
        print(str(e) if isinstance(e, PackageError) else f"error: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(
            f"error: {e.filename or out}: {e.strerror}\nfix: free space or correct the path, and run this again",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
