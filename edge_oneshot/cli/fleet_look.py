"""`edge-oneshot fleet list | status | audit | export`: what is in force, and who has changed it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_oneshot.cli.common import find_config, json_option, print_json
from edge_oneshot.cli.fleet_common import opened
from edge_oneshot.errors import FleetError

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.fleet.fleet import Fleet


@click.command("list", short_help="List the members.")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the members, their roles, and whether they have in force what this device has."""
    from edge_oneshot.fleet.overview import members

    with opened(find_config(ctx)) as own:
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


@click.command(short_help="Show what is in force, here and on the other devices.")
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> int:
    """Show this device, its people, conflicts, and what each member has in force. Exit code 1 if something needs attention."""
    from edge_oneshot.fleet.home import read_agent_state
    from edge_oneshot.fleet.overview import status as look

    config = find_config(ctx)
    with opened(config) as own:
        found = look(own, read_agent_state(config.state_dir))
    attention = _attention(found)
    if as_json:
        print_json({**found, "attention": attention})
        return 1 if attention else 0
    agent = found["agent"]
    online = "no agent runs" if agent is None else "online" if agent["online"] else f"offline: {agent['fault']}"
    click.echo(f"fleet {found['fleet']} ({found['fleet_id'][:12]}), this device: {found['role']}, {online}")
    click.echo(
        f"{found['people']} people in force, key {found['key_number']}, {found['unpublished']} records to publish"
    )
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
    lines += [
        f"two people were enrolled as {c['id']}: {c['name']} at {c['desk']} lost the id" for c in found["conflicts"]
    ]
    lines += [f"a record of {v['device']}, which was revoked, does not count: {v['topic']}" for v in found["void"]]
    behind = [m["name"] for m in found["members"] if m["state"] in ("behind", "silent", "never seen")]
    if behind:
        lines.append(f"not known to have the same in force: {', '.join(behind)}")
    lines += [f"the clock of {m['name']} is not synchronised" for m in found["members"] if m["clock"] == "unsynced"]
    return lines


@click.command(short_help="Show and verify the audit log.")
@json_option
@click.pass_context
def audit(ctx: click.Context, as_json: bool) -> int:
    """Show every change of the fleet and verify that none was altered or left out. Exit code 1 if one was."""
    from edge_oneshot.fleet.overview import audit as look

    config = find_config(ctx)
    with opened(config) as own:
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


@click.command(short_help="Write members, people and audit log to a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_context
def export(ctx: click.Context, file: Path) -> None:
    """Write members, people (without templates) and the audit log to FILE, as JSON."""
    import json

    from edge_oneshot.fleet.overview import export as look
    from edge_oneshot.storage.cipher import write_text

    config = find_config(ctx)
    with opened(config) as own:
        _fetch_log(config, own)
        found = look(own)
    try:
        write_text(file, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    except OSError as e:
        raise FleetError(
            f"fleet export {file}: {e.strerror}", "name a new file in a folder that you may write"
        ) from None
    click.echo(f"exported {len(found['people'])} people, {len(found['members'])} members to {file}")
