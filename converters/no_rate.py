"""Find the templates for which no error rate can be stated, small children's, and write the rule into a bundle's card.

    python -m converters.no_rate BUNDLE --images DIR --labels CSV --protocol "UTKFace, …" [--report FILE]

DIR contains DIR/Name/Name_0001.jpg; the CSV file has a header with at least `name` (the folder) and `age` (years). The
device's own code encodes the pictures. A person belongs to one of three parts by the first byte of SHA-256 of the name,
modulo 4: 0 and 1 give the weights, 2 the threshold, 3 the reported rates. (With the file name as the name of the folder,
these are the parts of UTKFace that training/face uses.)

The rule is linear: Fisher's discriminant (Fisher 1936) between children of 0-8 years and adults of 16 and more, with the
within-class covariance shrunk towards a multiple of the identity (Ledoit and Wolf 2004, with a fixed weight). People of 9-15
are reported and used for nothing else.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from converters.card import Json
from edge_oneshot.config import Config
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.dataset import encode_images, find_images
from edge_oneshot.model.bundle import split, write_bundle
from edge_oneshot.recognition.compose import build_pipeline
from edge_oneshot.types import BoolArray, Float32Array, Float64Array

CHILD_TO, ADULT_FROM = 8, 16  # years, inclusive
BANDS = {"0-3": (0, 3), "4-8": (4, 8), "0-8": (0, 8), "9-12": (9, 12), "13-15": (13, 15), "16-120": (16, 120)}
SHRINKAGE = 0.1
ADULTS_REFUSED = 0.005  # of the threshold part
PARTS = ("fit", "fit", "threshold", "report")


def part_of(name: str) -> str:
    """The part that a person belongs to."""
    return PARTS[hashlib.sha256(name.encode()).digest()[0] % 4]


def fit(vectors: Float32Array, names: Sequence[str], ages: Sequence[float], protocol: str) -> Json:
    """The card's `no_rate`, from unit vectors (N, D), the person and the age in years of each.

    Raises EdgeOneshotError if a part has fewer than 20 children or adults.
    """
    age, part = np.asarray(ages), np.array([part_of(name) for name in names])
    child, adult = age <= CHILD_TO, age >= ADULT_FROM
    for name in dict.fromkeys(PARTS):
        for who, chosen in (("children", child), ("adults", adult)):
            if (count := int((chosen & (part == name)).sum())) < 20:
                raise EdgeOneshotError(
                    f"no_rate: expected at least 20 {who} in the part {name!r}, got {count}", "use more pictures"
                )
    weights = discriminant(vectors[child & (part == "fit")], vectors[adult & (part == "fit")])
    weights = np.round(weights, 6)
    scores = vectors @ weights
    threshold = float(np.quantile(scores[adult & (part == "threshold")], 1 - ADULTS_REFUSED))
    threshold = round(threshold, 4)
    refused, reported = scores >= threshold, part == "report"
    return {
        "protocol": protocol,
        "weights": [float(w) for w in weights],
        "threshold": threshold,
        "people": {
            p: {"children": int((child & (part == p)).sum()), "adults": int((adult & (part == p)).sum())}
            for p in dict.fromkeys(PARTS)
        },
        "refused": {
            band: share(refused, reported & (low <= age) & (age <= high)) for band, (low, high) in BANDS.items()
        },
    }


def discriminant(children: Float32Array, adults: Float32Array) -> Float64Array:
    """Fisher's linear discriminant, unit vector float64 (D,), from unit vectors float32 (N, D) and (M, D)."""
    within = (np.cov(children.T) + np.cov(adults.T)) / 2
    within += SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    difference = children.mean(axis=0, dtype=np.float64) - adults.mean(axis=0, dtype=np.float64)
    weights: Float64Array = np.linalg.solve(within, difference)
    return weights / np.linalg.norm(weights)


def share(refused: BoolArray, chosen: BoolArray) -> Json:
    """The share of the chosen that are refused, with the 95 % interval of Wilson (1927)."""
    n, k, z = int(chosen.sum()), int((refused & chosen).sum()), 1.96
    if not n:
        return {"people": 0, "share": None, "ci95": None}
    p, centre = k / n, (k / n + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return {"people": n, "share": round(p, 5), "ci95": [round(max(0.0, centre - half), 5), round(centre + half, 5)]}


def read_ages(path: Path) -> dict[str, float]:
    """Name -> age in years. Raises EdgeOneshotError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["name"]: float(row["age"]) for row in csv.DictReader(file) if row["age"]}
    except (OSError, KeyError, TypeError, ValueError) as e:
        raise EdgeOneshotError(
            f"{path}: expected a CSV file with a header and the columns name and age (years), got {e!r}",
            "write one line for each person",
        ) from None


@click.command()
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--images",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder with one folder of pictures per person.",
)
@click.option(
    "--labels",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Columns name and age; others are ignored.",
)
@click.option("--protocol", required=True, help="What the pictures are, in one sentence for the card.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the rates without the weights as JSON.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=os.cpu_count() or 1,
    show_default=True,
    help="Pictures encoded at the same time.",
)
def main(bundle: Path, images: Path, labels: Path, protocol: str, report: Path | None, workers: int) -> None:
    """Fit the rule of BUNDLE on DIR and write it into its card. The model does not change."""
    ages, base = read_ages(labels), Config()
    # The rule does not depend on the threshold; a bundle without thresholds needs one to load.
    model = replace(base.model, encoder=str(bundle.resolve()), threads=1)
    config = replace(base, model=model, decision=replace(base.decision, threshold=0.0))
    pictures = [p for p in find_images(images) if p.person in ages]
    with click.progressbar(length=len(pictures), label="encoding", file=sys.stderr) as bar:
        embedded = encode_images(pictures, lambda: build_pipeline(config), workers, bar.update)
    kept = embedded.acquired
    names = [pictures[i].person for i in kept]
    click.echo(f"{len(names)} pictures, {len(embedded.faults)} not acquired", err=True)
    write(bundle, fit(embedded.vectors[kept], names, [ages[n] for n in names], protocol), report)


def write(bundle: Path, section: Json, report: Path | None) -> None:
    """Write the section into the bundle's card, and its rates to `report` and standard output."""
    model, card = split(bundle.read_bytes(), bundle)
    write_bundle(bundle, model, {**(card or {}), "no_rate": section})
    if report is not None:
        rates = {key: value for key, value in section.items() if key != "weights"}
        report.write_text(json.dumps(rates, indent=1) + "\n", encoding="utf-8")
    click.echo(f"threshold {section['threshold']}")
    for band, found in section["refused"].items():
        if found["people"]:
            low, high = found["ci95"]
            click.echo(
                f"{band:>7} years: {100 * found['share']:.1f} % of {found['people']} refused "
                f"({100 * low:.1f} to {100 * high:.1f} %)"
            )


if __name__ == "__main__":
    main()
