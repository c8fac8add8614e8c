"""`edge-oneshot calibrate`: thresholds from the user's own camera and people."""

from __future__ import annotations

from pathlib import Path

import click

from edge_oneshot.cli.common import find_config, json_option, print_json
from edge_oneshot.cli.reporting import encode, labels_of, labels_option, workers_option


@click.command(short_help="Measure the thresholds with your own camera and people.")
@click.option(
    "--cohort",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Images of people who will not be enrolled: DIR/Name/Name_0001.jpg.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File to write, for model.cohort.",
)
@click.option("--protocol", default="", help="One sentence that describes the images.")
@labels_option
@workers_option
@json_option
@click.pass_context
def calibrate(
    ctx: click.Context, cohort: Path, out: Path, protocol: str, labels_file: Path | None, workers: int, as_json: bool
) -> None:
    """Measure how high different people score with each other on your camera, for thresholds of your own.

    Only images that pass the gates for enrollment are used: poor templates match strangers more often, and enrollment
    accepts none. The file replaces the thresholds of the model card. With --labels it also contains groups of matched
    strangers: people of the same sex and age band. It contains rates and scores, but no images and no templates. At
    least 20 people are needed; a false match rate of 1 in 1,000 needs some hundreds, and a group that decides the
    threshold needs 200. Lower rates than could be counted are extrapolated, and reported as extrapolated.
    """
    import json

    from edge_oneshot.evaluation.cohort_fit import Sources, fit
    from edge_oneshot.evaluation.dataset import find_images
    from edge_oneshot.evaluation.under_test import UnderTest
    from edge_oneshot.matching.threshold import MIN_GROUP, NO_GROUPS, deciding_groups
    from edge_oneshot.model.card_reader import parse_cohort

    under_test = UnderTest.open(find_config(ctx))
    images = find_images(cohort)
    labels = labels_of(labels_file, images)
    dataset = encode(under_test, images, workers, templates=True)
    protocol = protocol or f"the user's own cohort, {len(dataset.images)} images"
    fitted = fit(Sources(everybody=dataset, labels=labels), under_test.comparator, protocol)
    decides = deciding_groups(parse_cohort(fitted, str(out)))
    part = out.with_name(out.name + ".part")
    text = json.dumps({"encoder_id": dataset.encoder_id, "cohort": fitted}, indent=1, ensure_ascii=False)
    part.write_text(text, encoding="utf-8")
    part.replace(out)
    if as_json:
        print_json(fitted)
        return
    click.echo(
        f"{fitted['identities']} people, {fitted['pictures']} images, {len(dataset.faults)} failures to acquire; FMR counted "
        f"down to {100 * fitted['measured_to_fmr']:.3g} %, extrapolated below"
    )
    for size, limit in zip(fitted["gallery_sizes"], fitted["measured_to_fpir"], strict=True):
        click.echo(f"  {size:5} enrolled: FPIR counted down to {100 * limit:g} %")
    for name, group in fitted.get("groups", {}).items():
        decision = "can decide the threshold" if name in decides else f"does not decide: fewer than {MIN_GROUP} people"
        click.echo(f"  matched strangers, {name}: {group['identities']} people: {decision}")
    if not decides:
        click.echo(NO_GROUPS)
    click.echo(f'wrote {out}; set model.cohort = "{out.resolve()}" in the configuration')
