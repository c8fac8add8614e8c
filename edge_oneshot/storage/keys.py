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
ENCRYPTED_CREDENTIAL = Path("/etc/credstore.encrypted/edge-oneshot.gallery-key")  # what the units load
MAKE_CREDENTIAL = f"sudo systemd-creds encrypt --name={CREDENTIAL} {{}} {ENCRYPTED_CREDENTIAL}"


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

    @property
    def source(self) -> Path | None:
        """Where the key is that `current` reads, or else `pending`."""
        return self.credential or (self.path if self.path is None or self.path.exists() else self.pending_path)

    @property
    def hidden(self) -> bool:
        """Whether this user may not even look whether there is a key."""
        try:
            return self.credential is None and self.path is not None and self.path.lstat() is None
        except PermissionError:
            return True
        except OSError:
            return False

    def current(self) -> Cipher | None:
        """The key of all files; None if they are not sealed.

        Raises ConfigError for a key file that cannot be read, and if credential and key file hold different keys: after
        `gallery rotate-key` the credential is the old key, and what was sealed with it could not be read later.
        """
        given, own = self._both()
        if given is not None and own is not None and given.key_id != own.key_id:
            raise self._differ(given, own)
        return given or own

    def pending(self) -> Cipher | None:
        """The key of a change that was begun and not completed."""
        return None if self.path is None else _cipher(self.pending_path)

    def find(self, key_id: str) -> Cipher | None:
        """The key with this id. Raises ConfigError as `current` does."""
        given, own = self._both()
        if given is not None and own is not None and given.key_id != own.key_id:
            raise self._differ(given, own, key_id)
        return next((c for c in (given or own, self.pending()) if c is not None and c.key_id == key_id), None)

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
        new.unlink(missing_ok=True)  # of a command of root that was killed: this user could not write it
        new.write_text(f"{key_id} {number}\n", encoding="ascii")
        new.replace(self.counter_path)

    def _both(self) -> tuple[Cipher | None, Cipher | None]:
        """The keys in the credential and in the key file. Beside a credential the file need not be readable."""
        if self.path is None:
            return None, None
        if self.credential is None:
            return None, _cipher(self.path)
        with contextlib.suppress(ConfigError):
            return _cipher(self.credential), _cipher(self.path)
        return _cipher(self.credential), None

    def _differ(self, given: Cipher, own: Cipher, needed: str = "") -> ConfigError:
        """needed: the id of the key that a file has."""
        what = f"expected the same key in the credential {CREDENTIAL} and in {self.path}, got {given.key_id} and {own.key_id}"
        again = f"make the credential again, and restart the service: {MAKE_CREDENTIAL.format(self.path)}"
        if needed == own.key_id:
            return ConfigError(f"{what}: the credential is from before `gallery rotate-key`", again)
        if needed == given.key_id:
            return ConfigError(f"{what}: the file is not the key of this gallery", f"move {self.path} away")
        return ConfigError(what, f"after `gallery rotate-key`: {again}; or move away the key file, if it is an old one")

    def _beside(self, suffix: str) -> Path:
        assert self.path is not None
        return self.path.with_name(self.path.name + suffix)


NO_KEYS = Keys(None)


def encrypted_credential() -> bool | None:
    """Whether the units load the key as an encrypted credential; None: this user may not look."""
    try:
        return ENCRYPTED_CREDENTIAL.lstat() is not None
    except PermissionError:
        return None
    except OSError:
        return False


def _cipher(path: Path) -> Cipher | None:
    """None if there is no such file."""
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as e:
        raise ConfigError(
            f"key {path}: cannot read it: {e.strerror}",
            "run this as the user of the daemon, for example with sudo; or set gallery.key_file",
        ) from None
    return Cipher(read_key(path))
