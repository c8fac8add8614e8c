"""`edge-oneshot config`: show, check and print the configuration."""

from __future__ import annotations

import dataclasses

import click

from edge_oneshot.cli.common import find_config, json_option, print_json
from edge_oneshot.config import toml_value
from edge_oneshot.config.edit import value_of
from edge_oneshot.control.client import ask
from edge_oneshot.control.requests import Reload


@click.group()
def config() -> None:
    """Show and check the configuration."""


@config.command(short_help="Show every key with its value.")
@json_option
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """Show every key with its value, and the paths derived from them. Passwords in them are masked."""
    from edge_oneshot.config import SECTIONS
    from edge_oneshot.shown import redact_uri

    c = find_config(ctx)
    sections = {name: dataclasses.asdict(getattr(c, name)) for name in SECTIONS}
    for keys in sections.values():
        keys.update({key: redact_uri(value) for key, value in keys.items() if isinstance(value, str)})
    derived = {
        "file": str(c.path or "(defaults)"),
        "instance": c.instance,
        "device": c.device_slug,
        "accepted": c.decision.stated,
        "gallery": str(c.gallery_path),
        "outbox": str(c.outbox_path),
        "key": str(c.key_path),
        "socket": str(c.socket_path),
    }
    if as_json:
        print_json({"derived": derived, **sections})
        return
    for key, value in derived.items():
        click.echo(f"# {key}: {value}")
    for section, keys in sections.items():
        click.echo(f"\n[{section}]")
        for key, value in keys.items():
            click.echo(f"# {key}: not set" if value is None else f"{key} = {toml_value(value)}")


@config.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Check the configuration. Lists every fault, with exit code 78."""
    c = find_config(ctx)
    click.echo(f"{c.path or 'the defaults'}: no fault")


@config.command(short_help="Print a complete configuration file.")
def example() -> None:
    """Print a complete configuration file: every key with its default and meaning."""
    from edge_oneshot.config import example_toml

    click.echo(example_toml(), nl=False)


@config.command(name="set", short_help="Change keys in the file, and reload.")
@click.argument("settings", nargs=-1, required=True, metavar="SECTION.KEY=VALUE…")
@click.pass_context
def set_(ctx: click.Context, settings: tuple[str, ...]) -> None:
    """Change keys of the configuration file, and make the running daemon read it, such as visits.picture_days=3.

    The file keeps its comments and its order, and the file before is kept as a backup. If the daemon refuses the configuration, the
    file is as it was. VALUE is as in the file; quotes around a text may be left out.
    """
    from edge_oneshot.config.edit import change_config, check_writable
    from edge_oneshot.errors import ConfigError

    c = find_config(ctx)
    if c.path is None:
        raise ConfigError("there is no configuration file to change", "make one: edge-oneshot setup")
    check_writable(c.path)
    backup, answer = change_config(
        c.path, dict(map(_setting, settings)), lambda: ask(c.socket_path, Reload(), lambda text: None)
    )
    click.echo(f"wrote {c.path}; the previous file is {backup}")
    if answer is None:
        click.echo("no daemon is running: it is used from the next start on")
        return
    for key, change in answer.changed.items():
        click.echo(f"in use: {key} = {toml_value(change.now)} (was {toml_value(change.before)})")
    if answer.restart_needed:
        click.echo(f"in use after a restart: {', '.join(answer.restart_needed)}")


def _setting(text: str) -> tuple[tuple[str, str], object]:
    """((section, key), value) of SECTION.KEY=VALUE. Whether there is such a key, and such a value, the reader of the file says."""
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section.isidentifier() and key.isidentifier()):
        raise click.UsageError(f"expected SECTION.KEY=VALUE, got {text!r}")
    return (section, key), value_of(value)


@config.command(name="ip-rules", short_help="Print systemd's IP address rules for this configuration.")
@click.pass_context
def ip_rules(ctx: click.Context) -> None:
    """Print a systemd drop-in that allows only the broker, the network camera and the name servers.

    Write it to /etc/systemd/system/edge-oneshot.service.d/ip-rules.conf, run systemctl daemon-reload, and restart the service.
    """
    from edge_oneshot.service.ip_rules import drop_in

    click.echo(drop_in(find_config(ctx)), nl=False)
