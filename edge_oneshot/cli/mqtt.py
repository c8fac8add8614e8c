"""`edge-oneshot mqtt`: test the broker with the daemon's credentials, make signing keys, remove retained topics."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from edge_oneshot.cli.common import find_config, json_option, print_json


@click.group()
def mqtt() -> None:
    """Test the broker, make signing keys, remove retained topics."""


@mqtt.command(short_help="Test what the broker's ACL allows.")
@click.option(
    "--protocol", type=click.Choice(["auto", "5", "3.1.1"]), help="MQTT version. Default: from the configuration."
)
@click.option("--watch-username", metavar="NAME", help="An account that may subscribe, if the daemon's may not.")
@click.option("--watch-password-file", metavar="FILE", help="File whose first line is its password.")
@json_option
@click.pass_context
def test(
    ctx: click.Context,
    /,
    protocol: str | None,
    watch_username: str | None,
    watch_password_file: str | None,
    as_json: bool,
) -> None:
    """Test connect, will, subscribe and publish, and report what the broker's ACL forbids.

    No message that it sends can open a door. Exit code 1 if a step is forbidden.
    """
    from edge_oneshot.errors import BrokerRefused
    from edge_oneshot.mqtt.walk import walk

    config = find_config(ctx)
    broker = dataclasses.replace(config.mqtt, protocol=protocol or config.mqtt.protocol)
    watch = None
    if watch_username:
        watch = dataclasses.replace(
            broker, username=watch_username, password_file=watch_password_file or "", cert_file="", key_file=""
        )
    steps: list[dict[str, Any]] = []
    for step in walk(broker, config.device_slug, watch):
        steps.append(dataclasses.asdict(step))
        if not as_json:
            mark = {True: "ok", False: "FAIL", None: "?"}[step.ok]
            click.echo(f"{mark:5}{step.name:10}{step.detail}")
            if step.fix:
                click.echo(f"{'':15}{step.fix}")
    if as_json:
        print_json(steps)
    failed = [step for step in steps if step["ok"] is False]
    if failed:
        raise BrokerRefused(f"{len(failed)} of {len(steps)} steps failed", "see the lines above")


@mqtt.command(short_help="Remove every retained topic of this device.")
@click.option("--device", metavar="SLUG", help="Another device than the configured one.")
@click.option("--force", is_flag=True, help="Even if a daemon reports that it is online.")
@json_option
@click.pass_context
def unpublish(ctx: click.Context, /, device: str | None, force: bool, as_json: bool) -> None:
    """Remove every retained topic of this device from the broker, including Home Assistant discovery.

    That includes topics of an earlier slug, prefix or discovery prefix, which the outbox remembers.
    """
    from edge_oneshot.mqtt.topics import slug
    from edge_oneshot.mqtt.unpublish import unpublish as clear
    from edge_oneshot.service.compose import unpublish_own

    config = find_config(ctx)
    try:
        name = slug("--device", device) if device else config.device_slug
    except ValueError as e:
        raise click.UsageError(str(e)) from None
    cleared = clear(config.mqtt, name, force=force) if device else unpublish_own(config, force=force)
    if as_json:
        print_json({"device": name, "cleared": cleared})
    else:
        click.echo("\n".join([*cleared, f"{len(cleared)} retained topics removed"]))


@mqtt.command("new-key", short_help="Make a key to sign events.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--alg",
    type=click.Choice(["hmac", "ed25519"]),
    default="hmac",
    show_default=True,
    help="hmac: one secret for device and consumers. ed25519: consumers get FILE.pub only.",
)
def new_key(file: Path, alg: str) -> None:
    """Make a key to sign events, for mqtt.sign_key_file and `edge-oneshot verify-event`."""
    from edge_oneshot.errors import ConfigError
    from edge_oneshot.events import signing

    key = signing.new_key(alg)
    public = key.public()
    try:
        signing.write_key(file, key)
        if public is not key:
            signing.write_key(Path(f"{file}.pub"), public)
    except OSError as e:
        raise ConfigError(
            f"cannot write {e.filename}: {e.strerror}", "name a new file in a folder that you may write"
        ) from None
    click.echo(f"{file}: for the device (mqtt.sign_key_file); key id {key.key_id}")
    click.echo(
        f"{file}.pub: for consumers (verify-event --key)"
        if public is not key
        else "consumers need the same file: keep it secret"
    )
