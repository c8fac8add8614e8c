"""`edge-oneshot evaluate conditions`: who is recognized at which distance, in which light, and behind what."""

from __future__ import annotations

from pathlib import Path

import click

from edge_oneshot.cli.common import find_config, progress
from edge_oneshot.cli.reporting import common, labels_of, labels_option, output
from edge_oneshot.recognition.reach import FIELD_OF_VIEW_DEG

field_of_view_option = click.option(
    "--field-of-view",
    type=click.FloatRange(10, 170),
    default=FIELD_OF_VIEW_DEG,
    show_default=True,
    metavar="DEG",
    help="Horizontal field of view of the camera's picture, for distances in metres.",
)


@click.command(short_help="Range: recognition by distance, light, blur and cover.")
@click.option(
    "--conditions",
    "names",
    default="",
    metavar="LIST",
    help="Conditions or families of conditions to render, such as eyes-18,light; all if left out.",
)
@click.option("--people", type=click.IntRange(2), metavar="N", help="Render so many people; the others are strangers.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random choice of people and images.")
@click.option("--threshold", type=float, metavar="SCORE", help="Report the rates at this score, too.")
@field_of_view_option
@click.option(
    "--frames",
    "frames_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep what was measured in this .npz file, and continue from it. It holds embeddings: biometric data.",
)
@click.option(
    "--range",
    "range_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the table that `camera test` predicts the range from.",
)
@labels_option
@common
def conditions(
    ctx: click.Context,
    images: Path,
    names: str,
    people: int | None,
    seed: int,
    threshold: float | None,
    field_of_view: float,
    frames_file: Path | None,
    range_file: Path | None,
    labels_file: Path | None,
    workers: int,
    html_file: Path | None,
    as_json: bool,
) -> None:
    """Render people at given distances, in little light, blurred, turned, cut and covered, and count who is recognized.

    Each person has one reference, an image that passes the gates for enrollment; another image is rendered into frames of
    640x480. People with one image are strangers. --config FILE tries other gates, detectors or encoders.
    """
    from edge_oneshot.evaluation.conditions import catalogue, range_table, session
    from edge_oneshot.evaluation.dataset import find_images
    from edge_oneshot.evaluation.reports import conditions as report
    from edge_oneshot.evaluation.under_test import UnderTest

    under_test = UnderTest.open(find_config(ctx))
    found = find_images(images)
    labels = labels_of(labels_file, found)
    test = session.Session(
        under_test, found, catalogue.chosen(names), people=people, seed=seed, frames_file=frames_file
    )
    with progress(len(test.tasks), "people") as done:
        test.run(workers, done)
    result = test.measure(threshold, field_of_view, labels)
    if range_file is not None:
        range_table.write(result, range_file)
    output(result, as_json, html_file, lambda: report.page(result), report.lines)
