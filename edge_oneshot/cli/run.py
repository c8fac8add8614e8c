"""`edge-oneshot run`, `reload`, `pause`, `resume` and `status`: start the daemon, and control it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from edge_oneshot.cli.common import (
    adaptation_words,
    door_words,
    find_config,
    json_option,
    perform,
    print_json,
    start_logging,
    trend_words,
    words,
)
from edge_oneshot.control import requests as rq
from edge_oneshot.errors import EXIT_CONFIG, ModelError, ModelUnchecked

if TYPE_CHECKING:
    from edge_oneshot.config import Config


@click.command()
@click.option("--camera", metavar="URI", help="Use this camera instead of the configured one.")
@click.option("--verbose", "-v", is_flag=True, help="Log more.")
@click.pass_context
def run(ctx: click.Context, camera: str | None, verbose: bool) -> int:
    """Run the daemon: recognize continuously and publish events over MQTT.

    It ends on SIGTERM or Ctrl-C, or at the end of a video or folder.
    """
    from edge_oneshot.service.compose import run_daemon

    start_logging(verbose)

    def load() -> Config:
        config = find_config(ctx)
        return replace(config, camera=replace(config.camera, uri=camera)) if camera else config

    try:
        return run_daemon(load)
    except ModelError as e:
        if not isinstance(e, ModelUnchecked):
            e.exit_code = EXIT_CONFIG  # a restart would not help
        raise


@click.command()
@json_option
@click.pass_context
def reload(ctx: click.Context, as_json: bool) -> None:
    """Make the running daemon read the gallery and the configuration again.

    Keys of [quality], [enrollment] and [decision], and model.cohort, change at once; for other changed keys a restart is needed, and
    they are listed. A configuration with a fault is refused with exit code 78, and nothing changes.
    """
    r = perform(find_config(ctx), rq.Reload())
    if as_json:
        print_json(r)
        return
    for key, values in r.changed.items():
        click.echo(f"{key}: {values.now} (was {values.before})")
    if r.restart_needed:
        click.echo(f"a restart is needed for {', '.join(r.restart_needed)}")
    click.echo(f"read: {r.gallery.identities} people, threshold {r.threshold:.3f}")


@click.command()
@json_option
@click.pass_context
def pause(ctx: click.Context, as_json: bool) -> None:
    """Pause recognition until `edge-oneshot resume`, or until the daemon is restarted.

    The daemon keeps running, answers requests, and publishes no event.
    """
    _pause(ctx, rq.Pause(), as_json)


@click.command()
@json_option
@click.pass_context
def resume(ctx: click.Context, as_json: bool) -> None:
    """Resume recognition after `edge-oneshot pause`."""
    _pause(ctx, rq.Resume(), as_json)


def _pause(ctx: click.Context, request: rq.Pause | rq.Resume, as_json: bool) -> None:
    r = perform(find_config(ctx), request)
    if as_json:
        print_json(r)
    else:
        click.echo("recognition is paused" if r.paused else "recognition is running")


@click.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Report the state of the running daemon."""
    s = perform(find_config(ctx), rq.Status())
    if as_json:
        print_json(s)
        return
    present = ", ".join([*s.present.identities, *(f"{i} (denied)" for i in s.present.denied)]) or "no enrolled person"
    click.echo(
        f"{s.device} ({s.instance}): {s.state}, up {s.uptime_s:.0f} s, {s.frames} frames, {s.fps or 0:.1f} per second"
    )
    click.echo(f"in sight: {present}, {s.present.unknown} unknown")
    sealed = "sealed" if s.sealed else "not sealed (edge-oneshot gallery seal)"
    click.echo(
        f"gallery: {s.gallery.identities} people, {sealed}, threshold {s.threshold:.3f} ({s.accepted}); "
        f"broker: {s.broker or 'off'}; outbox: {s.outbox.depth} waiting"
    )
    if s.rate is not None:
        click.echo(f"stated: {words(s.rate)}")
    if s.door is not None:
        click.echo(door_words(s.door, s.rate))
    if s.adaptation is not None:
        click.echo(adaptation_words(s.adaptation))
    if s.trends is not None:
        click.echo(trend_words(s.trends))
    for stage, ms in s.stages_ms.items():
        click.echo(f"  {stage:8} p50 {ms.p50:7.2f} ms   p95 {ms.p95:7.2f} ms")
