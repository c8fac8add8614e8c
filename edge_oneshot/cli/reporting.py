"""What the commands of `edge-oneshot evaluate` share: their options, encoding with a progress bar, and their output."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_oneshot.cli.common import json_option, print_json, progress

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


def common(command: Command) -> Command:
    return images_option(workers_option(html_option(json_option(click.pass_context(command)))))


def encode(
    under_test: UnderTest,
    images: list[LabelledImage],
    workers: int,
    gates: QualityConfig | None = None,
    *,
    templates: bool = False,
) -> EncodedDataset:
    """Encode the images, with a progress bar. gates: instead of the configured ones. templates: as the gates for enrollment."""
    with progress(len(images), "encoding") as done:
        return under_test.encode(images, workers, done, gates, templates=templates)


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
