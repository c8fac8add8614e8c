"""`edge-oneshot verify` (1:1) and `identify` (1:N) on a picture; `confirm`, the second factor of a match."""

from __future__ import annotations

from pathlib import Path

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json, read_picture
from edge_oneshot.control import requests as rq
from edge_oneshot.control.responses import Compared
from edge_oneshot.errors import EXIT_NON_MATCH

image_option = click.option(
    "--image", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The probe: a picture file."
)


@click.command()
@click.option("--name", required=True, help="Name or identity of the claimed person.")
@image_option
@json_option
@click.pass_context
def verify(ctx: click.Context, name: str, image: Path, as_json: bool) -> int:
    """Compare a picture with one enrolled person (1:1).

    Exit code 0: match; 3: non-match, or denied (`edge-oneshot access`); 6: the picture holds no usable face.
    """
    result = perform(find_config(ctx), rq.Verify(name=name, image=read_picture(image), source=str(image)))
    matched = result.decision == "match"
    if as_json:
        print_json(result)
    else:
        click.echo(f"{'match' if matched else _denied(result) or 'non-match'}: {result.name}, {_scores(result)}")
    return 0 if matched else EXIT_NON_MATCH


@click.command()
@image_option
@json_option
@click.pass_context
def identify(ctx: click.Context, image: Path, as_json: bool) -> int:
    """Compare a picture with every enrolled person (1:N, open-set).

    Exit code 0: match; 3: unknown, or denied (`edge-oneshot access`); 6: the picture holds no usable face.
    """
    result = perform(find_config(ctx), rq.Identify(image=read_picture(image), source=str(image)))
    if as_json:
        print_json(result)
    elif result.denied is not None:
        click.echo(f"{_denied(result)}: {result.denied.name} ({result.denied.identity}), {_scores(result)}")
    elif result.identity is not None:
        click.echo(f"{result.name} ({result.identity}): {_scores(result)}")
    elif result.score is not None:
        click.echo(f"unknown: {_scores(result)}")
    else:
        click.echo("unknown: the gallery holds no template that can be compared")
    if not as_json and (foreign := result.templates_of_another_encoder):
        click.echo(
            f"not compared: {foreign} template(s) of an unknown encoder; `edge-oneshot gallery check` lists their owners",
            err=True,
        )
    return 0 if result.decision == "match" else EXIT_NON_MATCH


@click.command()
@click.argument("name")
@click.option(
    "--by", default="command", show_default=True, help="What confirmed the match, for the event: phone, tag, button."
)
@json_option
@click.pass_context
def confirm(ctx: click.Context, name: str, by: str, as_json: bool) -> None:
    """Confirm a match of NAME with a second factor. NAME is a name or an identity.

    The daemon publishes a `confirmed` event if it has matched the person within decision.second_factor_s. Otherwise the
    confirmation waits as long for the match.
    """
    result = perform(find_config(ctx), rq.Confirm(name=name, by=by))
    if as_json:
        print_json(result)
    elif result.denied is not None:
        from edge_oneshot.types import Denied

        click.echo(f"{result.name} ({result.identity}) is denied: {Denied(result.denied).words}; nothing was confirmed")
    elif result.confirmed:
        click.echo(f"confirmed: {result.name} ({result.identity})")
    else:
        click.echo(
            f"{result.name} ({result.identity}) is not matched yet; the confirmation is valid for {result.within_s:g} s"
        )


def _denied(result: Compared) -> str:
    from edge_oneshot.types import Denied

    return "" if result.denied is None else f"denied ({Denied(result.denied.reason).words})"


def _scores(result: Compared) -> str:
    text = f"score {result.score:.3f}, threshold {result.threshold:.3f}"
    if result.same_probability is not None:
        text += f", same probability {result.same_probability:.4f}"
    if result.no_rate:
        text += "; no error rate can be stated for this person"
    return text
