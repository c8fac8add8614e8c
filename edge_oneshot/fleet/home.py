"""Where a device keeps its membership, and whose turn it is to change it.

The agent and the commands of the user change one file. A lock makes them take turns: the agent has it while it works, and not
while it waits for the network.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_oneshot.config import Config

FILE, LOCK = "fleet.sqlite", "fleet.lock"


def fleet_path(config: Config) -> Path:
    """The file of the membership. A device is a member of a fleet if it exists."""
    return config.state_dir / FILE


@contextmanager
def turn(state_dir: Path) -> Iterator[None]:
    """Hold the lock. Waits until the other process has finished its step: some milliseconds."""
    handle = os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
