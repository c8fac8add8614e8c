"""Measure a bundle's thresholds and its score-to-probability map through the device's own path, and write them into its card.

    python -m converters.calibrate BUNDLE --images DIR --protocol "LFW sets 1-4, …"

DIR holds DIR/Name/Name_0001.jpg of people who are in no report. All pairs of pictures are compared: thresholds by false
match rate from the non-mated scores, intervals by bootstrap over identities, Platt's map from both.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from edge_oneshot.bundle import read_bundle, split, write_bundle
from edge_oneshot.card import Comparator
from edge_oneshot.cli.common import progress
from edge_oneshot.compose import build_pipeline
from edge_oneshot.config import Config
from edge_oneshot.evaluation import metrics
from edge_oneshot.evaluation.pairs import all_pairs, identity_numbers, score_pairs
from edge_oneshot.evaluation.pictures import Embedded, embed, find_pictures

FMRS = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
# A rate counts as measured when at least this many non-mated pairs lie above its threshold.
COUNTED = 100


def measure(embedded: Embedded, comparator: Comparator, protocol: str) -> dict[str, Any]:
    """The card's `thresholds` and `probability` from all pairs of the acquired pictures."""
    kept = embedded.acquired
    embedded = replace(embedded, pictures=[embedded.pictures[i] for i in kept], vectors=embedded.vectors[kept], faults={})
    people, pairs = identity_numbers(embedded.pictures), all_pairs(embedded.pictures)
    scores = score_pairs(embedded, pairs, comparator)
    mated, non_mated = scores[pairs.mated], scores[~pairs.mated]
    owners = people[pairs.first[pairs.mated]]
    fmrs = [f for f in FMRS if f * non_mated.size >= COUNTED]
    first, second = people[pairs.first[~pairs.mated]], people[pairs.second[~pairs.mated]]
    intervals = metrics.bootstrap_threshold(non_mated, first, second, fmrs)
    points = []
    for fmr, interval in zip(fmrs, intervals, strict=True):
        at = metrics.threshold_at_fmr(non_mated, fmr)
        points.append({
            "fmr": fmr, "threshold": round(at, 5), "ci95": [round(interval.low, 5), round(interval.high, 5)],
            "tar": round(metrics.match_rate(mated, at), 5),
            "balanced_tar": round(metrics.balanced_match_rate(mated, owners, at), 5),
        })
    slope, intercept, loss = metrics.fit_platt(mated, non_mated)
    identities = int(np.unique(people).size)
    return {
        "thresholds": {
            "protocol": protocol, "identities": identities, "mated_pairs": int(mated.size), "non_mated_pairs": int(non_mated.size),
            "measured_to_fmr": min(fmrs), "points": points,
        },
        "probability": {
            "kind": "platt", "slope": round(slope, 5), "intercept": round(intercept, 5), "log_loss": round(loss, 6),
            "protocol": f"{protocol}; mated and non-mated pairs weigh the same in sum",
        },
    }


@click.command()
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--images", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@click.option("--protocol", required=True, help="What the pictures are, in one sentence for the card.")
@click.option("--workers", type=click.IntRange(1, 64), default=os.cpu_count() or 1, show_default=True)
def main(bundle: Path, images: Path, protocol: str, workers: int) -> None:
    """Measure thresholds for BUNDLE on DIR and write them into its card; its model stays as it is."""
    base = Config()
    # Any threshold will do here: pairs are scored, none is decided.
    model = replace(base.model, encoder=str(bundle.resolve()), threads=1)
    config = replace(base, model=model, decision=replace(base.decision, threshold=0.0))
    pictures = find_pictures(images)
    with progress(len(pictures), "encoding") as done:
        embedded = embed(pictures, lambda: build_pipeline(config), workers, done)
    found = measure(embedded, read_bundle(bundle).encoder.comparator, protocol)
    model_bytes, card = split(bundle.read_bytes(), bundle)
    write_bundle(bundle, model_bytes, {**(card or {}), **found})
    t = found["thresholds"]
    click.echo(f"{t['identities']} identities, {t['mated_pairs']} mated and {t['non_mated_pairs']} non-mated pairs, "
               f"{len(embedded.faults)} of {len(pictures)} pictures not acquired")
    for p in t["points"]:
        low, high = p["ci95"]
        click.echo(f"FMR {p['fmr']:<8g} threshold {p['threshold']:.4f} ({low:.4f} to {high:.4f})  TAR {100 * p['tar']:.2f} %"
                   f"  mean over identities {100 * p['balanced_tar']:.2f} %")


if __name__ == "__main__":
    main()
