"""`edge-oneshot fleet`: one gallery on many devices, over the user's own broker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_oneshot.cli.common import find_config, json_option, print_json, start_logging
from edge_oneshot.errors import FleetError

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.fleet.fleet import Fleet

ROLE = click.Choice(["door", "desk", "admin"])


@click.group()
def fleet() -> None:
    """Share one gallery among many devices, over your own MQTT broker.

    A desk enrolls and removes people, every door recognizes them, an admin invites and revokes devices. Records are signed and
    encrypted: the broker learns no names and no templates. The agent, `fleet run`, exchanges them.
    """


@fleet.command(short_help="Found a fleet; this device becomes its first admin.")
@click.argument("name", default="fleet")
@json_option
@click.pass_context
def init(ctx: click.Context, name: str, as_json: bool) -> None:
    """Found the fleet NAME. This device becomes its first admin and publishes the people of its gallery.

    Prints the recovery code, which can replace the admins if they are lost or stolen. Keep it on paper: no device stores it.
    """
    from edge_oneshot.fleet.fleet import Fleet
    from edge_oneshot.fleet.home import fleet_path, turn
    from edge_oneshot.storage.keys import Keys

    config = _prepare(ctx)
    with turn(config.state_dir):
        founded, code = Fleet.found(
            fleet_path(config), name=name, device_name=config.device_slug, keys_of_device=Keys(config.key_path)
        )
        founded.close()
    if as_json:
        print_json({"fleet": name, "fleet_id": founded.fleet_id, "device_id": founded.device_id, "recovery_code": code})
        return
    click.echo(f"founded the fleet {name}; this device, {config.device_slug}, is its first admin")
    click.echo(f"recovery code: {code}")
    click.echo("write it down and lock it away: whoever has it can revoke every device; it is not shown again", err=True)
    click.echo(f"next: {_start(config)}, then edge-oneshot fleet invite NAME --role door", err=True)


@fleet.command(short_help="Make a one-time code with which a device joins.")
@click.argument("name")
@click.option("--role", type=ROLE, default="door", show_default=True, help="What the device may do.")
@click.option(
    "--valid-min", type=click.IntRange(1, 7 * 24 * 60), default=60, show_default=True, help="Minutes until it expires."
)
@json_option
@click.pass_context
def invite(ctx: click.Context, name: str, role: str, valid_min: int, as_json: bool) -> None:
    """Print a one-time code with which the device NAME joins: `edge-oneshot fleet join CODE`.

    door: recognizes. desk: also enrolls and removes people. admin: also invites, revokes and rotates keys. The agent must run on
    this device until the other one has joined.
    """
    from edge_oneshot.fleet.home import read_agent_state

    config = find_config(ctx)
    with _opened(config) as own:
        code = own.invite(role, name, valid_min * 60.0)
    if as_json:
        print_json({"code": code, "name": name, "role": role, "valid_s": valid_min * 60})
    else:
        click.echo(code)
        click.echo(f"valid for {valid_min} minutes, for one device; there: edge-oneshot fleet join {code}", err=True)
    if read_agent_state(config.state_dir) is None:
        click.echo(f"the agent does not run on this device, and it must answer: {_start(config)}", err=True)


@fleet.command(short_help="Join a fleet with a code.")
@click.argument("code")
@click.option("--name", default="fleet", show_default=True, help="What this device calls the fleet.")
@click.option("--timeout", type=click.FloatRange(1, 3600), default=120.0, show_default=True, help="Seconds to wait.")
@json_option
@click.pass_context
def join(ctx: click.Context, code: str, name: str, timeout: float, as_json: bool) -> None:
    """Join the fleet whose admin has made CODE, over the broker of this device's configuration."""
    config = _prepare(ctx)
    from edge_oneshot.fleet.run import join as perform

    joined = perform(config, code, name, timeout)
    with contextlib.closing(joined):
        member = joined.member
        role = "unknown" if member is None else member.role
        about = {"fleet_id": joined.fleet_id, "device_id": joined.device_id, "role": role, "members": len(joined.members())}
    if as_json:
        print_json(about)
        return
    click.echo(f"joined as {role}")
    click.echo(f"next: {_start(config)}", err=True)


