"""The key that pictures of visits are encrypted with: one that is derived from the key of the device."""

from __future__ import annotations

from edge_oneshot.config import Config
from edge_oneshot.errors import ConfigError
from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.storage.keys import Keys


def pictures_cipher(config: Config) -> Cipher:
    """The cipher of the pictures. Raises ConfigError without a key: pictures are never kept in clear."""
    key = Keys(config.key_path).current()
    if key is None:
        raise ConfigError(
            f"visits.pictures: expected a key in {config.key_path}, got none: pictures are kept encrypted only",
            "create the key with `edge-oneshot gallery seal`, or set visits.pictures = false",
        )
    return key.derived("pictures")


def with_key(config: Config) -> Config:
    """The same configuration. Raises ConfigError if pictures are on without a key."""
    if config.visits.pictures:
        pictures_cipher(config)
    return config
