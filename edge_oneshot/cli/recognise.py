"""`edge-oneshot verify` (1:1) and `identify` (1:N) on a picture."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json, read_picture
from edge_oneshot.errors import EXIT_NON_MATCH

image_option = click.option(
    "--image", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The probe: a picture file."
)


@click.command()
@click.option("--name", required=True, help="Name or id of the claimed person.")
@image_option
@json_option
@click.pass_context
def verify(ctx: click.Context, name: str, image: Path, as_json: bool) -> int:
    """Compare a picture with one enrolled person (1:1).

    Exit code 0: match; 3: non-match; 6: the picture holds no usable face.
    """
    result = _ask(ctx, "verify", image, {"name": name})
    if as_json:
        print_json(result)
    else:
        word = "match" if result["decision"] == "match" else "no match"
        click.echo(f"{word}: {result['name']}, {_scores(result)}")
    return 0 if result["decision"] == "match" else EXIT_NON_MATCH


@click.command()
@image_option
@json_option
@click.pass_context
def identify(ctx: click.Context, image: Path, as_json: bool) -> int:
    """Find out who a picture shows, or that it is nobody enrolled (1:N, open-set).

    Exit code 0: somebody enrolled; 3: unknown; 6: the picture holds no usable face.
    """
    result = _ask(ctx, "identify", image, {})
    if as_json:
        print_json(result)
    elif result["identity"] is None:
        click.echo(
            f"unknown: {_scores(result)}"
            if result["score"] is not None
            else "unknown: nobody is enrolled with this encoder"
        )
    else:
        click.echo(f"{result['name']} ({result['identity']}): {_scores(result)}")
    # A daemon of an earlier release, still running, does not tell.
    if not as_json and (foreign := result.get("templates_of_another_encoder", 0)):
        click.echo(
            f"not compared: {foreign} template(s) of another encoder; `edge-oneshot gallery check` says whose", err=True
        )
    return 0 if result["identity"] is not None else EXIT_NON_MATCH


def _ask(ctx: click.Context, verb: str, image: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    probe = {"image": base64.b64encode(read_picture(image)).decode("ascii"), "source": str(image)}
    return perform(find_config(ctx), verb, arguments | probe)


def _scores(result: dict[str, Any]) -> str:
    text = f"score {result['score']:.3f}, threshold {result['threshold']:.3f}"
    if result["same_probability"] is not None:
        text += f", same probability {result['same_probability']:.4f}"
    return text
