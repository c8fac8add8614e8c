"""Is target_fpir kept beyond the 1,000 people that the cohort of the card was counted for?

    python benchmarks/large_galleries.py EMBEDDINGS.npz ... > benchmarks/results/large_galleries.txt

EMBEDDINGS: names (N,) as UTKFace's files are named, emb (N, D) unit vectors by the shipped encoder, found (N,) of bool. One picture
a person, doubles left out, adults only. Each picture of the part `report` is a stranger; the gallery are all other people of the
named parts. Only the hits within one part were looked at and cleaned of people who are there twice: across the parts many
strangers are in the gallery themselves, so the rows of several parts show that, and no error rate. The thresholds come from
the card, whose cohort is the part `threshold`. The interval is a bootstrap over strangers; the people of the gallery are the same in
each draw, so it is too narrow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from common import headline, over_people

from edge_oneshot.config import Config
from edge_oneshot.matching import cohort as rates
from edge_oneshot.matching.threshold import Target, threshold_for
from edge_oneshot.recognition.compose import build_encoder

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training.face.utkface import digest, labels_of, left_out, part_of

GALLERIES = {
    "report": ("report",),
    "report, threshold": ("report", "threshold"),
    "all": ("report", "threshold", "train"),
}
CLAIMS = (0.1, 0.03, 0.01)
SIZES = (100, 1000, 3000, 10_000, 100_000)


def main(files: list[str]) -> None:
    loaded = [np.load(f) for f in files]
    names = np.concatenate([f["names"] for f in loaded])
    vectors = np.concatenate([f["emb"] for f in loaded]).astype(np.float32)
    found = np.concatenate([f["found"] for f in loaded]).astype(bool)
    labels = [labels_of(Path(str(n)).name) for n in names]
    adult = np.array([label is not None and label.age >= 16 for label in labels])
    single = np.array([digest(str(n)) not in left_out() for n in names])
    parts = np.array([part_of(str(n)) for n in names])
    keep = found & adult & single
    vectors, parts = vectors[keep], parts[keep]
    encoder = build_encoder(Config())
    cohort = encoder.card.cohort
    assert cohort is not None
    print(headline("FPIR against everybody in large galleries (benchmarks/large_galleries.py), 95 % intervals"))
    strangers = vectors[parts == "report"]
    best: dict[str, np.ndarray] = {}
    sizes = {}
    for title, wanted in GALLERIES.items():
        gallery = vectors[np.isin(parts, wanted)]
        sizes[title] = len(gallery) - 1
        top = []
        for start in range(0, len(strangers), 200):
            scores = strangers[start : start + 200] @ gallery.T
            top.append(np.sort(scores, axis=1)[:, -2])  # the highest is the stranger's own picture
        best[title] = np.concatenate(top)
    print(
        f"{len(strangers)} strangers\n{'gallery':20} {'people':>7} {'claimed, %':>11} {'threshold':>10} {'measured, %':>24}"
    )
    for title, scores in best.items():
        for claim in CLAIMS:
            threshold, _ = rates.score_at_fpir(cohort, claim, sizes[title])
            measured = over_people((scores >= threshold).astype(np.float64))
            print(f"{title:20} {sizes[title]:7} {100 * claim:11g} {threshold:10.3f} {measured:>24}")
    print(
        "\nThresholds for target_fpir by the size of the gallery, and FNMR of one-shot comparisons (LFW sets 1-4) there, %"
    )
    print(f"{'people':>7} {'target, %':>10} {'everybody':>10} {'FNMR':>6} {'matched':>8} {'FNMR':>6} {'group':>10}")
    for size in SIZES:
        for claim in CLAIMS[::2]:
            all_people = threshold_for(Target(fpir=claim), None, cohort, [1] * size, "everybody")
            matched = threshold_for(Target(fpir=claim), None, cohort, [1] * size, "matched")
            fnmrs = [rates.fnmr_at(cohort, t.value) or 0.0 for t in (all_people, matched)]
            print(
                f"{size:7} {100 * claim:10g} {all_people.value:10.3f} {100 * fnmrs[0]:6.1f} {matched.value:8.3f} "
                f"{100 * fnmrs[1]:6.1f} {matched.rate.group!s:>10}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
