"""Change keys of a configuration file and leave the rest as it is: comments, order, other keys."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from edge_oneshot.config.example import toml_value
from edge_oneshot.config.reader import parse_config
from edge_oneshot.config.root import SYSTEM_DIR, section_keys
from edge_oneshot.errors import ConfigError, ModelError
from edge_oneshot.installation import GROUP

T = TypeVar("T")
# What a reload takes and no lock depends on: the keys that the page may change. second_factor_s and the other ways to state a rate
# are changed in the file.
SAFE = {
    "decision": ("target_fmr", "confirm_frames", "window_frames", "unknown_frames", "gone_after_s", "explain_tracks"),
    "visits": None,
    "quality": None,
    "enrollment": None,
}
WRITE = "run the command with sudo, or name another file: edge-oneshot --config FILE setup"
# A key, its value on one line, and the comment behind it.
_COMMENT = re.compile(r"""\s*[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^#"']*)\s*(#.*)?$""")
_SECTION = re.compile(r"\s*\[\s*([\w-]+)\s*\]")


def with_keys(text: str, values: Mapping[tuple[str, str], object]) -> str:
    """The text of a TOML file with these keys, (section, key) -> value. A commented example line of a key is used."""
    for (section, key), value in values.items():
        text = _with_key(text, section, key, f"{key} = {toml_value(value)}")
    return text


def _with_key(text: str, section: str, key: str, line: str) -> str:
    lines = text.splitlines()
    start = next((i for i, old in enumerate(lines) if (m := _SECTION.match(old)) and m[1] == section), None)
    if start is None:
        return "\n".join([*lines, *([""] if lines else []), f"[{section}]", line]) + "\n"
    end = next((i for i in range(start + 1, len(lines)) if _SECTION.match(lines[i])), len(lines))
    for pattern in (rf"\s*{key}\s*=", rf"#\s*{key}\s*="):
        for i in range(start + 1, end):
            if re.match(pattern, lines[i]):
                comment = _COMMENT.match(lines[i])
                line += f"  {comment[1]}" if comment and comment[1] else ""
                return "\n".join([*lines[:i], line, *lines[i + 1 :]]) + "\n"
    return "\n".join([*lines[: start + 1], line, *lines[start + 1 :]]) + "\n"


def check_writable(path: Path) -> None:
    """Raises ConfigError if this user cannot write the file. Nothing is written."""
    folder = next(p for p in (path.absolute().parent, *path.absolute().parents) if p.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise ConfigError(
            f"cannot write {path}: {'no permission' if folder.is_dir() else 'no folder'} ({folder})", WRITE
        )


def value_of(text: str) -> object:
    """A value as a person types it: as in TOML, or a text without quotes."""
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def safe_keys(section: str) -> tuple[str, ...]:
    """The keys of a section that the page may change."""
    if section not in SAFE:
        return ()
    return SAFE[section] or tuple(key.name for key in section_keys(section))


def write_config(path: Path, text: str) -> Path | None:
    """Write the file if it has no fault; the backup of the one before, or None if there was none.

    The mode stays, else it is 0640, since the address of a camera may contain a password. Raises ConfigError; then the file is as
    it was.
    """
    try:
        parse_config(tomllib.loads(text), path)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"cannot change {path}: {e}", "correct the file by hand") from None
    backup = None
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            backup = _unused(path.with_name(f"{path.name}.{datetime.now():%Y%m%d-%H%M%S}"))
            shutil.copy2(path, backup)
            before = path.stat()
            part.chmod(before.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(part, before.st_uid, before.st_gid)
                os.chown(backup, before.st_uid, before.st_gid)
            else:
                for one in (part, backup):  # whose group reads it; a user outside of that group may not write it
                    os.chown(one, -1, before.st_gid)
        elif os.geteuid() == 0 and path.parent == SYSTEM_DIR:
            part.chmod(0o640)  # whatever the umask: the daemon must read it
            import grp

            with contextlib.suppress(KeyError):  # not installed as a service yet
                os.chown(part, 0, grp.getgrnam(GROUP).gr_gid)
        part.replace(path)
    except OSError as e:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {e.strerror or e}", WRITE) from None
    return backup


def _unused(path: Path) -> Path:
    """The name of a backup that no other change of the same second has."""
    name, number = path.with_name(f"{path.name}.bak"), 2
    while name.exists():
        name, number = path.with_name(f"{path.name}-{number}.bak"), number + 1
    return name


def change_config(path: Path, values: Mapping[tuple[str, str], object], take: Callable[[], T]) -> tuple[Path | None, T]:
    """Change keys of the file, and let the daemon take them; the backup of the file before, and the daemon's answer.

    take: asks the daemon to reload. If it refuses the configuration, the file is as it was. Raises ConfigError, and what `take` raises.
    """
    backup = write_config(path, with_keys(path.read_text(encoding="utf-8"), values))
    try:
        return backup, take()
    except (ConfigError, ModelError):
        if backup is not None:
            backup.replace(path)
        raise
