"""Where the key of sealed files is, and the counter that is kept beside it.

The systemd credential `gallery-key` comes before the key file. While files are sealed, unsealed or given a new key, a second key
file, `<name>.new`, exists: it is the key of the files that are done (sealing, rotation) or still to do (unsealing). So a
process that is killed at any moment leaves a key for every file.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from edge_oneshot.errors import ConfigError
from edge_oneshot.storage.cipher import Cipher, read_key

CREDENTIAL = "gallery-key"


class Keys:
    """The key file at `path`, or the credential in its place. Nothing is read before it is asked for."""

    def __init__(self, path: Path | None, *, required: bool = True) -> None:
        """path: None: there are no keys. required: whether a file that is not sealed is refused while `current` exists."""
        self.path, self.required = path, required

    def __bool__(self) -> bool:
        return self.path is not None

    @property
    def pending_path(self) -> Path:
        return self._beside(".new")

    @property
    def counter_path(self) -> Path:
        """The number of changes of the sealed gallery, outside the gallery."""
        return self._beside(".counter")

    @property
    def credential(self) -> Path | None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        return Path(folder, CREDENTIAL) if folder and Path(folder, CREDENTIAL).exists() else None

    def current(self) -> Cipher | None:
        """The key of all files; None if they are not sealed. Raises ConfigError for a key file that cannot be read."""
        return None if self.path is None else _cipher(self.credential or self.path)

    def pending(self) -> Cipher | None:
        """The key of a change that was begun and not completed."""
        return None if self.path is None else _cipher(self.pending_path)

    def find(self, key_id: str) -> Cipher | None:
        """The key with this id. Raises ConfigError for a key file that cannot be read."""
        if self.path is None:
            return None
        paths = (self.credential, self.path, self.pending_path)
        return next((c for c in map(_cipher, filter(None, paths)) if c is not None and c.key_id == key_id), None)

    def read_counter(self, key_id: str) -> int:
        """What `write_counter` has written last for this key; 0 if it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            about, number = self.counter_path.read_text(encoding="ascii").split()
            if about == key_id:
                return int(number)
        return 0

    def write_counter(self, key_id: str, number: int) -> None:
        """Raises OSError. A power cut may lose the last numbers, and never makes the number greater than that of the gallery."""
        new = self.counter_path.with_suffix(".counter.tmp")
        new.write_text(f"{key_id} {number}\n", encoding="ascii")
        new.replace(self.counter_path)

    def _beside(self, suffix: str) -> Path:
        assert self.path is not None
        return self.path.with_name(self.path.name + suffix)


NO_KEYS = Keys(None)


def _cipher(path: Path) -> Cipher | None:
    """None if there is no such file."""
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as e:
        raise ConfigError(
            f"key {path}: cannot read it: {e.strerror}", "run this as the user of the daemon, for example with sudo"
        ) from None
    return Cipher(read_key(path))
