"""Error versus discard: what `edge-oneshot evaluate quality` reports (Grother and Tabassi 2007; ISO/IEC 29794-1).

Images are encoded with all quality gates open. For each quality measure, the images with the worst values are discarded
step by step. A measure is useful as a gate if the false non-match rate of the remaining pairs falls faster than with
images discarded at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.config import QualityConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.comparisons import score_one_by_one
from edge_oneshot.evaluation.dataset import EncodedDataset
from edge_oneshot.evaluation.metrics import balanced_match_rate
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float64Array, Quality
from edge_oneshot.vision.gates import checks

STEPS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
GATES_OPEN = QualityConfig(
    min_inter_eye_px=0,
    min_sharpness=0,
    min_luma=0,
    max_luma=255,
    min_contrast=0,
    max_cropped=1,
    max_yaw_deg=90,
    max_pitch_deg=90,
)

# measure -> the codes of the gates that limit it
CODES = {
    "inter_eye_px": {"too_far"},
    "sharpness": {"blurred"},
    "luma": {"too_dark", "too_bright"},
    "contrast": {"flat"},
    "yaw_deg": {"turned"},
    "pitch_deg": {"tilted"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """discarded: the share of images. at: the limit of the measure there; None at 0. fnmr: None if no pair remains."""

    discarded: float
    at: float | None
    pairs: int
    fnmr: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEffect:
    """What the configured gates do: images refused, of how many, and the FNMR without and with the gates."""

    refused: int
    of: int
    fnmr_open: float | None
    fnmr_gated: float | None
    refused_by: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardResult:
    """curves: quality measure (or "random") -> its curve. FNMR: the mean over the people with a pair."""

    curves: dict[str, list[CurvePoint]]
    threshold: float
    target_fmr: float | None
    gates: GateEffect
    identities: int
    mated_pairs: int
    pictures: int
    failures_to_acquire: int
    encoder_id: str


def goodness(quality: Quality) -> dict[str, float]:
    """Each measure so that more is better. Luma: closeness to the middle of the range. Yaw, pitch: closeness to frontal."""
    return {
        "inter_eye_px": quality.inter_eye_px,
        "sharpness": quality.sharpness,
        "luma": -abs(quality.luma - 127.5),
        "contrast": quality.contrast,
        "yaw_deg": -abs(quality.yaw_deg),
        "pitch_deg": -abs(quality.pitch_deg),
        "hidden": -quality.hidden,
    }


def measure(
    dataset: EncodedDataset, comparator: Comparator, threshold: Threshold, gates: QualityConfig
) -> DiscardResult:
    """dataset: encoded with GATES_OPEN. gates: the configured ones. Raises EdgeOneshotError without a pair to compare."""
    people, kept = dataset.people, np.array(dataset.acquired, dtype=np.intp)
    if not kept.size or np.bincount(people[kept]).max() < 2:
        raise EdgeOneshotError(
            f"expected a person with two images in which a face is found; found a face in {kept.size} of {len(people)} images",
            "give several images of a person, with one clear face each",
        )
    same = [np.flatnonzero(people[kept] == p) for p in np.unique(people[kept])]
    pairs = [np.stack(np.triu_indices(len(s), 1)) for s in same]
    first = kept[np.concatenate([s[i] for s, (i, _) in zip(same, pairs, strict=True)])]
    second = kept[np.concatenate([s[j] for s, (_, j) in zip(same, pairs, strict=True)])]
    score, owners = score_one_by_one(dataset, first, second, comparator), people[first]

    def fnmr(use: NDArray[np.bool_]) -> float | None:
        return round(1 - balanced_match_rate(score[use], owners[use], threshold.value), 5) if use.any() else None

    def curve(value: Float64Array) -> list[CurvePoint]:
        points = []
        for share in STEPS:
            limit = np.quantile(value[kept], share) if share else -np.inf
            use = (value[first] >= limit) & (value[second] >= limit)
            at = round(float(abs(limit)), 2) if share else None
            points.append(CurvePoint(discarded=share, at=at, pairs=int(use.sum()), fnmr=fnmr(use)))
        return points

    qualities = [q for q in (dataset.qualities[int(i)] for i in kept) if q is not None]
    measures: dict[str, Float64Array] = {}
    for name in goodness(qualities[0]):
        measures[name] = np.full(len(people), -np.inf)
        measures[name][kept] = [goodness(q)[name] for q in qualities]
    curves = {name: curve(value) for name, value in measures.items()}
    curves["random"] = curve(np.random.default_rng(0).random(len(people)))
    refused = np.array([refused_by(q, gates) for q in qualities])
    good = np.zeros(len(people), dtype=bool)
    good[kept[~refused.any(axis=1)]] = True
    return DiscardResult(
        curves=curves,
        threshold=round(threshold.value, 5),
        target_fmr=threshold.target_fmr,
        gates=GateEffect(
            refused=int(refused.any(axis=1).sum()),
            of=len(kept),
            fnmr_open=fnmr(np.ones(len(first), dtype=bool)),
            fnmr_gated=fnmr(good[first] & good[second]),
            refused_by=dict(zip(measures, map(int, refused.sum(axis=0)), strict=True)),
        ),
        identities=int(np.unique(owners).size),
        mated_pairs=len(first),
        pictures=len(people),
        failures_to_acquire=len(dataset.faults),
        encoder_id=dataset.encoder_id,
    )


def refused_by(q: Quality, gates: QualityConfig) -> list[bool]:
    """Which gates refuse a capture, in the order of `goodness`. Gates are for faces: a drawing has no eyes.

    `hidden` is checked at enrollment only.
    """
    failed = {code for passed, code, _ in checks(q, gates) if not passed} if q.inter_eye_px else set[str]()
    return [bool(failed & CODES.get(name, set())) for name in goodness(q)]
