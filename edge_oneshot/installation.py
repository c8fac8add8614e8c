"""How this copy of the program was installed, and which command repairs it or adds a package."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shlex
import shutil
import sys
from pathlib import Path

GROUP = "edge-oneshot"
# A file with one word in the environment of the program. The installers write it: "apt" (the Debian package) or "install.sh".
MARK = "installed-by"
SYSTEMD = Path("/run/systemd/system")  # there while systemd runs
UNITS = tuple(Path(p, "systemd/system") for p in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
# The extra [web] of pyproject.toml, which the local page needs.
PAGE = ("starlette>=1", "uvicorn>=0.30", "jinja2>=3.1", "python-multipart>=0.0.9")


def installed_by() -> str:
    """ "apt", "install.sh", "pipx", "pip", "uv", or "" if this environment has none of these."""
    prefix = Path(sys.prefix)
    try:
        return (prefix / MARK).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        pass
    if (prefix / "pipx_metadata.json").is_file():
        return "pipx"
    # Not find_spec: with setuptools in the environment it warns, or fails, if distutils was imported before.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("pip")
        return "pip"
    return "uv" if shutil.which("uv") else ""


def how_to_repair() -> str:
    """The command that installs the program again, as an imperative for a hint."""
    return {
        "apt": "sudo apt install --reinstall edge-oneshot",
        "install.sh": "run the installer again: sudo deploy/install.sh",
        "pipx": "pipx reinstall edge-oneshot",
    }.get(installed_by(), "install edge-oneshot again")


def how_to_add(*requirements: str) -> str:
    """The command that adds Python packages such as "av>=14" to this environment, for a hint.

    The package and the installer contain every package that the program can use: there it is missing because it is broken.
    """
    how, wanted = installed_by(), " ".join(map(shlex.quote, requirements))
    if how in ("apt", "install.sh"):
        return how_to_repair()
    python = shlex.quote(sys.executable or "python3")
    return {
        "pipx": f"pipx inject edge-oneshot {wanted}",
        "pip": f"{python} -m pip install {wanted}",
        "uv": f"uv pip install --python {python} {wanted}",
    }.get(how, f"install {' '.join(requirements)} into the Python environment {sys.prefix}")


def unit_of(instance: str) -> str:
    """The systemd unit of the daemon of an instance."""
    return "edge-oneshot" if instance == "default" else f"edge-oneshot@{instance}"


def has_unit(unit: str) -> bool:
    """Whether systemd runs here and has a file for this unit, such as edge-oneshot@door."""
    template = unit.partition("@")[0] + "@" * ("@" in unit)
    return SYSTEMD.is_dir() and any((folder / f"{template}.service").exists() for folder in UNITS)


def how_to_start(instance: str, config: Path | None) -> str:
    """The command that starts the daemon. config: the file that names it, None for the defaults; /etc/edge-oneshot is the service's."""
    system = config is not None and config.parent == Path("/etc/edge-oneshot")
    if system and has_unit(unit := unit_of(instance)):
        return f"sudo systemctl start {unit}"
    if system:
        return "edge-oneshot run" if instance == "default" else f"edge-oneshot --instance {instance} run"
    return f"edge-oneshot --config {shlex.quote(str(config))} run" if config else "edge-oneshot run"


def how_to_join_group() -> str:
    """What lets this user use the service: its configuration and its socket belong to the group. "" without that group."""
    import grp
    import pwd

    try:
        group = grp.getgrnam(GROUP)
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""
    if group.gr_gid in (*os.getgroups(), os.getegid()):
        return ""
    if name in group.gr_mem:
        return f"you joined the group {GROUP} after you logged in: log in again, or use `sg {GROUP}`, or sudo"
    return f"use sudo, or join the group: sudo usermod -aG {GROUP} {name}, then log in again"
