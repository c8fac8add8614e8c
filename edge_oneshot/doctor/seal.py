"""Whether what is stored about people is sealed, and whether the key is safe. Nothing is written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edge_oneshot.config import Config
from edge_oneshot.doctor import Finding, fault, ok, warning
from edge_oneshot.storage.keys import Keys
from edge_oneshot.storage.sealed import is_sealed

SEAL = "edge-oneshot gallery seal"
HOW = f"stop the daemon, then: {SEAL}; docs/how-to/seal.md shows how to keep the key"


def check(config: Config) -> Iterator[Finding]:
    """One line for the gallery, and one for each fault of the key."""
    keys, path = Keys(config.key_path), config.gallery_path
    try:
        sealed = is_sealed(path)
        there = keys.credential or (config.key_path if config.key_path.exists() else None)
        pending = keys.pending_path.exists()
    except PermissionError:
        return  # private to another user, as `permissions` says
    if pending:
        yield warning(
            "seal", f"{keys.pending_path}: sealing, or a change of the key, was interrupted", f"run it again: {SEAL}"
        )
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
        if not os.environ.get("CREDENTIALS_DIRECTORY") and _encrypted_credential(config):
            yield ok("seal", f"{path} is sealed; the daemon gets the key as a systemd credential")
            return
        yield fault(
            "seal", f"{path} is sealed, and there is no key at {config.key_path}", "restore the key from your backup"
        )
    else:
        yield ok("seal", f"{path} is sealed with {there or keys.pending_path}; keep a copy of the key elsewhere")
    if there is not None and there == config.key_path:
        yield from _private(config)


def _private(config: Config) -> Iterator[Finding]:
    path = config.key_path
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield warning(
            "seal", f"{path}: expected mode 0600, got {mode:04o}: other users may read the key", f"chmod 600 {path}"
        )
    if path.resolve().is_relative_to(config.state_dir.resolve()):
        why = f"{path} lies in {config.state_dir}: every copy of that folder holds the key, too"
        yield warning("seal", why, "move the key file, and set gallery.key_file")
    if not os.access(path.parent, os.W_OK) and os.geteuid() == path.stat().st_uid:
        why = f"{path.parent} cannot be written: an older copy of the gallery would not be noticed"
        yield warning("seal", why, f"let the user of the daemon write {path.parent}")


def _encrypted_credential(config: Config) -> bool:
    return config.system and Path("/etc/credstore.encrypted/edge-oneshot.gallery-key").exists()


def _as_owner(config: Config, how: str) -> str:
    return how.replace(SEAL, f"sudo -u edge-oneshot {SEAL}") if config.system else how
