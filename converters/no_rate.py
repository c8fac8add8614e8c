"""Find the templates for which no error rate can be stated, small children's, and write the rule into a bundle's card.

    python -m converters.no_rate BUNDLE --images DIR --labels CSV --protocol "UTKFace, …" [--report FILE]

DIR contains DIR/Name/Name_0001.jpg; the CSV file is that of `edge-oneshot evaluate --labels`, with a column `age` (years).
The device's own code encodes the pictures. A person belongs to one of three parts by the first byte of SHA-256 of the name,
modulo 4: 0 and 1 give the weights, 2 the threshold, 3 the reported rates. (With the file name as the name of the folder,
these are the parts of UTKFace that training/face uses.)

The rule is linear: Fisher's discriminant (Fisher 1936) between children of 0-8 years and adults of 16 and more, with the
within-class covariance shrunk towards a multiple of the identity (Ledoit and Wolf 2004, with a fixed weight). People of 9-15
are reported and used for nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import click
import numpy as np

from converters.card import Json
from converters.encoded import FILE, encode_folder, measuring
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.dataset import find_images
from edge_oneshot.evaluation.labels import read_labels
from edge_oneshot.evaluation.metrics import wilson
from edge_oneshot.model.bundle import split, write_bundle
from edge_oneshot.recognition.checked import trust_made_here
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
    """The share of the chosen that are refused, with its 95 % interval."""
    people, hits = int(chosen.sum()), int((refused & chosen).sum())
    if not people:
        return {"people": 0, "share": None, "ci95": None}
    interval = wilson(hits, people)
    return {
        "people": people,
        "share": round(hits / people, 5),
        "ci95": [round(interval.low, 5), round(interval.high, 5)],
    }


def read_ages(file: Path, people: Collection[str]) -> dict[str, int]:
    """Name -> age in years, of the people whose age is known. Raises EdgeOneshotError."""
    labels = read_labels(file, people)
    if "age" not in labels.columns:
        raise EdgeOneshotError(
            f"{file} line 1: expected a column age, got {sorted(labels.columns)}", "add the ages in years"
        )
    return {name: label.age for name, label in labels.people.items() if label.age is not None}


@click.command()
@measuring
@click.option(
    "--labels",
    "labels_file",
    required=True,
    type=FILE,
    metavar="FILE",
    help="CSV file with the header name,age and any of sex, group and camera, as for `edge-oneshot evaluate`.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the rates without the weights as JSON.",
)
def main(bundle: Path, images: Path, protocol: str, workers: int, labels_file: Path, report: Path | None) -> None:
    """Fit the rule of BUNDLE on DIR and write it into its card. The model does not change."""
    ages = read_ages(labels_file, {image.person for image in find_images(images)})
    embedded = encode_folder(bundle, images, workers)
    kept = [i for i in embedded.acquired if embedded.images[i].person in ages]
    names = [embedded.images[i].person for i in kept]
    click.echo(f"{len(names)} pictures, {len(embedded.faults)} not acquired", err=True)
    write(bundle, fit(embedded.vectors[kept], names, [ages[n] for n in names], protocol), report)


def write(bundle: Path, section: Json, report: Path | None) -> None:
    """Write the section into the bundle's card, and its rates to `report` and standard output."""
    model, card = split(bundle.read_bytes(), bundle)
    write_bundle(bundle, model, {**(card or {}), "no_rate": section})
    trust_made_here(bundle)
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
