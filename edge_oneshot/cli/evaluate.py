"""`edge-oneshot evaluate`: error rates on labelled images and videos."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_oneshot.cli.common import find_config, json_option, print_json, progress

if TYPE_CHECKING:
    from edge_oneshot.config import QualityConfig
    from edge_oneshot.evaluation.dataset import EncodedDataset, LabelledImage
    from edge_oneshot.evaluation.labels import Labels
    from edge_oneshot.evaluation.reports.html import Page
    from edge_oneshot.evaluation.under_test import UnderTest

Command = Callable[..., None]
images_option = click.option(
    "--images",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Labelled images: DIR/Name/Name_0001.jpg, one folder for each person.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=os.cpu_count() or 1,
    show_default="number of cores",
    metavar="N",
    help="Number of images to encode at the same time.",
)
html_option = click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the report with its charts to an HTML page, and its values to a .json file beside the page.",
)
labels_option = click.option(
    "--labels",
    "labels_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="CSV file with the header name,sex,age,group,camera (name and any of the others): one line for each person.",
)


@click.group(short_help="Measure error rates on labelled images and videos.")
def evaluate() -> None:
    """Measure error rates on labelled images and videos, with the recognition path of the daemon."""


def common(command: Command) -> Command:
    return images_option(workers_option(html_option(json_option(click.pass_context(command)))))


def encode(
    under_test: UnderTest, images: list[LabelledImage], workers: int, gates: QualityConfig | None = None
) -> EncodedDataset:
    """Encode the images, with a progress bar. gates: instead of the configured ones."""
    with progress(len(images), "encoding") as done:
        return under_test.encode(images, workers, done, gates)


def labels_of(file: Path | None, images: list[LabelledImage]) -> Labels | None:
    """The labels of the people on the images; None without a file."""
    from edge_oneshot.evaluation.labels import read_labels

    return None if file is None else read_labels(file, {image.person for image in images})


def output(
    result: Any, as_json: bool, html_file: Path | None, page: Callable[[], Page], lines: Callable[[Any], list[str]]
) -> None:
    """Print the result as text or JSON, and write the page if there is a file for it."""
    from edge_oneshot.evaluation.results import to_json

    values = to_json(result)
    if html_file is not None:
        for path in page().write(html_file, values):
            click.echo(f"wrote {path}", err=True)
    print_json(values) if as_json else click.echo("\n".join(lines(result)))


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
