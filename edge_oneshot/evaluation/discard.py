"""Error versus discard: what `edge-oneshot evaluate quality` reports (Grother and Tabassi 2007; ISO/IEC 29794-1).

Pictures are encoded with the gates open. For each measure the pictures that rank worst by it are left out step by step;
a measure is worth a gate if the false non-match rate of the pairs that remain falls faster than at random.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_oneshot.config import QualityConfig
from edge_oneshot.evaluation.comparisons import identity_numbers, rows_of_pairs
from edge_oneshot.evaluation.dataset import Embedded
from edge_oneshot.evaluation.metrics import balanced_match_rate
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float64Array, Quality

STEPS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


def goodness(quality: Quality) -> dict[str, float]:
    """Each measure so that more is better. Luma: distance from the middle of the range; yaw: towards frontal."""
    return {
        "inter_eye_px": quality.inter_eye_px,
        "sharpness": quality.sharpness,
        "luma": -abs(quality.luma - 127.5),
        "contrast": quality.contrast,
        "yaw_deg": -abs(quality.yaw_deg),
        "hidden": -quality.hidden,
    }


def report(embedded: Embedded, comparator: Comparator, threshold: Threshold, gates: QualityConfig) -> dict[str, Any]:
    """The report as JSON values. embedded: made with the gates open. FNMR weighs every person with a pair alike."""
    people = identity_numbers(embedded.pictures)
    kept = np.array(embedded.acquired)
    same = [np.flatnonzero(people[kept] == p) for p in np.unique(people[kept])]
    pairs = [np.stack(np.triu_indices(len(s), 1)) for s in same]
    first = kept[np.concatenate([s[i] for s, (i, _) in zip(same, pairs, strict=True)])]
    second = kept[np.concatenate([s[j] for s, (_, j) in zip(same, pairs, strict=True)])]
    score, owners = rows_of_pairs(embedded, first, second, comparator), people[first]

    def fnmr(use: Any) -> float | None:
        return round(1 - balanced_match_rate(score[use], owners[use], threshold.value), 5) if use.any() else None

    measures: dict[str, Float64Array] = {}
    for name in goodness(embedded.qualities[int(kept[0])]):  # type: ignore[arg-type]
        value = np.full(len(people), -np.inf)
        value[kept] = [goodness(embedded.qualities[int(i)])[name] for i in kept]  # type: ignore[arg-type]
        measures[name] = value
    rank = np.random.default_rng(0).random(len(people))
    curves = {}
    for name, value in {**measures, "random": rank}.items():
        curve = []
        for share in STEPS:
            limit = np.quantile(value[kept], share) if share else -np.inf
            use = (value[first] >= limit) & (value[second] >= limit)
            at = round(float(abs(limit)), 2) if share else None
            curve.append({"discarded": share, "at": at, "pairs": int(use.sum()), "fnmr": fnmr(use)})
        curves[name] = curve
    refused = np.array([refused_by(embedded.qualities[int(i)], gates) for i in kept])  # type: ignore[arg-type]
    good = np.zeros(len(people), dtype=bool)
    good[kept[~refused.any(axis=1)]] = True
    use = good[first] & good[second]
    return {
        "curves": curves,
        "threshold": round(threshold.value, 5),
        "target_fmr": threshold.target_fmr,
        "gates": {
            "refused": int(refused.any(axis=1).sum()),
            "of": len(kept),
            "fnmr_open": fnmr(np.ones(len(first), dtype=bool)),
            "fnmr_gated": fnmr(use),
            "refused_by": dict(zip(measures, map(int, refused.sum(axis=0)), strict=True)),
        },
        "identities": int(np.unique(owners).size),
        "mated_pairs": len(first),
        "pictures": len(people),
        "failures_to_acquire": len(embedded.faults),
        "encoder_id": embedded.encoder_id,
    }


def refused_by(q: Quality, gates: QualityConfig) -> list[bool]:
    """Which gates would refuse a capture, in the order of `goodness`."""
    return [
        0 < q.inter_eye_px < gates.min_inter_eye_px,
        q.sharpness < gates.min_sharpness,
        not gates.min_luma <= q.luma <= gates.max_luma,
        q.contrast < gates.min_contrast,
        abs(q.yaw_deg) > gates.max_yaw_deg,
        False,  # hidden: a gate of enrollment alone
    ]
