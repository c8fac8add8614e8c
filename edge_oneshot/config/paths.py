"""Paths of a configuration: `~`, `$VARIABLE`, and relative ones. Every key that names a file or folder is read by `expand`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from edge_oneshot.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


def expand(text: str, base: Path | None) -> str:
    """The absolute path that `text` means. base: the folder of the configuration, or None if it is in no file.

    Raises ValueError for a variable that is not set and for a user without a home folder.
    """
    for match in _VARIABLE.finditer(text):
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise ValueError(f"a path, got {text!r}; the variable {name} is not set: write the whole path")
    text = _VARIABLE.sub(lambda match: os.environ[match[1] or match[2]], text)
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"a path, got {text!r}; that user has no home folder: write the whole path") from None
    return str((base or Path()).resolve() / path)


def data_home() -> Path:
    """The folder of this user's data (XDG Base Directory Specification). Raises ConfigError if the user has no home."""
    return _home("XDG_DATA_HOME", ".local/share", "the gallery", "device.state_dir")


def config_home() -> Path:
    """The folder of this user's configuration, in the same way."""
    return _home("XDG_CONFIG_HOME", ".config", "the key of the gallery", "gallery.key_file")


def _home(variable: str, default: str, what: str, key: str) -> Path:
    given = os.environ.get(variable, "")
    if Path(given).is_absolute():
        return Path(given)
    try:
        return Path.home() / default
    except RuntimeError:
        raise ConfigError(
            f"no folder for {what}: the user {os.geteuid()} is not in the user database, and HOME is not set",
            f"set {key} or HOME",
        ) from None
