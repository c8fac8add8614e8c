"""`edge-oneshot config`: show, check and print the configuration."""

from __future__ import annotations

import dataclasses

import click

from edge_oneshot.cli.common import find_config, json_option, print_json


@click.group()
def config() -> None:
    """Show and check the configuration."""


@config.command(short_help="Show every key with its value.")
@json_option
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """Show every key with its value, and the paths derived from them. Passwords in them are masked."""
    from edge_oneshot.config import SECTIONS, toml_value
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


@config.command(name="ip-rules", short_help="Print systemd's IP address rules for this configuration.")
@click.pass_context
def ip_rules(ctx: click.Context) -> None:
    """Print a systemd drop-in that allows only the broker, the network camera and the name servers.

    Write it to /etc/systemd/system/edge-oneshot.service.d/ip-rules.conf, run systemctl daemon-reload, and restart the service.
    """
    from edge_oneshot.service.ip_rules import drop_in

    click.echo(drop_in(find_config(ctx)), nl=False)
