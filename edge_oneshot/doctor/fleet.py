"""Whether this device takes part in its fleet: agent, keys, access list of the broker."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from edge_oneshot.config import Config
from edge_oneshot.doctor import Finding, fault, ok, warning
from edge_oneshot.errors import EdgeOneshotError


def check(config: Config) -> Iterator[Finding]:
    """Nothing for a device without a fleet."""
    from edge_oneshot.fleet.home import fleet_path, read_agent_state

    path = fleet_path(config)
    try:
        if not path.exists():
            return
    except PermissionError:
        return  # the state folder is another user's: device.permissions says so
    if not os.access(path, os.R_OK | os.W_OK):
        yield warning("fleet", "not checked; only root and the service may read its keys", "sudo edge-oneshot doctor")
        return
    yield _membership(config)
    agent = read_agent_state(config.state_dir)
    if agent is None:
        start = "sudo systemctl enable --now edge-oneshot-fleet" if config.system else "edge-oneshot fleet run"
        yield fault("fleet agent", "it does not run: people who are enrolled or removed elsewhere do not arrive", start)
    elif not agent.online:
        yield fault("fleet agent", f"offline: {agent.fault}", "edge-oneshot mqtt test")
    elif agent.refused:
        topics = ", ".join(agent.refused[:3])
        yield fault(
            "fleet agent", f"the broker's access list refuses {topics}", "allow them as deploy/examples/fleet.acl does"
        )
    elif agent.missing:
        yield warning(
            "fleet agent",
            f"online; {len(agent.missing)} people have no template of this device's encoder: {', '.join(agent.missing[:5])}",
            "enroll them at a desk with the same encoder, or see docs/how-to/fleet.md about upgrades",
        )
    else:
        yield ok("fleet agent", "online" + (f", {agent.left} slices are still to be fetched" if agent.left else ""))


def _membership(config: Config) -> Finding:
    from edge_oneshot.fleet.fleet import Fleet
    from edge_oneshot.fleet.home import fleet_path, turn
    from edge_oneshot.storage.keys import Keys

    path = fleet_path(config)
    if path.stat().st_mode & 0o077:
        return fault("fleet", f"{path}: expected mode 0600, got {path.stat().st_mode & 0o777:04o}", f"chmod 600 {path}")
    try:
        with turn(config.state_dir), contextlib.closing(Fleet.open(path, Keys(config.key_path))) as fleet:
            member, epochs = fleet.member, fleet.epochs
    except EdgeOneshotError as e:
        return fault("fleet", e.message, e.hint)
    if member is None or not epochs:
        return fault("fleet", "this device has not got its keys yet", "start the agent here and on an admin device")
    if not member.in_force:
        return fault("fleet", f"this device, {member.name}, was revoked", "edge-oneshot fleet leave --remove-people")
    return ok("fleet", f"{fleet.name}: this device is {member.name}, {member.role}; {epochs} fleet keys")
