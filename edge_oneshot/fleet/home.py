"""Where a device keeps its membership, and whose turn it is to change it.

The agent and the commands of the user change one file. A lock makes them take turns: the agent has it while it works, and not
while it waits for the network.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_oneshot.config import Config

FILE, LOCK, AGENT = "fleet.sqlite", "fleet.lock", "fleet-agent.json"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """What the running agent says about itself. at: seconds since 1970. left: slices that are still to be fetched.

    fault: why it is not online. refused: topics that the broker's access list refuses. missing, alone: ids of people (apply.Counts).
    """

    at: float
    online: bool
    fault: str
    left: int
    refused: tuple[str, ...]
    missing: tuple[str, ...]
    alone: tuple[str, ...]


FRESH_S = 15.0  # the agent writes its state more often than this


def write_agent_state(state_dir: Path, state: AgentState) -> None:
    """Replace the file. Raises OSError."""
    part = state_dir / f"{AGENT}.part"
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(state), file)
    part.replace(state_dir / AGENT)


def read_agent_state(state_dir: Path) -> AgentState | None:
    """None: no agent runs."""
    try:
        found = json.loads((state_dir / AGENT).read_text())
        for name in ("refused", "missing", "alone"):
            found[name] = tuple(found[name])
        state = AgentState(**found)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return state if time.time() - state.at < FRESH_S else None
