"""`edge-oneshot camera`: what it sees, and which ones there are."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json


@click.group()
def camera() -> None:
    """Test and aim the camera."""


@camera.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Picture to write, .jpg or .png.",
)
@click.option("--camera", "uri", metavar="URI", help="Another camera than the configured one.")
@click.option(
    "--timeout", type=click.FloatRange(0.5, 600), default=10.0, show_default=True, help="Seconds to wait for a frame."
)
@json_option
@click.pass_context
def test(ctx: click.Context, out: Path, uri: str | None, timeout: float, as_json: bool) -> None:
    """Take one frame and write it to FILE with what was found in it: boxes, landmarks, px between the eyes, faults.

    For aiming without a screen. A running daemon takes the frame, since it owns the camera. The picture is written
    for you alone (0600) and kept nowhere else.
    """
    from edge_oneshot.cli.draw import draw, save

    config = find_config(ctx)
    if uri:
        config = replace(config, camera=replace(config.camera, uri=uri))
    result = perform(config, "snapshot", {"timeout_s": timeout}, direct=uri is not None)
    save(draw(base64.b64decode(result.pop("jpeg")), result["faces"], config.quality.min_inter_eye_px), out)
    if as_json:
        print_json(result | {"file": str(out)})
        return
    for number, face in enumerate(result["faces"], 1):
        click.echo(f"face {number}: {_measures(face['quality'])}: {'; '.join(face['faults']) or 'good'}")
    if not result["faces"]:
        click.echo("no face found: somebody should stand before the camera, 0.5 to 2 m away, with light on the face")
    click.echo(f"wrote {out} ({result['size'][0]}x{result['size'][1]})")


def _measures(quality: dict[str, float]) -> str:
    return f"{quality['inter_eye_px']:.0f} px between the eyes, sharpness {quality['sharpness']:.0f}, brightness {quality['luma']:.0f}"


@camera.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the cameras that this system shows, with the URI to configure."""
    from edge_oneshot.cameras.found import find_cameras

    found = find_cameras()
    if as_json:
        print_json({"cameras": found})
        return
    for entry in found:
        click.echo(f"{entry['uri']:20} {entry['name']}" + (f" ({entry['note']})" if entry["note"] else ""))
    if not found:
        click.echo("no camera found: check the cable, and `edge-oneshot doctor`")
