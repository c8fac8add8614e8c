"""`edge-oneshot support-report`: what the maintainers need to find a fault, without personal data."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("support-report")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--timeout",
    type=click.FloatRange(1, 600),
    default=60.0,
    show_default=True,
    help="Seconds allowed for models and camera together.",
)
@click.pass_context
def support_report(ctx: click.Context, file: Path, timeout: float) -> None:
    """Write FILE, a tar archive (gzip) that can be attached to a report of a fault. An existing file is never replaced.

    It holds versions, the configuration without texts, the output of `doctor`, the state of the daemon with its trends, counts of
    the last tracks, the log of the service without its values, sizes and modes of files, and the ids of the models. It holds no
    template, name, identity, address, secret or picture. Without a daemon it opens the camera, as `doctor` does.
    """
    from edge_oneshot.cli.common import find_config
    from edge_oneshot.doctor.support import collect, create, reserve
    from edge_oneshot.errors import ConfigError

    with reserve(file) as out:
        config, faults = None, None
        try:
            config = find_config(ctx)
        except ConfigError as e:
            faults = e
        parts = collect(config, faults, timeout, lambda text: click.echo(text, err=True))
        create(out, parts)
    click.echo(f"wrote {file}: {', '.join(parts)}")
