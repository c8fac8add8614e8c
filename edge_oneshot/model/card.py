"""The model card of a bundle, as value types. card_reader.py reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """The input of the model: (1, height_px, width_px, channels). colour: RGB or L (grey).

    mean, std: normalisation of each channel, value = (pixel - mean) / std. Encoders and landmark networks contain it and
    take raw pixels; for a detector the device applies it.
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
    """fmr: false match rate per comparison. threshold: the score that gives it. ci95: 95 % interval of the threshold,
    tar: true accept rate at it; both as measured, or None."""

    fmr: float
    threshold: float
    ci95: tuple[float, float] | None
    tar: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Thresholds by false match rate, highest rate first, with the protocol of the measurement.

    measured_to_fmr: the lowest rate that the counts resolve; a threshold for a lower rate is extrapolated.
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
class CohortScores:
    """The scores of a cohort, that is of people who are not enrolled, as evaluation/cohort_fit.py measures them.

    identities: size of the cohort; rates are counted over identities. fmrs, fmr_scores: false match rates per
    comparison, falling, and the scores that give them, down to measured_to_fmr; `tail` describes lower rates.
    gallery_scores: a row for each of gallery_sizes (number of identities with one template each): the scores at the
    first of `fpirs` (falling), as far as measured; measured_to_fpir: the last rate of each row. template_exponent: an
    identity with k templates counts as k ** exponent identities. fnmrs, fnmr_scores: share of mated one-shot
    comparisons below a score, rising; empty if no person of the cohort has two pictures.
    groups: name -> the same for matched strangers: adults of one labelled group, each compared with the people of the
    same sex in the group only. Their identities are those of the group. A group has no groups.
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
    groups: Mapping[str, CohortScores] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platt:
    """same_probability = 1 / (1 + exp(-(slope * score + intercept))) (Platt 1999), for equally many mated and non-mated pairs."""

    slope: float
    intercept: float
    protocol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRate:
    """The templates for which no error rate can be stated: those with weights @ embedding >= threshold.

    weights: unit vector (D,), Fisher's linear discriminant (1936) between a cohort of small children and one of adults.
    matching/no_rate.py applies it.
    """

    protocol: str
    weights: tuple[float, ...]
    threshold: float


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
    provenance: Mapping[str, object]
    model_digest: str
    cohort: CohortScores | None = None
    no_rate: NoRate | None = None  # None: a rate is stated for every person
    mirror: bool = False  # the embedding is the mean of those of the chip and of its mirror image: two inferences


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
    provenance: Mapping[str, object]
    model_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkCard:
    """points: landmark name -> (x, y) px of the input, the place to which the cut-out maps the detector's landmark.

    The output has, in the same order, the offset (x, y) of each landmark from its point, in px of the input. hidden: the
    output continues with one logit for each landmark, for the probability that something covers it.
    """

    kind: Literal["landmarks"]
    name: str
    version: str
    description: str
    input: InputSpec
    points: Mapping[str, tuple[float, float]]
    hidden: bool
    provenance: Mapping[str, object]
    model_digest: str


Card = EncoderCard | DetectorCard | LandmarkCard
