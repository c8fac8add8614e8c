"""`edge-oneshot evaluate`: error rates on labelled images and videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_oneshot.cli.common import find_config, json_option, progress
from edge_oneshot.cli.conditions import conditions
from edge_oneshot.cli.evaluate_door import door
from edge_oneshot.cli.reporting import common, encode, html_option, labels_of, labels_option, output

if TYPE_CHECKING:
    from edge_oneshot.evaluation.reports.html import Page


@click.group(short_help="Measure error rates on labelled images and videos.")
def evaluate() -> None:
    """Measure error rates on labelled images and videos, with the recognition path of the daemon."""


evaluate.add_command(conditions)
evaluate.add_command(door)


@evaluate.command(short_help="1:1: error rates of pairs of images.")
@click.option(
    "--pairs",
    "pairs_file",
    required=True,
    metavar="FILE|all",
    help="File with the pairs, in the format of LFW's pairs.txt; or `all`, for all pairs of images.",
)
@labels_option
@common
def verification(
    ctx: click.Context,
    images: Path,
    pairs_file: str,
    labels_file: Path | None,
    workers: int,
    html_file: Path | None,
    as_json: bool,
) -> None:
    """Compare pairs of images (1:1): accuracy, equal error rate, and true accept rates at fixed false match rates."""
    from edge_oneshot.evaluation import strangers
    from edge_oneshot.evaluation import verification as evaluation
    from edge_oneshot.evaluation.comparisons import all_comparisons, only_used, read_pairs_file, score_comparisons
    from edge_oneshot.evaluation.dataset import find_images
    from edge_oneshot.evaluation.reports import verification as report
    from edge_oneshot.evaluation.under_test import UnderTest

    under_test = UnderTest.open(find_config(ctx))
    found = find_images(images)
    labels = labels_of(labels_file, found)
    comparisons = all_comparisons(found) if pairs_file == "all" else read_pairs_file(Path(pairs_file), found)
    found, comparisons = only_used(found, comparisons)
    dataset = encode(under_test, found, workers)
    scores = score_comparisons(dataset, comparisons, under_test.comparator)
    result = evaluation.measure(dataset, comparisons, scores, under_test.threshold)
    if labels is not None:
        measured = strangers.measure(dataset, under_test.comparator, under_test.rule, labels)
        result = replace(result, strangers=measured)
    output(result, as_json, html_file, lambda: report.page(result, dataset, comparisons, scores), report.lines)


@evaluate.command(short_help="1:N: error rates of a gallery.")
@click.option(
    "--gallery",
    required=True,
    type=click.IntRange(1),
    metavar="N",
    help="Number of people to enroll, with one image each.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random choice of people and images.")
@click.option(
    "--target-fpir",
    required=True,
    type=click.FloatRange(1e-7, 0.5),
    metavar="P",
    help="False positive identification rate to set the threshold for.",
)
@common
def identification(
    ctx: click.Context,
    images: Path,
    gallery: int,
    seed: int,
    target_fpir: float,
    workers: int,
    html_file: Path | None,
    as_json: bool,
) -> None:
    """Search for people in a gallery of N (1:N, open-set), with the card's threshold for an FPIR of P and N people."""
    from edge_oneshot.evaluation import identification as evaluation
    from edge_oneshot.evaluation.dataset import find_images
    from edge_oneshot.evaluation.reports import identification as report
    from edge_oneshot.evaluation.under_test import UnderTest

    under_test = UnderTest.open(find_config(ctx))
    rule = under_test.rule_for_fpir(target_fpir)
    dataset = encode(under_test, find_images(images), workers)

    def measure(size: int) -> tuple[evaluation.IdentificationResult, evaluation.Trials]:
        trials = evaluation.draw(dataset, under_test.comparator, size, seed)
        return evaluation.measure(dataset, trials, rule([1] * size), target_fpir), trials

    result, trials = measure(gallery)

    def page() -> Page:
        sizes = sorted({n for n in (10, 30, 100, 300, 500, 1000) if n < gallery} | {gallery})
        return report.page(result, dataset, trials, [measure(n)[0] for n in sizes])

    output(result, as_json, html_file, page, report.lines)


@evaluate.command(short_help="Compare the claimed error rates with measured ones.")
@labels_option
@common
def calibration(
    ctx: click.Context, images: Path, labels_file: Path | None, workers: int, html_file: Path | None, as_json: bool
) -> None:
    """Compare the FMR and FPIR that the thresholds claim with the rates measured on other people."""
    from edge_oneshot.evaluation import claims as evaluation
    from edge_oneshot.evaluation.dataset import find_images
    from edge_oneshot.evaluation.reports import claims as report
    from edge_oneshot.evaluation.under_test import UnderTest

    under_test = UnderTest.open(find_config(ctx))
    found = find_images(images)
    labels = labels_of(labels_file, found)
    dataset = encode(under_test, found, workers)
    result = evaluation.measure(dataset, under_test.comparator, under_test.rule, labels)
    output(result, as_json, html_file, lambda: report.page(result), report.lines)


@evaluate.command(short_help="What each quality gate is worth: error versus discard.")
@common
def quality(ctx: click.Context, images: Path, workers: int, html_file: Path | None, as_json: bool) -> None:
    """Measure how much each quality measure is worth as a gate: the error-versus-discard curve."""
    from edge_oneshot.evaluation import discard as evaluation
    from edge_oneshot.evaluation.dataset import find_images
    from edge_oneshot.evaluation.reports import discard as report
    from edge_oneshot.evaluation.under_test import UnderTest

    under_test = UnderTest.open(find_config(ctx))
    dataset = encode(under_test, find_images(images), workers, evaluation.GATES_OPEN)
    result = evaluation.measure(dataset, under_test.comparator, under_test.threshold, under_test.config.quality)
    output(result, as_json, html_file, lambda: report.page(result), report.lines)


@evaluate.command(short_help="Error rates of labelled visits in videos.")
@click.option(
    "--visits",
    "visits_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="CSV file with the header video,start_s,end_s,name: one line for each person in view. Strangers have no name.",
)
@click.option(
    "--references",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="People to enroll, each from the first image of DIR/Name/.",
)
@html_option
@json_option
@click.pass_context
def video(ctx: click.Context, visits_file: Path, references: Path, html_file: Path | None, as_json: bool) -> None:
    """Play videos with labelled visits: false matches per hour, missed visits, time to a match, identity switches.

    A video is a file, or a folder of images that are shown at the rate camera.fps. Paths are relative to FILE.
    """
    from edge_oneshot.evaluation.reports import visits as report
    from edge_oneshot.evaluation.under_test import VideoTest

    test = VideoTest(find_config(ctx), visits_file, references)
    with progress(test.seconds, "seconds of video") as done:
        result, events = test.play(done)
    output(result, as_json, html_file, lambda: report.page(result, events, test.encoder_id), report.lines)
