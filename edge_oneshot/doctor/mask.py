"""Texts for a support report: what is private to this site is replaced by what it is, such as <mqtt.host>."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_oneshot.config import SECTIONS, Config, section_keys
from edge_oneshot.model.bundle import FACE_ENCODERS, SHIPPED

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_ADDRESS = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])|(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{0,4}(?![\w:])"
)
_HOME = re.compile(r"/(?:home|Users|media|mnt|srv)/[^\s'\",;:]+")
_PUBLIC = frozenset(
    {"", "root", "edge-oneshot", "localhost", "default", "/", "127.0.0.1", "::1", *FACE_ENCODERS, *SHIPPED.values()}
)
_FILE = re.compile(r"\b(outbox|explain|door|adaptation|seen)-[^/\s]+?(?=\.sqlite)")
SHORT = 4  # characters: a shorter value is replaced as a whole word only


class Mask:
    """Replaces known values, URLs, addresses and home folders in texts."""

    def __init__(self, known: Iterable[tuple[str, str]]) -> None:
        """known: (value, what it is). Of values that contain each other the longer is replaced first."""
        words: dict[str, str] = {}
        for value, what in known:
            if value.strip().casefold() not in _PUBLIC:
                words.setdefault(value.strip().casefold(), f"<{what}>")
        self._words = words
        parts = [
            re.escape(word) if len(word) >= SHORT else rf"(?<!\w){re.escape(word)}(?!\w)"
            for word in sorted(words, key=len, reverse=True)
        ]
        self._pattern = re.compile("|".join(parts), re.IGNORECASE) if parts else None

    def __call__(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub(lambda m: self._words.get(m[0].casefold(), "<private>"), text)
        text = _URL.sub(lambda m: f"{m[0].partition('://')[0]}://<address>", text)
        text = _FILE.sub(r"\1-<instance>", text)
        return _HOME.sub("<path>", _ADDRESS.sub("<address>", text))

    def values(self, value: Any) -> Any:
        """A JSON value with every text in it replaced."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {key: self.values(v) for key, v in value.items()}
        return [self.values(v) for v in value] if isinstance(value, list | tuple) else value


def of_config(config: Config) -> Iterator[tuple[str, str]]:
    """The texts that a configuration contains, and the paths that follow from it."""
    for section in SECTIONS:
        for key in section_keys(section):
            value = getattr(getattr(config, section), key.name)
            if isinstance(value, str) and value != key.default and not key.metadata["choices"]:
                yield value, f"{section}.{key.name}"
    yield from _of_uri(config.camera.uri)
    yield config.instance, "instance"
    yield config.device_slug, "device"
    for path, what in ((config.state_dir, "state folder"), (config.socket_path.parent, "socket folder")):
        yield str(path), what
    if config.path is not None:
        yield str(config.path.parent), "configuration folder"


def _of_uri(uri: str) -> Iterator[tuple[str, str]]:
    if uri.startswith(("picamera2:", "v4l2:/dev/video")):
        return
    _, _, rest = uri.partition(":")
    yield rest.strip("/"), "camera.uri"
    with contextlib.suppress(ValueError):  # a URI that urlsplit refuses
        parts = urlsplit(uri)
        for value in (parts.hostname, parts.username, parts.password, parts.path.strip("/"), parts.query):
            if value:
                yield value, "camera.uri"


def of_device(*paths: Path) -> Iterator[tuple[str, str]]:
    """The names of this host and of the users of this process and of `paths`, and their home folders."""
    yield socket.gethostname(), "host"
    yield socket.gethostname().partition(".")[0], "host"
    ids = {os.getuid(), os.geteuid()}
    for path in paths:
        with contextlib.suppress(OSError):
            ids.add(path.stat().st_uid)
    users = {os.environ.get("SUDO_USER", "")}
    for number in ids:
        with contextlib.suppress(KeyError):
            users.add(pwd.getpwuid(number).pw_name)
    for user in users - {""}:
        yield user, "user"
        with contextlib.suppress(KeyError):
            yield pwd.getpwnam(user).pw_dir, "home"


def of_secrets(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """The lines of the files with passwords and keys, where this user may read them."""
    for path in paths:
        with contextlib.suppress(OSError):
            if path.is_file() and path.stat().st_size < 100_000:
                for line in path.read_text(errors="replace").splitlines():
                    yield line, "secret"
