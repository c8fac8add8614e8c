"""`edge-oneshot evaluate door`: this door's error rates, from what people said about visits."""

from __future__ import annotations

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json
from edge_oneshot.control.requests import DoorRates
from edge_oneshot.control.review import LabelledRate


@click.command(short_help="This door's error rates, from answers about visits.")
@json_option
@click.pass_context
def door(ctx: click.Context, as_json: bool) -> None:
    """State this door's error rates per visit, from answers about randomly drawn visits (`edge-oneshot visits label`).

    Only drawn visits count: people correct errors more often than they confirm what is right.
    """
    r = perform(find_config(ctx), DoorRates())
    if as_json:
        print_json(r)
        return
    _print("visits by strangers that matched", r.false_match)
    _print("visits by enrolled people that were missed", r.missed)
    _print("  of these, reported as another person", r.wrong_name)
    click.echo(f"sample: {r.answered} of {r.asked} recorded visits have an answer; {r.unclear} cannot be told")
    click.echo(f"outside the sample, in no rate: {r.outside} answers, {r.outside_errors} wrong results")


def _print(what: str, r: LabelledRate) -> None:
    rate = (
        "no answers"
        if r.rate is None
        else f"{100 * r.rate:.3g} % (95 % interval {100 * r.low:.3g} to {100 * r.high:.3g} %)"
    )
    claim = "" if r.claimed is None else f"; stated, of one picture: {100 * r.claimed:.3g} %"
    needed = "" if r.needed is None else f": {r.needed} visits are needed to check the stated rate"
    few = "" if r.enough else f"; too few answers{needed}"
    click.echo(f"{what}: {r.errors} of {r.visits}: {rate}{claim}{few}")
