"""The key that pictures of visits are encrypted with."""

from __future__ import annotations

import os
from pathlib import Path

from edge_oneshot.config import Config
from edge_oneshot.errors import ConfigError
from edge_oneshot.storage.cipher import Cipher, read_key

CREDENTIAL = "gallery-key"


def pictures_cipher(config: Config) -> Cipher:
    """The cipher of the pictures. Raises ConfigError without a key: pictures are never kept in clear."""
    credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere")) / CREDENTIAL
    if not credential.is_file():
        raise ConfigError(
            f"visits.pictures: expected the systemd credential {CREDENTIAL}, got none: pictures are kept encrypted only",
            "create the key, or set visits.pictures = false",
        )
    return Cipher(read_key(credential)).derived("pictures")


def with_key(config: Config) -> Config:
    """The same configuration. Raises ConfigError if pictures are on without a key."""
    if config.visits.pictures:
        pictures_cipher(config)
    return config
