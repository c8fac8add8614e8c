"""The agent as a process: its exit codes, and that it takes over what a command has changed. scripts/fleet-demo shows a whole fleet."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fleet_device import Member
from mosquitto import Mosquitto

from edge_oneshot.errors import ConfigError


def test_the_agent_ends_at_once_without_a_fleet_and_cleanly_with_one(short_path: Path, broker: Mosquitto) -> None:
    with Member(short_path, broker.port, "office") as office:
        assert "expected a member" in office.call("fleet", "run", expect=ConfigError.exit_code)
        office.call("fleet", "init", "gym")
        office.start_agent()
        office.wait_agent(lambda: "online at" in office.agent_log(), "online")
        assert office.fleet("rotate")["key_number"] == 2
        office.wait_agent(lambda: '"unpublished": 0' in _status(office), "everything is published")
        assert office.stop_agent() == 0
        assert "Traceback" not in office.agent_log()


def _status(office: Member) -> str:
    """The exit code is 1 on a machine whose clock is not synchronised."""
    return subprocess.run(
        [*office.command, "fleet", "status", "--json"],
        capture_output=True,
        text=True,
        env=office.environment,
        check=False,
    ).stdout
