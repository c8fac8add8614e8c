"""Measure a bundle's thresholds and its map from score to probability, and write them into its card.

    python -m converters.thresholds BUNDLE --images LFW_DIR --matched UTK_DIR --labels UTK.csv --protocol "LFW sets 1-4, …"

A folder contains DIR/Name/Name_0001.jpg of people who are in no report. The device's own code encodes the pictures, and
all pairs are compared. --images gives the mated part, Platt's map and the pairs of everybody. --labels adds the groups of
matched strangers, measured on the people of --matched (default: --images), which needs one picture a person. With
--everybody DIR the pairs of everybody are those of that folder; it may be the one of --matched.

The cohort (scores of people who are not enrolled, per comparison and per gallery size) is counted over identities, with a
fitted tail below the counted rates and intervals by bootstrap over identities. The table of thresholds is read from the
pairs of everybody.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from converters.card import Json, measured_fields
from converters.encoded import FILE, FOLDER, encode_folder, measuring
from edge_oneshot.evaluation import metrics
from edge_oneshot.evaluation.cohort_fit import Sources, fit
from edge_oneshot.evaluation.comparisons import all_comparisons, score_comparisons
from edge_oneshot.evaluation.dataset import EncodedDataset
from edge_oneshot.evaluation.labels import Labels, read_labels
from edge_oneshot.matching.cohort import score_at_fmr
from edge_oneshot.matching.threshold import MIN_GROUP
from edge_oneshot.model.bundle import read_bundle, split, write_bundle
from edge_oneshot.model.card import Comparator
from edge_oneshot.model.card_reader import parse_cohort
from edge_oneshot.recognition.checked import trust_made_here

FMRS = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]


def measure(
    embedded: EncodedDataset,
    comparator: Comparator,
    protocol: str,
    *,
    everybody: EncodedDataset | None = None,
    matched: EncodedDataset | None = None,
    labels: Labels | None = None,
) -> Json:
    """The card's `cohort`, `thresholds` and `probability`, from the acquired pictures.

    embedded: of people with several pictures. everybody: of any people, None: the same. matched, labels: the people of
    the groups of matched strangers; matched None: the same.

    Each pair of people has the same weight in the non-mated rates; `tar` is the share of all mated pairs, `balanced_tar`
    its mean over people. Points below measured_to_fmr are extrapolated and have no interval.
    """
    sources = Sources(
        everybody=embedded if everybody is None else everybody,
        labelled=embedded if matched is None else matched,
        labels=labels,
        mated=None if everybody is None else embedded,
    )
    fitted = fit(sources, comparator, protocol)
    cohort = parse_cohort(fitted, "the cohort")
    kept = embedded.acquired
    embedded = replace(embedded, images=[embedded.images[i] for i in kept], vectors=embedded.vectors[kept], faults={})
    people, pairs = embedded.people, all_comparisons(embedded.images)
    scores = score_comparisons(embedded, pairs, comparator)
    mated, non_mated = scores[pairs.mated], scores[~pairs.mated]
    owners = people[pairs.first[pairs.mated]]
    # A gallery of one identity is one comparison: its intervals are those of the false match rate.
    intervals = dict(zip(fitted["fpirs"], fitted["gallery_ci95"][0], strict=False))
    points = []
    for fmr in FMRS:
        at, extrapolated = score_at_fmr(cohort, fmr)
        points.append(
            {
                "fmr": fmr,
                "threshold": round(at, 5),
                "ci95": None if extrapolated else intervals.get(fmr),
                "tar": round(metrics.match_rate(mated, at), 5),
                "balanced_tar": round(metrics.balanced_match_rate(mated, owners, at), 5),
            }
        )
    slope, intercept, loss = metrics.fit_platt(mated, non_mated)
    platt = round(slope, 5), round(intercept, 5), round(loss, 6)
    counts = int(mated.size), int(non_mated.size)
    identities = int(np.unique(people).size)
    fields = measured_fields(protocol, identities, counts, cohort.measured_to_fmr, points, platt)
    return {"cohort": fitted, **fields}


@click.command()
@measuring
@click.option("--matched", type=FOLDER, metavar="DIR", help="Folder of the labelled people, if it is not --images.")
@click.option(
    "--everybody",
    type=FOLDER,
    metavar="DIR",
    help="Folder of the people whose pairs are those of everybody, if it is not --images.",
)
@click.option(
    "--labels",
    "labels_file",
    type=FILE,
    metavar="FILE",
    help="CSV file with the header name,sex,age,group (name and any of the others) of the labelled people.",
)
def main(
    bundle: Path,
    images: Path,
    matched: Path | None,
    everybody: Path | None,
    labels_file: Path | None,
    protocol: str,
    workers: int,
) -> None:
    """Measure thresholds for BUNDLE on DIR and write them into its card. The model does not change."""
    if matched is not None and labels_file is None:
        raise click.UsageError("--matched needs the labels of its people; give --labels FILE")
    folders = dict.fromkeys(f for f in (images, matched, everybody) if f is not None)
    datasets = {folder: encode_folder(bundle, folder, workers) for folder in folders}
    embedded, labelled = datasets[images], datasets[matched or images]
    found = measure(
        embedded,
        read_bundle(bundle).encoder.comparator,
        protocol,
        everybody=None if everybody is None else datasets[everybody],
        matched=labelled,
        labels=None if labels_file is None else read_labels(labels_file, {i.person for i in labelled.images}),
    )
    model_bytes, card = split(bundle.read_bytes(), bundle)
    write_bundle(bundle, model_bytes, {**(card or {}), **found})
    trust_made_here(bundle)
    t = found["thresholds"]
    click.echo(
        f"{t['identities']} identities, {t['mated_pairs']} mated and {t['non_mated_pairs']} non-mated pairs, "
        f"{len(embedded.faults)} of {len(embedded.images)} pictures not acquired"
    )
    for name, group in found["cohort"].get("groups", {}).items():
        decides = "" if group["identities"] >= MIN_GROUP else f"; does not decide: fewer than {MIN_GROUP}"
        click.echo(f"matched strangers, {name}: {group['identities']} identities{decides}")
    for p in t["points"]:
        interval = "(extrapolated)" if p["ci95"] is None else f"({p['ci95'][0]:.4f} to {p['ci95'][1]:.4f})"
        click.echo(
            f"FMR {p['fmr']:<8g} threshold {p['threshold']:.4f} {interval}  TAR {100 * p['tar']:.2f} %"
            f"  mean over identities {100 * p['balanced_tar']:.2f} %"
        )


if __name__ == "__main__":
    main()
