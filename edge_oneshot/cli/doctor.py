"""`edge-oneshot doctor`: check everything that the daemon needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from edge_oneshot.cli.common import find_config, json_option, print_json

if TYPE_CHECKING:
    from edge_oneshot.doctor import Finding


@click.command()
@click.option(
    "--timeout",
    type=click.FloatRange(1, 600),
    default=60.0,
    show_default=True,
    help="Seconds allowed for models and camera together.",
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, timeout: float, as_json: bool) -> int:
    """Check configuration, daemon, runtime, models, camera, broker, clock, permissions, disk and power.

    Each line is ok, warning or fault; a line below it gives the fix. Exit code 1 if there is a fault. If a daemon is
    running, it reports on the camera, which it owns. Nothing is changed.
    """
    from edge_oneshot.cli import as_called

    findings = []
    for finding in _examine(ctx, timeout):
        finding = replace(finding, fix=as_called(finding.fix))
        findings.append(finding)
        if not as_json:
            click.echo(f"{finding.status:8} {finding.check:15} {finding.message}")
            if finding.fix:
                click.echo(f"{'':8} {'':15} fix: {finding.fix}")
    count = {status: sum(f.status == status for f in findings) for status in ("fault", "warning", "ok")}
    if as_json:
        print_json(
            {"faults": count["fault"], "warnings": count["warning"], "findings": [f.as_dict() for f in findings]}
        )
    else:
        click.echo(f"{count['fault']} faults, {count['warning']} warnings")
    return 1 if count["fault"] else 0


def _examine(ctx: click.Context, timeout: float) -> Iterator[Finding]:
    from edge_oneshot.doctor import examine, fault, ok
    from edge_oneshot.errors import ConfigError

    try:
        config = find_config(ctx)
    except ConfigError as e:
        yield fault("config", e.message, e.hint or "correct the lines below")
        yield from (fault("config", f, "`edge-oneshot config example` shows every key") for f in e.faults)
        return
    yield ok(
        "config", f"{config.path or 'no file: the defaults'}, instance {config.instance}, device {config.device_slug}"
    )
    yield from examine(config, timeout)
