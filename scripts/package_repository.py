"""A signed apt repository from the packages in OUT/apt/pool, for `apt install edge-oneshot`."""

from __future__ import annotations

import gzip
import os
import subprocess
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

ARCHITECTURES = ("amd64", "arm64")


def key_of(out: Path, wanted: str) -> tuple[str, dict[str, str]]:
    """(key, environment for gpg): the given key of the user, or one that is made once in OUT/keys, without a passphrase."""
    if wanted:
        return wanted, dict(os.environ)
    home = out / "keys"
    home.mkdir(mode=0o700, exist_ok=True)
    environment = {**os.environ, "GNUPGHOME": str(home)}
    name = "edge-oneshot packages"
    known = subprocess.run(
        ["gpg", "--batch", "--list-secret-keys", name], env=environment, capture_output=True, check=False
    )
    if known.returncode:
        make = [
            "gpg",
            "--batch",
            "--quiet",
            "--passphrase",
            "",
            "--quick-generate-key",
            name,
            "ed25519",
            "sign",
            "never",
        ]
        subprocess.run(make, env=environment, check=True)
    return name, environment


def repository(out: Path, releases: list[str], wanted_key: str, epoch: int) -> None:
    """Write dists/RELEASE with its signature, and the public key as edge-oneshot.asc. Raises CalledProcessError."""
    apt = out / "apt"
    key, environment = key_of(out, wanted_key)
    for release in releases:
        dist = apt / "dists" / release
        for architecture in ARCHITECTURES:
            folder = dist / "main" / f"binary-{architecture}"
            folder.mkdir(parents=True, exist_ok=True)
            command = ["apt-ftparchive", f"--arch={architecture}", "packages", f"pool/{release}"]
            packages = subprocess.run(command, cwd=apt, capture_output=True, check=True).stdout
            (folder / "Packages").write_bytes(packages)
            (folder / "Packages.gz").write_bytes(gzip.compress(packages, 9, mtime=epoch))
        fields = {
            "Origin": "edge-oneshot",
            "Label": "edge-oneshot",
            "Suite": release,
            "Codename": release,
            "Architectures": " ".join(ARCHITECTURES),
            "Components": "main",
        }
        options = [
            word for name, value in fields.items() for word in ("-o", f"APT::FTPArchive::Release::{name}={value}")
        ]
        for stale in ("Release", "InRelease", "Release.gpg"):
            (dist / stale).unlink(missing_ok=True)
        text = subprocess.run(
            ["apt-ftparchive", *options, "release", str(dist)], capture_output=True, text=True, check=True
        ).stdout
        lines = [line for line in text.splitlines(keepends=True) if not line.startswith("Date:")]
        date = format_datetime(datetime.fromtimestamp(epoch, UTC), usegmt=True)
        (dist / "Release").write_text(f"Date: {date}\n" + "".join(lines))
        for option, name in (("--clearsign", "InRelease"), ("--detach-sign", "Release.gpg")):
            sign = [
                "gpg",
                "--batch",
                "--yes",
                "--armor",
                "--local-user",
                key,
                option,
                "--output",
                str(dist / name),
                str(dist / "Release"),
            ]
            subprocess.run(sign, env=environment, check=True, capture_output=True)
    public = subprocess.run(
        ["gpg", "--batch", "--armor", "--export", key], env=environment, capture_output=True, check=True
    ).stdout
    (apt / "edge-oneshot.asc").write_bytes(public)
    print(f"{apt}: repository for {', '.join(releases)}, signed; its key is edge-oneshot.asc")
