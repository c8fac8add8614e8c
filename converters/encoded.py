"""Folders of pictures -> embeddings by a bundle, through the device's own code; and the options of the commands that do it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edge_oneshot.config import Config
from edge_oneshot.evaluation.dataset import EncodedDataset, LabelledImage, encode_images, find_images
from edge_oneshot.recognition.compose import build_pipeline

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
Command = Callable[..., Any]


def measuring(command: Command) -> Command:
    """The argument and the options that every measurement of a bundle has."""
    for add in (
        click.option(
            "--workers",
            type=click.IntRange(1, 64),
            default=os.cpu_count() or 1,
            show_default=True,
            help="Pictures encoded at the same time.",
        ),
        click.option("--protocol", required=True, help="What the pictures are, in one sentence for the card."),
        click.option(
            "--images", required=True, type=FOLDER, metavar="DIR", help="Folder with one folder of pictures per person."
        ),
        click.argument("bundle", type=FILE),
    ):
        command = add(command)
    return command


def encode_folder(bundle: Path, folder: Path, workers: int) -> EncodedDataset:
    """Encode every picture DIR/Name/Name_0001.jpg, with a progress bar on standard error."""
    return encode_pictures(bundle, find_images(folder), folder.name, workers)


def encode_pictures(bundle: Path, pictures: Sequence[LabelledImage], label: str, workers: int) -> EncodedDataset:
    """Encode the pictures as the device would, with a progress bar on standard error."""
    base = Config()
    # Embeddings do not depend on the threshold; a bundle without thresholds needs one to load.
    model = replace(base.model, encoder=str(bundle.resolve()), threads=1)
    config = replace(base, model=model, decision=replace(base.decision, threshold=0.0))
    with click.progressbar(length=len(pictures), label=f"encoding {label}", file=sys.stderr) as bar:
        return encode_images(pictures, lambda: build_pipeline(config), workers, bar.update)
