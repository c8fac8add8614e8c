"""What the commands of a fleet share: the membership of this device, while it is this process's turn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edge_oneshot.cli.common import find_config

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.fleet.fleet import Fleet


@contextlib.contextmanager
def opened(config: Config) -> Iterator[Fleet]:
    """The fleet of this device, while this process has its turn."""
    from edge_oneshot.fleet.fleet import Fleet
    from edge_oneshot.fleet.home import fleet_path, turn
    from edge_oneshot.storage.keys import Keys

    require_member(config)
    with turn(config.state_dir), contextlib.closing(Fleet.open(fleet_path(config), Keys(config.key_path))) as own:
        yield own


def prepare(ctx: click.Context) -> Config:
    """The configuration; its state folder exists and belongs to this user."""
    from edge_oneshot.service.offline import require_owner

    config = find_config(ctx)
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_owner(config.state_dir)
    return config


def require_member(config: Config) -> None:
    """Raises ConfigError, after which systemd does not restart the agent."""
    from edge_oneshot.errors import ConfigError
    from edge_oneshot.fleet.home import fleet_path
    from edge_oneshot.service.offline import require_owner

    require_owner(config.state_dir)
    if not fleet_path(config).exists():
        raise ConfigError(
            f"fleet: expected a member, got a device without {fleet_path(config)}",
            "edge-oneshot fleet init, or edge-oneshot fleet join CODE",
        )


def how_to_start(config: Config) -> str:
    return "sudo systemctl enable --now edge-oneshot-fleet" if config.system else "edge-oneshot fleet run"
