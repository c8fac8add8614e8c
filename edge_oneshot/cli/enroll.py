"""`edge-oneshot enroll`: enroll one person, from a picture or from the camera."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from edge_oneshot.cli import as_called
from edge_oneshot.cli.common import find_config, json_option, perform, print_json, read_picture
from edge_oneshot.control.requests import Enroll
from edge_oneshot.control.responses import Enrolled
from edge_oneshot.errors import CameraError, ControlError, EnrollmentError


@click.command()
@click.option("--name", required=True, help="Name of the person, as people write it.")
@click.option("--id", "identity_id", help="Identity in topics, [a-z0-9_-]+. Default: made from the name.")
@click.option("--image", type=click.Path(path_type=Path), metavar="FILE", help="Enroll from a picture file.")
@click.option("--camera", metavar="URI", help="Enroll from this camera instead of the configured one.")
@click.option("--replace", "renew", is_flag=True, help="Replace the template of a person who is enrolled already.")
@click.option(
    "--add",
    is_flag=True,
    help="Give a person who is enrolled already one more template, as for the night. The threshold rises with it.",
)
@click.option(
    "--accept-no-rate",
    is_flag=True,
    help="Enroll also a person for whom no error rate can be stated, such as a small child.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 600),
    default=30.0,
    show_default=True,
    help="Seconds to wait for a good frame.",
)
@click.option("--dry-run", is_flag=True, help="Check the capture and name look-alikes; store nothing.")
@json_option
@click.pass_context
def enroll(
    ctx: click.Context,
    name: str,
    identity_id: str | None,
    image: Path | None,
    camera: str | None,
    renew: bool,
    add: bool,
    accept_no_rate: bool,
    timeout: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Enroll a person from one capture. The template is stored; the picture is not.

    The capture must show exactly one face that passes the quality gates. Otherwise nothing is stored, the reasons are
    printed, and the exit code is 4.

    A face that the encoder cannot tell from others, as that of most children up to 8 years, is refused as well, because no
    error rate can be stated for it.
    """
    if image and camera:
        raise click.UsageError("--image and --camera name two sources; give one of them")
    if renew and add:
        raise click.UsageError("--replace removes the present templates and --add keeps them; give one of them")
    config = find_config(ctx)
    if camera:
        # A running daemon owns the configured camera only; this command reads the named one and writes to the gallery.
        config = replace(config, camera=replace(config.camera, uri=camera))
    request = Enroll(
        name=name,
        id=identity_id,
        image=read_picture(image) if image else None,
        source=str(image or "the camera"),
        timeout_s=timeout,
        replace=renew,
        add=add,
        accept_no_rate=accept_no_rate,
        dry_run=dry_run,
    )
    with ways(image is None):
        result = perform(config, request, direct=camera is not None)
    if as_json:
        print_json(result)
        return
    burst = f", template of {result.frames} frames" if result.frames > 1 else ""
    done = "can be enrolled, nothing was stored:" if dry_run else "enrolled"
    click.echo(f"{done} {result.name} as {result.identity}: {describe(result.quality)}{burst}")
    tell(result)


@contextmanager
def ways(from_camera: bool) -> Iterator[None]:
    """If an enrollment fails because no camera works, add the alternatives to the hint."""
    try:
        yield
    except (CameraError, ControlError, EnrollmentError) as e:
        faults = " ".join(map(str, (e.message, *getattr(e, "faults", ()))))
        if from_camera and (isinstance(e, CameraError) or "no frame" in faults):
            e.hint = "; ".join(filter(None, (e.hint, WAYS)))
        raise


WAYS = (
    "or enroll without this camera: from a picture with --image FILE; with another camera with --camera URI (`edge-oneshot "
    "camera list` lists the connected ones, a network camera has rtsp://…); with a phone on the local page (`edge-oneshot web "
    "run`). `edge-oneshot setup --only camera` changes the camera"
)


def tell(result: Enrolled, indent: str = "") -> None:
    """Print what speaks against the enrollment, and what the person can expect."""
    _warn(result)
    for sentence in () if result.forecast is None else result.forecast.sentences:
        click.echo(indent + sentence)


def _warn(result: Enrolled) -> None:
    if result.unlike:
        click.echo(
            f"warning: scores only {result.own_score:.2f} against the templates that {result.identity} had. If the capture "
            "shows another person, remove this person and enroll both again.",
            err=True,
        )
    if result.weak:
        click.echo(
            f"warning: weak template: frames of the same second score only {result.self_score:.2f} against it. "
            "Enroll again with --replace, in better light and holding still.",
            err=True,
        )
    if result.no_rate:
        click.echo(
            f"warning: no error rate can be stated for {result.identity}: other faces of this kind match as well. The match "
            'events carry "rate": "none". Do not open a door for them.',
            err=True,
        )
    near = result.nearest
    unusual = (
        ""
        if near is None or near.cohort_share is None
        else f", higher than {_share(near.cohort_share)} of cohort pairs"
    )
    if like := result.look_alike:
        merge = f"{as_called('edge-oneshot gallery merge')} {result.identity} {like.identity}"
        click.echo(
            f"warning: scores {like.score:.2f} against {like.identity}{unusual}; the threshold is {like.threshold:.2f}: the two "
            f"match each other. If they are one person: {merge}. If they are two people who look alike, a "
            "lower decision.target_fmr or better captures of both may separate them.",
            err=True,
        )
    elif near is not None:
        click.echo(
            f"most similar: {near.identity} with score {near.score:.2f}{unusual}; the threshold is {near.threshold:.2f}",
            err=True,
        )


def _share(value: float) -> str:
    """0.99994 -> "99.99 %". Rounded down, so that it never reads 100 %."""
    percent = 100 * value
    digits = 0 if percent < 99 else 2 if percent < 99.99 else 4
    return f"{int(percent * 10**digits) / 10**digits:.{digits}f} %"


def describe(quality: dict[str, float]) -> str:
    eyes, sharpness, luma = (quality[key] for key in ("inter_eye_px", "sharpness", "luma"))
    size = f"{eyes:.0f} px between the eyes, " if eyes else ""  # a bundle for whole pictures finds no eyes
    return f"{size}sharpness {sharpness:.0f}, brightness {luma:.0f}"
