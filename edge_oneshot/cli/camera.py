"""`edge-oneshot camera`: test and aim a camera, list cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json
from edge_oneshot.cli.conditions import field_of_view_option
from edge_oneshot.cli.enroll import describe
from edge_oneshot.control.codec import to_json
from edge_oneshot.control.requests import Capture

if TYPE_CHECKING:
    from edge_oneshot.config import Config


@click.group()
def camera() -> None:
    """Test and aim the camera."""


@camera.command(short_help="Write one annotated frame to a file.")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Picture to write, .jpg or .png.",
)
@click.option("--camera", "uri", metavar="URI", help="Use this camera instead of the configured one.")
@click.option(
    "--timeout", type=click.FloatRange(0.5, 600), default=10.0, show_default=True, help="Seconds to wait for a frame."
)
@field_of_view_option
@json_option
@click.pass_context
def test(ctx: click.Context, out: Path, uri: str | None, timeout: float, field_of_view: float, as_json: bool) -> None:
    """Write one frame to FILE, annotated with boxes, landmarks, px between the eyes and faults.

    Use it to aim the camera without a screen. It also prints how far this camera recognizes, from a measurement on rendered
    pictures (`evaluate conditions`). If a daemon is running, it takes the frame, since it owns the camera. FILE is readable
    by you alone (mode 0600); no other copy is kept.
    """
    from edge_oneshot.cli.draw import draw, save, verdict

    config = find_config(ctx)
    if uri:
        config = replace(config, camera=replace(config.camera, uri=uri))
    result = perform(config, Capture(timeout_s=timeout), direct=uri is not None)
    save(draw(result.jpeg, result.faces), out)
    predicted, differs = _range(config, result.size[0], field_of_view)
    if as_json:
        fields = to_json(result)
        del fields["jpeg"]
        print_json(fields | {"file": str(out), "range": predicted, "range_measured_with": differs})
        return
    for number, face in enumerate(result.faces, 1):
        click.echo(f"face {number}: {describe(face.quality)}: {'; '.join(verdict(face)) or 'good'}")
    if not result.faces:
        click.echo("no face found: stand in front of the camera, 0.5 to 2 m away, with light on the face")
    for line in predicted:
        click.echo(line)
    if predicted and result.size[0] != (usual := _width(config)):
        click.echo(f"(for frames {result.size[0]} px wide, as this camera delivers them; {usual} px are configured)")
    if differs:
        click.echo(f"(not measured with {', '.join(differs)}: `edge-oneshot evaluate conditions` measures this device)")
    click.echo(f"wrote {out} ({result.size[0]}x{result.size[1]})")


def _width(config: Config) -> int:
    return config.camera.width_px if config.camera.rotation in (0, 180) else config.camera.height_px


def _range(config: Config, width_px: int, field_of_view_deg: float) -> tuple[list[str], list[str]]:
    """(how far a camera with such pictures recognizes, what the shipped measurement had and this configuration has not)."""
    from edge_oneshot.model.bundle import find_bundle, read_bundle
    from edge_oneshot.recognition import reach

    measured = reach.read()
    if measured is None:
        return [], []
    used = read_bundle(find_bundle(config.model.encoder, "encoder")).encoder_id
    return measured.words(width_px, field_of_view_deg), measured.differs(used, config)


@camera.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the cameras of this system with the URI to configure."""
    from edge_oneshot.cameras.found import find_cameras

    found = find_cameras()
    if as_json:
        print_json({"cameras": found})
        return
    for entry in found:
        click.echo(f"{entry['uri']:20} {entry['name']}" + (f" ({entry['note']})" if entry["note"] else ""))
    if not found:
        click.echo("no camera found: check the cable, then run `edge-oneshot doctor`")
