"""`edge-oneshot calibrate`: the thresholds, fitted to the user's own camera and people."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edge_oneshot.cli.common import find_config, json_option, print_json


@click.command()
@click.option(
    "--cohort",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Pictures of people who will not be enrolled, as DIR/Name/Name_0001.jpg.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file to name in model.cohort.",
)
@click.option("--protocol", default="", help="What the pictures are, in one sentence.")
@click.option("--workers", type=click.IntRange(1, 64), default=os.cpu_count() or 1, show_default=True, help="Threads.")
@json_option
@click.pass_context
def calibrate(ctx: click.Context, cohort: Path, out: Path, protocol: str, workers: int, as_json: bool) -> None:
    """Measure how alike strangers look to your camera, and take the thresholds from that instead of from the model's card.

    The file holds rates and scores, no pictures and no templates. At least 20 people; a rate of 1 in 1,000 comparisons
    needs some hundreds of them, and what was not counted is extrapolated and said to be.
    """
    import json

    from edge_oneshot.cli.evaluate import encode
    from edge_oneshot.evaluation.cohort import fit
    from edge_oneshot.evaluation.dataset import find_pictures
    from edge_oneshot.model.card_reader import parse_cohort
    from edge_oneshot.service.compose import build_encoder

    config = find_config(ctx)
    embedded = encode(find_pictures(cohort), config, workers)
    protocol = protocol or f"the user's own cohort, {len(embedded.pictures)} pictures"
    fitted = fit(embedded, build_encoder(config).card.comparator, protocol)
    parse_cohort(fitted, str(out))
    part = out.with_name(out.name + ".part")
    part.write_text(
        json.dumps({"encoder_id": embedded.encoder_id, "cohort": fitted}, indent=1, ensure_ascii=False),
        encoding="utf-8",
    )
    part.replace(out)
    if as_json:
        print_json(fitted)
        return
    click.echo(
        f"{fitted['identities']} people, {fitted['pictures']} pictures, {len(embedded.faults)} not acquired; counted down to a "
        f"false match rate of {fitted['measured_to_fmr']:g}, extrapolated below"
    )
    for size, limit in zip(fitted["gallery_sizes"], fitted["measured_to_fpir"], strict=True):
        click.echo(f"  {size:5} enrolled: FPIR counted down to {limit:g}")
    click.echo(f'wrote {out}; set model.cohort = "{out.resolve()}" in the configuration')
