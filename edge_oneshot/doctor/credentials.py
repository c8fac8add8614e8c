"""Files with passwords and keys: whether other users may read them. Only the modes are looked at."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edge_oneshot.config import Config
from edge_oneshot.doctor import Finding, ok, warning
from edge_oneshot.installation import GROUP
from edge_oneshot.shown import redact_uri

CREDENTIALS = Path("/etc/credstore")


def check(config: Config) -> Iterator[Finding]:
    """One warning for each file that others may read; one line if all are private. Nothing where there are none."""
    private = []
    for path in files(config):
        try:
            about = path.stat()
        except OSError:  # the daemon and the check of the broker report a file that is missing
            continue
        mode = stat.S_IMODE(about.st_mode)
        allowed = 0o740 if _name(about.st_gid) == GROUP else 0o700
        if not mode & 0o077 & ~allowed:
            private.append(path.name)
            continue
        yield warning(
            "credentials",
            f"{path}: expected a file that only its owner may read, got mode {mode:04o}: other users may read the password or key in it",
            _fix(config, path, about.st_uid),
        )
    if private:
        yield ok("credentials", f"other users cannot read {', '.join(private)}")


def _fix(config: Config, path: Path, owner: int) -> str:
    if not config.system:
        return f"{'' if owner == os.geteuid() else 'sudo '}chmod 600 {path}"
    if path.parent == CREDENTIALS:  # systemd reads it as root
        return f"sudo chown root: {path} && sudo chmod 600 {path}"
    return f"sudo chown root:{GROUP} {path} && sudo chmod 640 {path}"


def files(config: Config) -> list[Path]:
    """The files that hold a secret: those that the configuration names, and the configuration if a URI in it has a password."""
    mqtt = config.mqtt
    found = [_file(config, name) for name in (mqtt.password_file, mqtt.key_file, mqtt.sign_key_file) if name]
    if config.path is not None and redact_uri(config.camera.uri) != config.camera.uri:
        found.append(config.path)
    return list(dict.fromkeys(found))


def _file(config: Config, name: str) -> Path:
    """A name without / is a systemd credential, which the unit loads from the credential store."""
    return Path(name) if "/" in name else CREDENTIALS / f"edge-oneshot.{config.instance}.{name}"


def _name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""
