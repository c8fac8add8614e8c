"""Whether what is stored about people is sealed, and whether the key is safe. Nothing is written."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator

from edge_oneshot.config import Config
from edge_oneshot.doctor import Finding, fault, ok, warning
from edge_oneshot.errors import ConfigError
from edge_oneshot.storage.keys import Keys, encrypted_credential
from edge_oneshot.storage.sealed import is_sealed

SEAL = "edge-oneshot gallery seal"
HOW = f"stop the daemon, then: {SEAL}; docs/how-to/seal.md shows how to keep the key"


def check(config: Config) -> Iterator[Finding]:
    """One line for the gallery, and one for each fault of the key."""
    keys, path = Keys(config.key_path), config.gallery_path
    try:
        sealed = is_sealed(path)
    except PermissionError:
        return  # private to another user, as `permissions` says
    if keys.hidden:
        yield from _closed(config, sealed)
        return
    there = keys.credential or (config.key_path if config.key_path.exists() else None)
    pending = keys.pending_path.exists()
    yield from _differ(keys)
    if pending:
        yield warning("seal", f"{keys.pending_path}: sealing or a change of the key was interrupted", f"run: {SEAL}")
    if sealed is None:
        yield ok(
            "seal", f"no gallery yet; it will {'' if there else 'not '}be sealed" + ("" if there else f" ({SEAL})")
        )
    elif not sealed:
        yield warning(
            "seal",
            f"{path} is not sealed: anyone who takes the disk can read names and templates",
            _as_owner(config, HOW),
        )
    elif there is None and not pending:
        if config.system and not os.environ.get("CREDENTIALS_DIRECTORY") and encrypted_credential() is not False:
            how = "the daemon gets the key as a systemd credential"
            if encrypted_credential():
                yield ok("seal", f"{path} is sealed; {how}")
            else:
                yield warning("seal", f"{path} is sealed; cannot see whether {how}", "run: sudo edge-oneshot doctor")
            return
        yield fault(
            "seal", f"{path} is sealed, and there is no key at {config.key_path}", "restore the key from your backup"
        )
    else:
        yield ok("seal", f"{path} is sealed with {there or keys.pending_path}; keep a copy of the key elsewhere")
    if there is not None and there == config.key_path:
        yield from _private(config)
        yield from _to_daemon(config)


def _private(config: Config) -> Iterator[Finding]:
    path = config.key_path
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield warning(
            "seal", f"{path}: expected mode 0600, got {mode:04o}: other users may read the key", f"chmod 600 {path}"
        )
    if path.resolve().is_relative_to(config.state_dir.resolve()):
        why = f"{path} is in {config.state_dir}: every copy of that folder contains the key"
        yield warning("seal", why, "move the key file, and set gallery.key_file")
    if not os.access(path.parent, os.W_OK) and os.geteuid() == path.stat().st_uid:
        why = f"{path.parent} cannot be written: an older copy of the gallery would not be detected"
        yield warning("seal", why, f"let the user of the daemon write {path.parent}")


def _differ(keys: Keys) -> Iterator[Finding]:
    """Two different keys, as after `gallery rotate-key` without a new credential; a key file that is damaged."""
    try:
        keys.current()
    except ConfigError as e:
        yield fault("seal", e.message, e.hint)


def _closed(config: Config, sealed: bool | None) -> Iterator[Finding]:
    """This user may not look into the folder of the key."""
    folder = config.key_path.parent
    if os.geteuid() == _owner(
        config
    ):  # the user of the daemon: it can read nothing that is sealed, and seal nothing new
        yield fault("seal", f"{folder} is closed to the user of the daemon", f"sudo chown {_name(config)}: {folder}")
    elif sealed is not None:
        yield warning("seal", f"{folder} is closed to you: the key was not checked", "run: sudo edge-oneshot doctor")


def _to_daemon(config: Config) -> Iterator[Finding]:
    """Whether the user of the daemon can read the key. Another user, such as root, could read it all the same."""
    owner = _owner(config)
    for path, needed in ((config.key_path.parent, 0o1), (config.key_path, 0o4)):
        about = path.stat()
        bits = 6 if about.st_uid == owner else 3 if about.st_gid == _group(owner) else 0
        if owner != 0 and about.st_mode >> bits & needed == 0:
            yield fault("seal", f"{path} is closed to the user of the daemon", f"sudo chown {_name(config)}: {path}")


def _owner(config: Config) -> int:
    return config.state_dir.stat().st_uid if config.state_dir.exists() else os.geteuid()


def _group(uid: int) -> int | None:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return None


def _name(config: Config) -> str:
    try:
        return pwd.getpwuid(_owner(config)).pw_name
    except KeyError:
        return str(_owner(config))


def _as_owner(config: Config, how: str) -> str:
    return how.replace(SEAL, f"sudo -u edge-oneshot {SEAL}") if config.system else how
