"""FPIR and FNIR for a stated FPIR: galleries of several sizes, each drawn many times.

    python benchmarks/identification.py --images DIR [--gallery 100 300 500] [--draws 20] [--json FILE]

DIR/Name/Name_0001.jpg: images of people who were used neither for training nor for thresholds. A gallery has one image of
each person. Their other images are the mated probes; the images of all other people are the non-mated probes. Thresholds
come from the card, for the claimed FPIR.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import headline

from edge_oneshot.cli.common import progress
from edge_oneshot.config import Config
from edge_oneshot.evaluation.dataset import EncodedDataset, find_images
from edge_oneshot.evaluation.identification import draw, measure
from edge_oneshot.evaluation.results import to_json
from edge_oneshot.evaluation.under_test import UnderTest

CLAIMS = (0.1, 0.01)


def row(under_test: UnderTest, dataset: EncodedDataset, gallery: int, claim: float, draws: int) -> dict[str, Any]:
    """Means and extremes over `draws` galleries (seeds 0, 1, …), and the first gallery with its intervals."""
    threshold = under_test.rule_for_fpir(claim)((1,) * gallery)
    found = []
    for seed in range(draws):
        trials = draw(dataset, under_test.comparator, gallery, seed)
        found.append(to_json(measure(dataset, trials, threshold, claim)))

    def mean(key: str, digits: int) -> float:
        return round(float(np.mean([f[key] for f in found])), digits)

    spread = {
        f"{key}_{name}": pick(f[key] for f in found)
        for key in ("fpir", "fnir")
        for name, pick in (("min", min), ("max", max))
    }
    return {
        "gallery": gallery,
        "claimed_fpir": claim,
        "threshold": found[0]["threshold"],
        "galleries_drawn": draws,
        **{f"{key}_mean": mean(key, 5) for key in ("fpir", "fnir", "rank1")},
        **spread,
        "fnir_threshold_on_probes_mean": mean("fnir_at_measured_fpir", 5),
        "mated_probes_mean": mean("mated_probes", 1),
        "non_mated_probes_mean": mean("non_mated_probes", 1),
        "first": {key: found[0][key] for key in ("fpir", "fnir", "ci95", "mated_identities", "non_mated_identities")},
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=Path, required=True)
    options.add_argument("--gallery", type=int, nargs="+", default=[100, 300, 500])
    options.add_argument("--draws", type=int, default=20)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--json", type=Path, help="also write the rows to this file")
    o = options.parse_args()
    images, under_test = find_images(o.images), UnderTest.open(Config())
    with progress(len(images), "encoding") as done:
        dataset = under_test.encode(images, o.workers, done)
    people = len({image.person for image in images})
    print(headline("Identification (benchmarks/identification.py)"))
    print(
        f"{len(images)} images of {people} people, {len(dataset.faults)} not acquired, encoder {dataset.encoder_id[:19]}; "
        f"mean of {o.draws} galleries, in brackets the lowest and the highest\n"
    )
    rows = [row(under_test, dataset, gallery, claim, o.draws) for gallery in o.gallery for claim in CLAIMS]
    for r in rows:
        print(
            f"{r['gallery']:4d} enrolled, claimed FPIR {100 * r['claimed_fpir']:g} %: threshold {r['threshold']:.3f}, "
            f"FPIR {100 * r['fpir_mean']:.2f} % ({100 * r['fpir_min']:.2f} to {100 * r['fpir_max']:.2f}), "
            f"FNIR {100 * r['fnir_mean']:.1f} % ({100 * r['fnir_min']:.1f} to {100 * r['fnir_max']:.1f}), "
            f"rank 1 {100 * r['rank1_mean']:.1f} %, FNIR with the threshold set on these probes "
            f"{100 * r['fnir_threshold_on_probes_mean']:.1f} %, probes {r['mated_probes_mean']:.0f} / {r['non_mated_probes_mean']:.0f}"
        )
    if o.json is not None:
        o.json.write_text(
            json.dumps({"encoder_id": dataset.encoder_id, "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
