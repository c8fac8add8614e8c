"""From an embedding to a decision: Embedding, Template, Identity, Candidate, Decision, Sample, Observation."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import numpy as np

from edge_oneshot.types.checks import Float32Array, aware, require
from edge_oneshot.types.image import Chip, Face
from edge_oneshot.types.quality import Fault, PadResult, Quality


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """vector: float32 (D,), finite; unit norm when the bundle's comparator is cosine. encoder_id: who made it."""

    vector: Float32Array
    encoder_id: str

    def __post_init__(self) -> None:
        v = self.vector
        require(v.dtype == np.float32 and v.ndim == 1 and v.size > 0, "Embedding.vector", "float32 (D,)", v)
        require(bool(np.isfinite(v).all()), "Embedding.vector", "finite values", "NaN or infinity")
        known = isinstance(self.encoder_id, str) and self.encoder_id.startswith("sha256:")
        require(known, "Embedding.encoder_id", "sha256:…", self.encoder_id)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Template:
    """A stored reference. It describes itself: another encoder's template is kept, and never compared."""

    template_id: str
    identity_id: str
    embedding: Embedding
    quality: Quality
    created_at: datetime

    def __post_init__(self) -> None:
        aware("Template.created_at", self.created_at)

    @property
    def encoder_id(self) -> str:
        return self.embedding.encoder_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An enrolled person or thing. identity_id: the slug [a-z0-9_-]+ used in topics. name: as people write it."""

    identity_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An identity and the comparison score (higher = more alike) of its best template."""

    identity_id: str
    score: float


class DecisionKind(Enum):
    MATCH = "match"
    NON_MATCH = "non_match"
    NOT_COMPARED = "not_compared"


class Withheld(Enum):
    """What kept somebody from being told as a match for whom all frames of a track together reached the threshold."""

    NEWEST = "newest"  # the newest frame's best candidate is somebody else
    DIVIDED = "divided"  # of the frames that reach the threshold alone, no more than two in three name that person


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided on one capture.

    NOT_COMPARED: the capture failed a gate (faults says which), was taken for an attack, or the gallery holds no comparable template.
    candidate, runner_up: the best and second-best identity, also of a non-match (they never leave the device then).
    margin = score - threshold. same_probability: the card's map of the score, None where the card has none.
    """

    kind: DecisionKind
    threshold: float
    target_fmr: float | None
    candidate: Candidate | None = None
    runner_up: Candidate | None = None
    same_probability: float | None = None
    faults: tuple[Fault, ...] = ()
    target_fpir: float | None = None

    def __post_init__(self) -> None:
        if self.kind is DecisionKind.MATCH:
            ok = self.candidate is not None and self.candidate.score >= self.threshold
            require(ok, "Decision(MATCH)", f"a candidate with score >= {self.threshold}", self.candidate)

    @property
    def score(self) -> float | None:
        return None if self.candidate is None else self.candidate.score

    @property
    def margin(self) -> float | None:
        return None if self.candidate is None else self.candidate.score - self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One region of a frame on its way to the encoder. face is None for a bundle whose regions are whole frames."""

    face: Face | None
    chip: Chip
    quality: Quality
    pad: PadResult = field(default_factory=PadResult)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why it must not be compared, nor enrolled: failed gates, or an attack. Empty = good."""
        return self.quality.faults + self.pad.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A sample and what was decided on it. embedding is None when the sample has a fault."""

    sample: Sample
    embedding: Embedding | None
    decision: Decision
