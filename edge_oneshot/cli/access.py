"""`edge-oneshot access`: when and where people are allowed."""

from __future__ import annotations

from typing import Any

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json
from edge_oneshot.control import requests as rq
from edge_oneshot.control.parts import PersonSummary

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@click.group()
def access() -> None:
    """Say when and where a person is reported as a match. Without rules a person is allowed everywhere and always.

    A person who is recognized and not allowed is reported as denied. Times are local times of the device.
    """


def _days(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    """ "mon-fri", "sat,sun", "fri-mon" -> names of days, in the order of the week."""
    if value is None:
        return None
    chosen: set[str] = set()
    for part in value.lower().replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise click.BadParameter(f"expected days such as mon-fri or sat,sun, got {value!r}", ctx, param)
        start, end = DAYS.index(first), DAYS.index(last or first)
        chosen.update(DAYS[(start + i) % 7] for i in range((end - start) % 7 + 1))
    return [day for day in DAYS if day in chosen]


def _times(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[dict[str, str]]:
    """ "08:00-18:00" -> a window; "22:00-06:00" ends on the next day."""
    found = []
    for value in values:
        start, dash, end = value.replace(" ", "").partition("-")
        if not (dash and start and end):
            raise click.BadParameter(f"expected a time such as 08:00-18:00, got {value!r}", ctx, param)
        found.append({"from": start, "to": end})
    return found


@access.command("set")
@click.argument("name")
@click.option("--from", "since", metavar="DATE", help="First day, or a time with its offset from UTC (RFC 3339).")
@click.option("--until", metavar="DATE", help="Last day, or a time with its offset from UTC (RFC 3339).")
@click.option("--doors", metavar="NAMES", help="Doors and groups of doors, separated by commas. Without: all doors.")
@click.option(
    "--days", callback=_days, metavar="DAYS", help="Days of the week: mon-fri, or sat,sun. Without: all days."
)
@click.option(
    "--time",
    "times",
    multiple=True,
    callback=_times,
    metavar="HH:MM-HH:MM",
    help="Time of day, on each of the days; 22:00-06:00 ends on the next day. Repeatable. Without: the whole day.",
)
@json_option
@click.pass_context
def set_(
    ctx: click.Context,
    name: str,
    since: str | None,
    until: str | None,
    doors: str | None,
    days: list[str] | None,
    times: list[dict[str, str]],
    as_json: bool,
) -> None:
    """Replace the access rules of a person. NAME is a name or an identity. They are in force at once."""
    rules: dict[str, Any] = {}
    if since:
        rules["from"] = since
    if until:
        rules["until"] = until
    if doors:
        rules["doors"] = [door for door in doors.replace(",", " ").split() if door]
    if days or times:
        rules["times"] = [{**({"days": days} if days else {}), **window} for window in times or [{}]]
    if not rules:
        raise click.UsageError(
            "give at least one of --from, --until, --doors, --days, --time; `access clear` ends all rules"
        )
    _perform(ctx, name, rules, as_json)


@access.command()
@click.argument("name")
@json_option
@click.pass_context
def clear(ctx: click.Context, name: str, as_json: bool) -> None:
    """End the access rules of a person, who is then allowed everywhere and always. NAME is a name or an identity."""
    _perform(ctx, name, {}, as_json)


def _perform(ctx: click.Context, name: str, rules: dict[str, Any], as_json: bool) -> None:
    done = perform(find_config(ctx), rq.SetAccess(name=name, access=rules))
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.name} ({done.identity}): {words(done.access)}{_now(done.denied)}")


@access.command()
@click.argument("name", required=False)
@json_option
@click.pass_context
def show(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Show the access rules of a person, or of all people who have some, and whether they are allowed here now."""
    config = find_config(ctx)
    if name is not None:
        people: list[PersonSummary] = [perform(config, rq.Show(name=name))]
    else:
        people = [p for p in perform(config, rq.List()).identities if p.access]
    if as_json:
        keys = ("identity", "name", "access", "denied")
        print_json([{key: getattr(p, key) for key in keys} for p in people])
        return
    for p in people:
        click.echo(f"{p.identity:20} {p.name:24} {words(p.access)}{_now(p.denied)}")
    if not people:
        click.echo("no person has access rules: all are allowed everywhere and always", err=True)


def _now(denied: str | None) -> str:
    from edge_oneshot.types import Denied

    return "" if denied is None else f"; denied here now: {Denied(denied).words}"


def words(rules: dict[str, Any] | None) -> str:
    """Access rules in one line."""
    if not rules:
        return "everywhere and always"
    if not rules.keys() <= {"from", "until", "doors", "times"}:
        return "rules that this release cannot read"
    parts = [f"{key} {rules[key]}" for key in ("from", "until") if key in rules]
    parts += [f"at {', '.join(rules['doors'])}"] if "doors" in rules else []
    parts += [f"{_span(w['days'])} {w['from']}-{w['to']}" for w in rules.get("times", [])]
    return "; ".join(parts)


def _span(days: list[str]) -> str:
    """Days in a row as mon-fri."""
    first = DAYS.index(days[0])
    if len(days) > 2 and tuple(days) == DAYS[first : first + len(days)]:
        return f"{days[0]}-{days[-1]}"
    return ",".join(days)
