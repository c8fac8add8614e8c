"""`edge-oneshot fleet`: one gallery on many devices, over the user's own broker."""

from __future__ import annotations

import contextlib

import click

from edge_oneshot.cli.common import find_config, json_option, print_json, start_logging
from edge_oneshot.cli.fleet_common import how_to_start, opened, prepare, require_member
from edge_oneshot.cli.fleet_look import audit, export, list_, status
from edge_oneshot.errors import FleetError

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

    config = prepare(ctx)
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
    click.echo(
        "write it down and lock it away: whoever has it can revoke every device; it is not shown again", err=True
    )
    click.echo(f"next: {how_to_start(config)}, then edge-oneshot fleet invite NAME --role door", err=True)


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
    with opened(config) as own:
        code = own.invite(role, name, valid_min * 60.0)
    if as_json:
        print_json({"code": code, "name": name, "role": role, "valid_s": valid_min * 60})
    else:
        click.echo(code)
        click.echo(f"valid for {valid_min} minutes, for one device; there: edge-oneshot fleet join {code}", err=True)
    if read_agent_state(config.state_dir) is None:
        click.echo(f"the agent does not run on this device, and it must answer: {how_to_start(config)}", err=True)


@fleet.command(short_help="Join a fleet with a code.")
@click.argument("code")
@click.option("--name", default="fleet", show_default=True, help="What this device calls the fleet.")
@click.option("--timeout", type=click.FloatRange(1, 3600), default=120.0, show_default=True, help="Seconds to wait.")
@json_option
@click.pass_context
def join(ctx: click.Context, code: str, name: str, timeout: float, as_json: bool) -> None:
    """Join the fleet whose admin has made CODE, over the broker of this device's configuration."""
    config = prepare(ctx)
    from edge_oneshot.fleet.run import join as perform

    joined = perform(config, code, name, timeout)
    with contextlib.closing(joined):
        member = joined.member
        role = "unknown" if member is None else member.role
        about = {
            "fleet_id": joined.fleet_id,
            "device_id": joined.device_id,
            "role": role,
            "members": len(joined.members()),
        }
    if as_json:
        print_json(about)
        return
    click.echo(f"joined as {role}")
    click.echo(f"next: {how_to_start(config)}", err=True)


@fleet.command(short_help="Run the agent.")
@click.option("--verbose", is_flag=True, help="Also log details.")
@click.pass_context
def run(ctx: click.Context, verbose: bool) -> None:
    """Exchange people with the fleet until SIGTERM or Ctrl-C. One agent serves all cameras of a device."""
    import signal
    import threading

    start_logging(verbose)
    config = find_config(ctx)
    require_member(config)
    from edge_oneshot.fleet.run import serve
    from edge_oneshot.model.bundle import find_bundle
    from edge_oneshot.recognition.checked import load_bundle

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    encoder = load_bundle(find_bundle(config.model.encoder, "encoder"), config)
    serve(config, encoder.encoder_id, stop)


@fleet.command(short_help="Exclude a device for ever.")
@click.argument("device")
@click.option("--since-min", type=click.IntRange(0), help="What it wrote in the last N minutes does not stay in force.")
@click.option("--recovery", is_flag=True, help="Ask for the recovery code, which can revoke every device.")
@json_option
@click.pass_context
def revoke(ctx: click.Context, device: str, since_min: int | None, recovery: bool, as_json: bool) -> None:
    """Exclude DEVICE, by name or id: its writes are refused from now on, whatever its clock says. The agent then rotates the keys.

    Prints the people whose templates the device could read.
    """
    import time

    from edge_oneshot.fleet.overview import could_read, find_member

    code = click.prompt("recovery code", hide_input=True) if recovery else ""
    config = find_config(ctx)
    with opened(config) as own:
        member = find_member(own, device)
        since = None if since_min is None else time.time_ns() // 1_000_000 - since_min * 60_000
        own.revoke(member.device_id, since_ms=since, recovery_code=code, rotate=False)
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
    with opened(find_config(ctx)) as own:
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
    with opened(find_config(ctx)) as own:
        own.recover(code)
    click.echo("this device is an admin")


@fleet.command(short_help="End the membership of this device.")
@click.option("--remove-people", is_flag=True, help="Remove the people of the fleet from this device's gallery.")
@click.pass_context
def leave(ctx: click.Context, remove_people: bool) -> None:
    """End the membership of this device and delete its keys. Stop the agent before; an admin then revokes the device."""
    from edge_oneshot.fleet.home import read_agent_state
    from edge_oneshot.fleet.run import leave as perform

    config = find_config(ctx)
    require_member(config)
    if read_agent_state(config.state_dir) is not None:
        raise FleetError(
            "fleet leave: expected no agent, got a running one", "stop it: systemctl stop edge-oneshot-fleet"
        )
    removed = perform(config, remove_people=remove_people)
    click.echo(f"left the fleet; removed {removed} people from the gallery")
    click.echo("an admin revokes this device: edge-oneshot fleet revoke NAME", err=True)


for _command in (list_, status, audit, export):
    fleet.add_command(_command)