@fleet.command(short_help="Run the agent.")
@click.option("--verbose", is_flag=True, help="Also log details.")
@click.pass_context
def run(ctx: click.Context, verbose: bool) -> None:
    """Exchange people with the fleet until SIGTERM or Ctrl-C. One agent serves all cameras of a device."""
    import signal
    import threading

    start_logging(verbose)
    config = find_config(ctx)
    _require_member(config)
    from edge_oneshot.fleet.run import serve
    from edge_oneshot.model.bundle import find_bundle
    from edge_oneshot.recognition.checked import load_bundle

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    encoder = load_bundle(find_bundle(config.model.encoder, "encoder"), config)
    serve(config, encoder.encoder_id, stop)


@fleet.command("list", short_help="List the members.")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the members, their roles, and whether they have in force what this device has."""
    from edge_oneshot.fleet.overview import members

    with _opened(find_config(ctx)) as own:
        found = members(own)
    if as_json:
        print_json({"members": found})
        return
    for m in found:
        _echo_member(m)


def _echo_member(m: dict[str, Any]) -> None:
    people = "" if m["people"] is None else f"{m['people']} people"
    seen = "" if m["reported"] is None else f"reported {m['reported']}"
    click.echo(f"{m['name']:16} {m['role']:6} {m['state']:12} {people:14} {seen:34} {m['id'][:12]}".rstrip())


@fleet.command(short_help="Show what is in force, here and on the other devices.")
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> int:
    """Show this device, its people, conflicts, and what each member has in force. Exit code 1 if something needs attention."""
    from edge_oneshot.fleet.home import read_agent_state
    from edge_oneshot.fleet.overview import status as look

    config = find_config(ctx)
    with _opened(config) as own:
        found = look(own, read_agent_state(config.state_dir))
    attention = _attention(found)
    if as_json:
        print_json({**found, "attention": attention})
        return 1 if attention else 0
    agent = found["agent"]
    online = "no agent runs" if agent is None else "online" if agent["online"] else f"offline: {agent['fault']}"
    click.echo(f"fleet {found['fleet']} ({found['fleet_id'][:12]}), this device: {found['role']}, {online}")
    click.echo(f"{found['people']} people in force, key {found['key_number']}, {found['unpublished']} records to publish")
    for m in found["members"]:
        _echo_member(m)
    for line in attention:
        click.echo(f"attention: {line}")
    return 1 if attention else 0


def _attention(found: dict[str, Any]) -> list[str]:
    lines = []
    if found["agent"] is None:
        lines.append("the agent does not run: edge-oneshot fleet run")
    if found["role"] == "revoked":
        lines.append("this device was revoked: edge-oneshot fleet leave --remove-people")
    lines += [f"the broker's access list refuses {topic}" for topic in found["refused_topics"]]
    if found["missing"]:
        lines.append(f"no template of this device's encoder: {', '.join(found['missing'])}")
    if found["alone"]:
        lines.append(f"only in the gallery of this device: {', '.join(found['alone'])}")
    lines += [f"two people were enrolled as {c['id']}: {c['name']} at {c['desk']} lost the id" for c in found["conflicts"]]
    lines += [f"a record of {v['device']}, which was revoked, does not count: {v['topic']}" for v in found["void"]]
    behind = [m["name"] for m in found["members"] if m["state"] in ("behind", "silent", "never seen")]
    if behind:
        lines.append(f"not known to have the same in force: {', '.join(behind)}")
    lines += [f"the clock of {m['name']} is not synchronised" for m in found["members"] if m["clock"] == "unsynced"]
    return lines


@fleet.command(short_help="Exclude a device for ever.")
@click.argument("device")
@click.option("--since-min", type=click.IntRange(0), help="What it wrote in the last N minutes does not stay in force.")
@click.option("--recovery", is_flag=True, help="Ask for the recovery code, which can revoke every device.")
@json_option
@click.pass_context
def revoke(ctx: click.Context, device: str, since_min: int | None, recovery: bool, as_json: bool) -> None:
    """Exclude DEVICE, by name or id, and rotate the keys: its writes are refused from now on, whatever its clock says.

    Prints the people whose templates the device could read.
    """
    import time

    from edge_oneshot.fleet.overview import could_read, find_member

    code = click.prompt("recovery code", hide_input=True) if recovery else ""
    config = find_config(ctx)
    with _opened(config) as own:
        member = find_member(own, device)
        since = None if since_min is None else time.time_ns() // 1_000_000 - since_min * 60_000
        own.revoke(member.device_id, since_ms=since, recovery_code=code)
        read = could_read(own, member.device_id)
    if as_json:
        print_json({"revoked": member.device_id, "name": member.name, "could_read": read})
        return
    click.echo(f"revoked {member.name}; it could read the templates of {len(read)} people")
    for identity_id in read:
        click.echo(f"  {identity_id}")
    click.echo("revoke its account at the broker, too", err=True)


@fleet.command(short_help="Make a new fleet key.")
@click.option("--encrypt-anew", is_flag=True, help="Publish all people again, encrypted with the new key.")
@json_option
@click.pass_context
def rotate(ctx: click.Context, encrypt_anew: bool, as_json: bool) -> None:
    """Make a new fleet key for what is written from now on, and hand it to every member."""
    with _opened(find_config(ctx)) as own:
        number = own.rotate(encrypt_anew=encrypt_anew)
    if as_json:
        print_json({"key_number": number})
    else:
        click.echo(f"key {number} is in use")


@fleet.command(short_help="Make this device an admin with the recovery code.")
@click.pass_context
def recover(ctx: click.Context) -> None:
    """Make this device an admin with the recovery code, for example after the only admin was lost or stolen."""
    code = click.prompt("recovery code", hide_input=True)
    with _opened(find_config(ctx)) as own:
        own.recover(code)
    click.echo("this device is an admin")


@fleet.command(short_help="Show and verify the audit log.")
@json_option
@click.pass_context
def audit(ctx: click.Context, as_json: bool) -> int:
    """Show every change of the fleet and verify that none was altered or left out. Exit code 1 if one was."""
    from edge_oneshot.fleet.overview import audit as look

    config = find_config(ctx)
    with _opened(config) as own:
        _fetch_log(config, own)
        found = look(own)
    if as_json:
        print_json(found)
        return 1 if found["faults"] else 0
    for e in found["entries"]:
        click.echo(f"{e['time']}  {e['device']:16} {e['number']:6}  {e['what']:8} {e['about']}")
    for f in found["faults"]:
        click.echo(f"fault: the log of {f['device']}: {f['fault']}")
    click.echo(f"{len(found['entries'])} entries, {len(found['faults'])} faults", err=True)
    return 1 if found["faults"] else 0


def _fetch_log(config: Config, own: Fleet) -> None:
    if own.member is not None and own.member.role == "door":
        from edge_oneshot.fleet.run import fetch_audit

        fetch_audit(config, own)


@fleet.command(short_help="Write members, people and audit log to a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_context
def export(ctx: click.Context, file: Path) -> None:
    """Write members, people (without templates) and the audit log to FILE, as JSON."""
    import json

    from edge_oneshot.fleet.overview import export as look
    from edge_oneshot.storage.cipher import write_text

    config = find_config(ctx)
    with _opened(config) as own:
        _fetch_log(config, own)
        found = look(own)
    try:
        write_text(file, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    except OSError as e:
        raise FleetError(f"fleet export {file}: {e.strerror}", "name a new file in a folder that you may write") from None
    click.echo(f"exported {len(found['people'])} people, {len(found['members'])} members to {file}")


@fleet.command(short_help="End the membership of this device.")
@click.option("--remove-people", is_flag=True, help="Remove the people of the fleet from this device's gallery.")
@click.pass_context
def leave(ctx: click.Context, remove_people: bool) -> None:
    """End the membership of this device and delete its keys. Stop the agent before; an admin then revokes the device."""
    from edge_oneshot.fleet.home import read_agent_state
    from edge_oneshot.fleet.run import leave as perform

    config = find_config(ctx)
    _require_member(config)
    if read_agent_state(config.state_dir) is not None:
        raise FleetError("fleet leave: expected no agent, got a running one", "stop it: systemctl stop edge-oneshot-fleet")
    removed = perform(config, remove_people=remove_people)
    click.echo(f"left the fleet; removed {removed} people from the gallery")
    click.echo("an admin revokes this device: edge-oneshot fleet revoke NAME", err=True)


@contextlib.contextmanager
def _opened(config: Config) -> Iterator[Fleet]:
    """The fleet of this device, while this process has its turn."""
    from edge_oneshot.fleet.fleet import Fleet
    from edge_oneshot.fleet.home import fleet_path, turn
    from edge_oneshot.storage.keys import Keys

    _require_member(config)
    with turn(config.state_dir), contextlib.closing(Fleet.open(fleet_path(config), Keys(config.key_path))) as own:
        yield own


def _prepare(ctx: click.Context) -> Config:
    """The configuration; its state folder exists and belongs to this user."""
    from edge_oneshot.service.offline import require_owner

    config = find_config(ctx)
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_owner(config.state_dir)
    return config


def _require_member(config: Config) -> None:
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


def _start(config: Config) -> str:
    return "sudo systemctl enable --now edge-oneshot-fleet" if config.system else "edge-oneshot fleet run"
