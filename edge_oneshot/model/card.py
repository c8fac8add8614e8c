"""The model card inside a bundle, as values. card_reader.py reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What the model takes: (1, height_px, width_px, channels). colour: RGB or L (grey).

    normalisation: value = (pixel - mean) / std per channel. An encoder and a landmark network have it folded into their
    graph and take raw pixels; for a detector the device applies it.
    """

    width_px: int
    height_px: int
    channels: int
    colour: Literal["RGB", "L"]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.height_px, self.width_px, self.channels


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdPoint:
    """fmr: false match rate per comparison. threshold: the score that gives it. ci95, tar: as measured, or None."""

    fmr: float
    threshold: float
    ci95: tuple[float, float] | None
    tar: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Thresholds by false match rate, highest rate first, and the protocol that they were measured under.

    measured_to_fmr: the lowest rate that the counts resolve; beyond it a threshold is extrapolated.
    """

    protocol: str
    points: tuple[ThresholdPoint, ...]
    measured_to_fmr: float
    identities: int
    mated_pairs: int
    non_mated_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A generalized Pareto tail of non-mated scores: P(score > x) = rate (1 + shape (x - from_score) / scale)^(-1 / shape)."""

    from_score: float
    rate: float
    shape: float
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """How high people who are not enrolled score; counted over identities (evaluation/cohort_fit.py measures it).

    fmrs, fmr_scores: false match rate per comparison, falling, and the score that gives it, down to measured_to_fmr;
    beyond it `tail` goes on. gallery_scores: a row for each of gallery_sizes (identities, one template each), the scores
    at the first of `fpirs` (falling), as many as were measured; measured_to_fpir: the last of them. template_exponent: an
    identity of k templates counts as k ** exponent identities. fnmrs, fnmr_scores: share of mated one-shot comparisons
    below a score, rising; empty if nobody in the cohort has two pictures.
    """

    protocol: str
    identities: int
    measured_to_fmr: float
    fmrs: tuple[float, ...]
    fmr_scores: tuple[float, ...]
    tail: Tail
    gallery_sizes: tuple[int, ...]
    fpirs: tuple[float, ...]
    gallery_scores: tuple[tuple[float, ...], ...]
    measured_to_fpir: tuple[float, ...]
    template_exponent: float
    fnmrs: tuple[float, ...]
    fnmr_scores: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platt:
    """same_probability = 1 / (1 + exp(-(slope * score + intercept))); Platt 1999. For balanced mated/non-mated pairs."""

    slope: float
    intercept: float
    protocol: str

    def __call__(self, score: float) -> float:
        z = max(-60.0, min(60.0, self.slope * score + self.intercept))
        return 1.0 / (1.0 + math.exp(-z))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparator:
    """cosine: dot product of unit vectors, [-1, 1]. weighted-l1: bias - sum_i weights_i |a_i - b_i| (Koch et al. 2015)."""

    kind: Literal["cosine", "weighted-l1"]
    weights: tuple[float, ...] = ()
    bias: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCard:
    kind: Literal["encoder"]
    name: str
    version: str
    description: str
    input: InputSpec
    regions: Literal["face", "frame"]
    alignment: Mapping[str, tuple[float, float]]  # landmark name -> (x, y) px in the chip; empty for "frame"
    dimension: int
    comparator: Comparator
    thresholds: Thresholds | None
    probability: Platt | None
    certified: bool
    provenance: Mapping[str, Any]
    model_digest: str
    cohort: Cohort | None = None
    mirror: bool = False  # the embedding is the mean of the chip's and of its mirror image's: two invokes


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorCard:
    kind: Literal["detector"]
    name: str
    version: str
    description: str
    input: InputSpec
    strides: tuple[int, ...]
    anchors_per_cell: tuple[int, ...]
    landmarks: tuple[str, ...]
    min_score: float
    nms_iou: float
    provenance: Mapping[str, Any]
    model_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkCard:
    """points: landmark name -> (x, y) px of the input, where the cut-out puts the landmarks of the one who found the face.

    The model tells, in the same order, how far right of and below them they really lie, in px of the input. hidden: behind
    these it tells for each of them the logit of its being hidden by something.
    """

    kind: Literal["landmarks"]
    name: str
    version: str
    description: str
    input: InputSpec
    points: Mapping[str, tuple[float, float]]
    hidden: bool
    provenance: Mapping[str, Any]
    model_digest: str


Card = EncoderCard | DetectorCard | LandmarkCard
