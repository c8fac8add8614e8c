"""`edge-oneshot run`: the daemon. `reload`: it reads its configuration again. `status`: what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json, start_logging

if TYPE_CHECKING:
    from edge_oneshot.config import Config


@click.command()
@click.option("--camera", metavar="URI", help="Use another camera than the configured one.")
@click.option("--verbose", "-v", is_flag=True, help="Log more.")
@click.pass_context
def run(ctx: click.Context, camera: str | None, verbose: bool) -> int:
    """Run the daemon: recognise continuously and publish events over MQTT.

    Ends on SIGTERM or Ctrl-C, or when a video or folder is over.
    """
    from edge_oneshot.service.compose import run_daemon

    start_logging(verbose)

    def load() -> Config:
        config = find_config(ctx)
        return replace(config, camera=replace(config.camera, uri=camera)) if camera else config

    return run_daemon(load)


@click.command()
@json_option
@click.pass_context
def reload(ctx: click.Context, as_json: bool) -> None:
    """Make the running daemon read gallery and configuration again.

    What is under [quality] and [decision], and model.cohort, changes at once; other keys are named that need a restart.
    A faulty file is refused with exit code 78, and the daemon goes on as it was.
    """
    r = perform(find_config(ctx), "reload", {})
    if as_json:
        print_json(r)
        return
    for key, values in r["changed"].items():
        click.echo(f"{key}: {values['now']} (was {values['before']})")
    if r["restart_needed"]:
        click.echo(f"a restart is needed for {', '.join(r['restart_needed'])}")
    click.echo(f"read: {r['gallery']['identities']} people, threshold {r['threshold']:.3f}")


@click.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show what the running daemon does."""
    s = perform(find_config(ctx), "status", {})
    if as_json:
        print_json(s)
        return
    present = ", ".join(s["present"]["identities"]) or "nobody known"
    click.echo(
        f"{s['device']} ({s['instance']}): {s['state']}, up {s['uptime_s']:.0f} s, {s['frames']} frames, {s['fps'] or 0:.1f} per second"
    )
    click.echo(f"in sight: {present}, {s['present']['unknown']} unknown")
    click.echo(
        f"gallery: {s['gallery']['identities']} people, threshold {s['threshold']:.3f} ({s['accepted']}); broker: {s['broker'] or 'off'}; "
        f"outbox: {s['outbox']['depth']} waiting"
    )
    for stage, ms in s["stages_ms"].items():
        click.echo(f"  {stage:8} p50 {ms['p50']:7.2f} ms   p95 {ms['p95']:7.2f} ms")
