"""What a stated FPIR costs in missed people: galleries of several sizes, each drawn many times.

    python benchmarks/identification.py --images DIR [--gallery 100 300 500] [--draws 20] [--json FILE]

DIR/Name/Name_0001.jpg of people who were in no training and gave no threshold. A gallery has one picture each; their
other pictures are the mated probes, everybody else's the non-mated. Thresholds come from the card, for the claimed FPIR.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import headline, shipped

from edge_oneshot.cli.common import progress
from edge_oneshot.config import Config, DecisionConfig
from edge_oneshot.evaluation.dataset import Embedded, embed, find_pictures
from edge_oneshot.evaluation.identification import draw, report
from edge_oneshot.service.compose import build_rule

CLAIMS = (0.1, 0.01)


def row(embedded: Embedded, gallery: int, claim: float, draws: int) -> dict[str, Any]:
    """Means and extremes over `draws` galleries (seeds 0, 1, …), and the first of them with its intervals."""
    encoder = shipped().encoder
    threshold = build_rule(Config(decision=DecisionConfig(target_fpir=claim)), encoder)((1,) * gallery)
    found = []
    for seed in range(draws):
        trials = draw(embedded, encoder.card.comparator, gallery, seed)
        found.append(report(embedded, trials, threshold, claim))
    mean = {f"{key}_mean": round(float(np.mean([f[key] for f in found])), 5) for key in ("fpir", "fnir", "rank1")}
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
        **mean,
        **spread,
        "fnir_threshold_on_probes_mean": round(float(np.mean([f["fnir_at_measured_fpir"] for f in found])), 5),
        "mated_probes_mean": round(float(np.mean([f["mated_probes"] for f in found])), 1),
        "non_mated_probes_mean": round(float(np.mean([f["non_mated_probes"] for f in found])), 1),
        "first": {key: found[0][key] for key in ("fpir", "fnir", "ci95", "mated_identities", "non_mated_identities")},
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=Path, required=True)
    options.add_argument("--gallery", type=int, nargs="+", default=[100, 300, 500])
    options.add_argument("--draws", type=int, default=20)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--json", type=Path, help="write the rows here, too")
    o = options.parse_args()
    pictures = find_pictures(o.images)
    with progress(len(pictures), "encoding") as done:
        embedded = embed(pictures, shipped.__wrapped__, o.workers, done)
    people = len({p.person for p in pictures})
    print(headline("Identification (benchmarks/identification.py)"))
    print(
        f"{len(pictures)} pictures of {people} people, {len(embedded.faults)} not acquired, encoder {embedded.encoder_id[:19]}; "
        f"mean of {o.draws} galleries, in brackets the lowest and highest\n"
    )
    rows = [row(embedded, gallery, claim, o.draws) for gallery in o.gallery for claim in CLAIMS]
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
            json.dumps({"encoder_id": embedded.encoder_id, "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
