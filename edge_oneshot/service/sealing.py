"""Sealing everything that a device stores about people, unsealing it, and changing the key: gallery, journals, outboxes, fleet.

Each file changes in one transaction. Between the files a second key file exists (storage/keys.py), so that a process which is
killed at any moment leaves every file with its key; the same command, run again, completes the work. No daemon may run meanwhile.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_oneshot.config import Config
from edge_oneshot.errors import ConfigError, GalleryError, StorageError
from edge_oneshot.events import journal, labels, outbox
from edge_oneshot.events.pictures import erase_pictures
from edge_oneshot.fleet.conversion import rewrite as fleet_rows
from edge_oneshot.fleet.store import SCHEMA as FLEET
from edge_oneshot.gallery import seen
from edge_oneshot.gallery.conversion import convert_gallery, gallery_alone
from edge_oneshot.storage.cipher import Cipher, new_key, write_key
from edge_oneshot.storage.conversion import convert
from edge_oneshot.storage.database import Schema
from edge_oneshot.storage.keys import Keys
from edge_oneshot.storage.optional import delete_moved_aside
from edge_oneshot.storage.sealed import is_sealed

RUN_AGAIN = "remove the cause, then run the same command again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What was done. lost: rows that could not be read before, and that are not kept."""

    key: Path
    key_id: str
    lost: int


def seal(config: Config, *, trust_plain: bool = False) -> Sealed:
    """Seal everything, with a new key if there is none. trust_plain: also a gallery that is plain although there is a key.

    Raises ConfigError, GalleryError, StorageError.
    """
    keys = Keys(config.key_path, required=not trust_plain)
    if (key := keys.current()) is None:
        if keys.pending() is None and is_sealed(config.gallery_path):  # a new key would open nothing
            what = f"{config.gallery_path} is sealed already, and there is no key at {config.key_path}"
            raise ConfigError(what, "restore the key from your backup")
        with _alone(), gallery_alone(config.gallery_path, keys):  # or a refusal would leave a key of nothing
            key = _pending(keys)
    elif keys.pending() is not None:
        return rotate(config)
    lost = _convert(config, keys, key)
    _promote(keys)
    return Sealed(key=keys.path or Path(), key_id=key.key_id, lost=lost)


def unseal(config: Config) -> Sealed:
    """Make everything readable without the key, which is kept as `<key file>.unused`."""
    keys = Keys(config.key_path)
    if keys.current() is not None and keys.pending() is not None:
        rotate(config)
    if (key := keys.current()) is not None:
        _own_file(keys)
        _rename(config.key_path, keys.pending_path)
    elif (key := keys.pending()) is None:
        raise GalleryError(f"nothing is sealed here: there is no key at {config.key_path}", "check gallery.key_file")
    lost = _convert(config, keys, None)
    unused = config.key_path.with_name(config.key_path.name + ".unused")
    _rename(keys.pending_path, unused)
    return Sealed(key=unused, key_id=key.key_id, lost=lost)


def rotate(config: Config) -> Sealed:
    """Give everything a new key, and destroy the old one."""
    keys = Keys(config.key_path)
    if keys.current() is None:
        raise GalleryError(f"nothing is sealed here: there is no key at {config.key_path}", "run `gallery seal`")
    _own_file(keys)
    with _alone(), gallery_alone(config.gallery_path, keys):
        key = _pending(keys)
    lost = _convert(config, keys, key)
    _promote(keys)
    return Sealed(key=config.key_path, key_id=key.key_id, lost=lost)


def seal_new(config: Config) -> Sealed | None:
    """Seal a device on which nothing is stored yet. None: there is a gallery, another user's, or no `cryptography` package."""
    folder = config.state_dir
    own = folder.stat().st_uid == os.geteuid() if folder.exists() else not config.system
    if config.gallery_path.exists() or not own or importlib.util.find_spec("cryptography") is None:
        return None
    return seal(config)


def private_files(config: Config) -> Iterator[tuple[Path, Schema]]:
    """The journals, labels and outboxes of every instance, the record of last visits, and the fleet."""
    kinds = {"explain-*": journal.SCHEMA, "labels-*": labels.SCHEMA, "outbox-*": outbox.SCHEMA, "seen": seen.SCHEMA}
    kinds["fleet"] = FLEET
    for name, schema in kinds.items():
        for path in sorted(config.state_dir.glob(f"{name}.sqlite")):
            yield path, schema


def _convert(config: Config, keys: Keys, key: Cipher | None) -> int:
    """The gallery comes last: while it is plain, a plain journal or outbox is no surprise.

    But it is opened first: every daemon has it open all the time, and the other files only while it writes.
    """
    lenient, current = Keys(keys.path, required=False), keys.current()
    with _alone(), gallery_alone(config.gallery_path, keys) as gallery:
        for path, schema in private_files(config):
            convert(path, schema, lenient, key, fleet_rows if schema is FLEET else None)
            delete_moved_aside(path)  # they may name people, too
        if key is None or current is None or key.key_id != current.key_id:
            for path in sorted(config.state_dir.glob("pictures-*.sqlite")):
                erase_pictures(path)  # without their key they cannot be opened
        return convert_gallery(gallery, keys, key)


@contextmanager
def _alone() -> Iterator[None]:
    try:
        yield
    except StorageError as e:
        if "another process has locked it" in e.message:
            stop = (
                "stop every daemon of this device, then run the same command again: sudo systemctl stop 'edge-oneshot*'"
            )
            raise StorageError(e.message, stop) from None
        raise


def _pending(keys: Keys) -> Cipher:
    """The key of a change that was begun, else a new one. It is on the disk before anything is sealed with it."""
    if (key := keys.pending()) is None:
        path = keys.pending_path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Renamed when it is complete: a process that is killed leaves no half of a key.
            half = path.with_name(path.name + ".tmp")
            half.unlink(missing_ok=True)
            write_key(half, material := new_key())
        except OSError as e:
            raise ConfigError(
                f"cannot write the key {path}: {e.strerror}",
                "create the folder for the user of the daemon, with mode 0700, or set gallery.key_file",
            ) from None
        _rename(half, path)
        key = Cipher(material)
    return key


def _promote(keys: Keys) -> None:
    if keys.path is not None and keys.pending_path.exists():
        _rename(keys.pending_path, keys.path)


def _rename(old: Path, new: Path) -> None:
    try:
        old.replace(new)
        folder = os.open(new.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as e:
        raise ConfigError(f"cannot rename the key {old} to {new.name}: {e.strerror}", RUN_AGAIN) from None


def _own_file(keys: Keys) -> None:
    """Raises ConfigError if the key is only a credential, which cannot be changed here."""
    if keys.path is not None and not keys.path.exists():
        raise ConfigError(
            f"expected the key in {keys.path}, got only the credential {keys.credential}",
            "restore the key file from your backup, run this again, then create the credential again",
        )
