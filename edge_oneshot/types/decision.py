"""From an embedding to a decision: Embedding, Template, Identity, Candidate, Decision, Sample, Observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import Enum
from typing import Literal

import numpy as np

from edge_oneshot.types.checks import Float32Array, aware, require
from edge_oneshot.types.image import Chip, Face
from edge_oneshot.types.quality import Fault, PadResult, Quality


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """vector: float32 (D,), finite; of unit norm if the comparator is cosine. encoder_id: "sha256:…" of the encoder."""

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
    """A stored reference. Only an embedding of the same encoder is ever compared with it.

    no_rate: it was enrolled although no error rate can be stated for it.
    """

    template_id: str
    identity_id: str
    embedding: Embedding
    quality: Quality
    created_at: datetime
    no_rate: bool = False

    def __post_init__(self) -> None:
        aware("Template.created_at", self.created_at)

    @property
    def encoder_id(self) -> str:
        return self.embedding.encoder_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An enrolled person or thing. identity_id: slug [a-z0-9_-]+, used in topics. name: the display name."""

    identity_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An identity and the comparison score of its best template; higher = more alike."""

    identity_id: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The error rate that a threshold was chosen for, and against whom it was measured.

    against: "matched": people of the same sex and age band in `group`, the labelled group of the cohort with the highest
    rate; "everybody": any people of the cohort, and group is None. fmr: accepted false match rate of one comparison. fpir:
    accepted false match rate against the whole gallery. One of the two is None; both for a threshold set by hand.
    everybody_fmr: false match rate of one comparison with any person at this threshold, or an upper bound where the cohort
    is too small to resolve it; None if it was not measured.
    """

    against: Literal["matched", "everybody"] = "everybody"
    group: str | None = None
    fmr: float | None = None
    fpir: float | None = None
    everybody_fmr: float | None = None

    def message(self) -> dict[str, object]:
        """As JSON values."""
        return asdict(self)

    @property
    def words(self) -> str:
        """Both figures, for people: the stated rate with its strangers, and the rate of one comparison with anybody."""
        kind, rate = ("FMR", self.fmr) if self.fmr is not None else ("FPIR", self.fpir)
        strangers = "everybody"
        if self.against == "matched":
            strangers = f"matched strangers (adults of the same sex; worst group: {self.group})"
        stated = "no rate is stated" if rate is None else f"{kind} {100 * rate:.6g} % against {strangers}"
        known = self.everybody_fmr is not None and (rate is None or self.against == "matched" or kind == "FPIR")
        return stated + (f"; against everybody FMR {100 * (self.everybody_fmr or 0.0):.3g} %" if known else "")


UNSTATED = Rate()  # no rate is known


class DecisionKind(Enum):
    MATCH = "match"
    NON_MATCH = "non_match"
    NOT_COMPARED = "not_compared"


class Withheld(Enum):
    """Why a track is not reported as a match although all its frames together reach the threshold for an identity."""

    NEWEST = "newest"  # the best candidate of the newest frame is another identity
    DIVIDED = "divided"  # single-frame matches disagree: at most two in three name that identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision on one capture.

    NOT_COMPARED: the capture has faults: it failed a quality gate or is an attack; or it was not encoded. NON_MATCH without
    a candidate: the gallery is empty. candidate, runner_up: the best and the second-best identity; those of a non-match are
    not published. margin = score - threshold.
    same_probability: probability that both are of one person, from the card's map of the score; None if it has none.
    target_fmr, target_fpir: the error rate that the threshold was chosen for; both None for a fixed threshold. rate: the
    same with the people that it holds against; None: no rate can be stated for this person.
    encoder_id: of the encoder whose scores, threshold and rate these are; "" if nothing was compared. adaptation: version of
    what was subtracted from the embeddings (matching/adaptation.py); "": nothing.
    """

    kind: DecisionKind
    threshold: float
    target_fmr: float | None
    candidate: Candidate | None = None
    runner_up: Candidate | None = None
    same_probability: float | None = None
    faults: tuple[Fault, ...] = ()
    target_fpir: float | None = None
    rate: Rate | None = UNSTATED
    encoder_id: str = ""
    adaptation: str = ""

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
    """One region of a frame, before it is encoded. face: None for a bundle whose regions are whole frames.

    reference_faults: why it must not become a template, beside `faults`. older_chips: the same region for each encoder of
    old templates that takes another chip, by encoder_id.
    """

    face: Face | None
    chip: Chip
    quality: Quality
    pad: PadResult = field(default_factory=PadResult)
    reference_faults: tuple[Fault, ...] = ()
    older_chips: Mapping[str, Chip] = field(default_factory=dict)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why the sample must be neither compared nor enrolled: failed quality gates, or an attack. Empty = good."""
        return self.quality.faults + self.pad.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An embedding, and the decision on it among the people with a template of the same encoder."""

    embedding: Embedding
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A sample and the decision on it. embedding: None if the sample has a fault, or was not encoded.

    A face of a live frame that continues a decided track is not encoded in each frame (matching/attention.py): the decision
    is then NOT_COMPARED without a fault. one_view: only the chip was encoded, not its mirror image, which could not have
    changed the decision; such scores are not published.
    Where the gallery holds templates of several encoders, decision and embedding are those of the encoder that decided
    (matching/compare.py, by_margin), and `others` holds the comparisons by the other encoders.
    """

    sample: Sample
    embedding: Embedding | None
    decision: Decision
    others: tuple[Comparison, ...] = ()
    one_view: bool = False

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One for each encoder in use, first that of the encoder that decided; empty if the sample has a fault."""
        if self.embedding is None:
            return ()
        return (Comparison(embedding=self.embedding, decision=self.decision), *self.others)

    def by(self, encoder_id: str) -> Comparison | None:
        """The comparison by one encoder; None if it did not encode this sample."""
        return next((c for c in self.comparisons if c.embedding.encoder_id == encoder_id), None)
