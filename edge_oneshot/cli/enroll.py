"""`edge-oneshot enroll`: one person in, from a picture or from the camera."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json, read_picture


@click.command()
@click.option("--name", required=True, help="The person's name, as people write it.")
@click.option("--id", "identity_id", help="Id in topics, [a-z0-9_-]+; without it one is made from the name.")
@click.option("--image", type=click.Path(path_type=Path), metavar="FILE", help="Enroll from a picture file.")
@click.option("--camera", metavar="URI", help="Enroll from another camera than the configured one.")
@click.option("--replace", "renew", is_flag=True, help="Renew the template of somebody who is enrolled already.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 600),
    default=30.0,
    show_default=True,
    help="Seconds to wait for a good frame.",
)
@json_option
@click.pass_context
def enroll(
    ctx: click.Context,
    name: str,
    identity_id: str | None,
    image: Path | None,
    camera: str | None,
    renew: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Enroll a person from one capture. The template is stored, the picture never.

    Exactly one face must be seen, well enough; otherwise nothing is stored and the reasons are told (exit code 4).
    """
    if image and camera:
        raise click.UsageError("--image and --camera name two sources; give one of them")
    config = find_config(ctx)
    arguments: dict[str, Any] = {"name": name, "id": identity_id, "replace": renew, "timeout_s": timeout}
    if image:
        arguments |= {"image": base64.b64encode(read_picture(image)).decode("ascii"), "source": str(image)}
    elif camera:
        # The daemon owns the gallery, but this camera is ours: take the template here and let it go the usual way in.
        config = replace(config, camera=replace(config.camera, uri=camera))
    result = perform(config, "enroll", arguments, direct=camera is not None)
    if as_json:
        print_json(result)
        return
    burst = f", template of {result['frames']} frames" if result.get("frames", 1) > 1 else ""
    click.echo(f"enrolled {result['name']} as {result['identity']}: {_describe(result['quality'])}{burst}")
    if result.get("weak"):
        click.echo(
            f"warning: a weak template: frames of the same second score only {result['self_score']:.2f} against it. "
            "Enroll again with --replace, in better light and holding still.",
            err=True,
        )
    if like := result["look_alike"]:
        click.echo(
            f"warning: scores {like['score']:.2f} against {like['identity']}, your threshold is {like['threshold']:.2f}: "
            "they will be taken for each other. The same person under two names? Then remove one. Two people who look alike? "
            "Then a lower decision.target_fmr, or better captures of both, may tell them apart.",
            err=True,
        )
    elif near := result.get("nearest"):
        unusual = (
            "" if near["cohort_share"] is None else f": higher than {_share(near['cohort_share'])} of cohort pairs"
        )
        click.echo(
            f"most alike: {near['score']:.2f} to {near['identity']}{unusual}; your threshold is {near['threshold']:.2f}",
            err=True,
        )


def _share(value: float) -> str:
    """0.99994 -> "99.99 %": never rounded up to all of them."""
    percent = 100 * value
    digits = 0 if percent < 99 else 2 if percent < 99.99 else 4
    return f"{int(percent * 10**digits) / 10**digits:.{digits}f} %"


def _describe(quality: dict[str, float]) -> str:
    return f"{quality['inter_eye_px']:.0f} px between the eyes, sharpness {quality['sharpness']:.0f}, brightness {quality['luma']:.0f}"
