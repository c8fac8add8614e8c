"""`edge-oneshot setup`: from a bare device to the first enrolled person, one question at a time."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edge_oneshot.errors import EdgeOneshotError

STEPS = ("camera", "broker", "config", "doctor", "service", "enroll", "page")


@click.command()
@click.option("--yes", "-y", is_flag=True, help="Ask no questions: use the options, or else what is found.")
@click.option("--camera", metavar="URI", help="The camera, as in `edge-oneshot camera list`, or rtsp://…")
@click.option("--broker", metavar="HOST[:PORT]", help="The MQTT broker; `off` for none.")
@click.option("--username", help="User name at the broker.")
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File whose first line is the password for the broker; it is copied.",
)
@click.option("--name", help="Name of the first person to enroll.")
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Enroll the person from this picture instead of the camera.",
)
@click.option("--skip", multiple=True, type=click.Choice(STEPS), help="Skip this step; may be repeated.")
@click.option("--only", multiple=True, type=click.Choice(STEPS), help="Run only this step; may be repeated.")
@click.pass_context
def setup(
    ctx: click.Context,
    yes: bool,
    camera: str | None,
    broker: str | None,
    username: str | None,
    password_file: Path | None,
    name: str | None,
    image: Path | None,
    skip: tuple[str, ...],
    only: tuple[str, ...],
) -> int:
    """Set up this device: camera, broker, configuration, service, first person, page.

    Every step can be skipped and repeated. An existing configuration is backed up before it is changed. If a step fails, the
    command prints the reason and continues with the next step; the exit code is then 1. Without the configuration it stops.
    """
    from edge_oneshot.cli.setup_places import Setup, load, show_fault
    from edge_oneshot.cli.setup_steps import DO, TITLES
    from edge_oneshot.config.edit import check_writable

    path = _path(ctx)
    steps = [step for step in STEPS if step not in skip and (not only or step in only)]
    if "config" in steps:
        check_writable(path)  # before the questions
    s = Setup(path, load(path), yes, camera, broker, username, password_file, name, image)
    failed = 0
    for step in steps:
        click.echo(f"\n[{STEPS.index(step) + 1}/{len(STEPS)}] {TITLES[step]}")
        try:
            DO[step](s)
        except EdgeOneshotError as e:
            failed += 1
            show_fault(e)
            if step == "config":
                click.echo(
                    f"  not done, since they need the configuration: {', '.join(steps[steps.index(step) + 1 :])}",
                    err=True,
                )
                break
    click.echo(f"\nfailed steps: {failed}; repeat a step with --only STEP" if failed else "\nsetup is complete")
    return 1 if failed else 0


def _path(ctx: click.Context) -> Path:
    """The file to write: the one that this call names, else that of the system service."""
    from edge_oneshot.config import SYSTEM_DIR

    config_path, instance = ctx.find_root().obj or (None, None)
    named = config_path or (None if instance else os.environ.get("EDGE_ONESHOT_CONFIG"))
    return Path(named) if named else SYSTEM_DIR / f"{instance or 'default'}.toml"
