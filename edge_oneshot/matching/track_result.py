"""One track, and what is reported of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from edge_oneshot.matching.evidence import Evidence
from edge_oneshot.types import Box, DecisionKind, Embedding, Float64Array, Observation, PadDecision, Withheld


class ResultKind(Enum):
    MATCH = "match"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackResult:
    """A result of a track. observation: the best one that supports it. frames: number of compared frames of the track.

    identity_id: of a match, or of a match that is gone; None otherwise. first_ns, last_ns: monotonic capture times.
    visit: of an unknown person who is gone: the mean of the track's embeddings by the measured encoder, of unit length; None
    otherwise. views: how many independent views its frames are worth (neff of matching/evidence.py).
    """

    kind: ResultKind
    track: int
    identity_id: str | None
    observation: Observation
    frames: int
    first_ns: int
    last_ns: int
    visit: Embedding | None = None
    views: float = 1.0


@dataclass(slots=True, kw_only=True)
class Track:
    number: int
    box: Box | None  # None: the whole frame
    first_ns: int
    last_ns: int
    evidence: Evidence
    seen: int = 0
    compared: int = 0
    strangers: float = 0.0  # comparisons in a row that supported no identity; a poor one counts as POOR
    result: ResultKind | None = None
    identity_id: str | None = None
    best: Observation | None = None
    last: Observation | None = None
    checked: Observation | None = None  # the last one that was compared
    checked_ns: int = -1  # when it was captured
    good: Observation | None = None  # the last one that is good enough for a template
    withheld: Withheld | None = None  # at the newest frame
    again: bool = False  # to be reported as a match once more, at the next frame that shows it
    unlike: list[Observation] = field(default_factory=list)
    summed: int = 0  # embeddings of the measured encoder that were compared
    total: Float64Array | None = None  # their sum


def agrees(track: Track, observation: Observation) -> bool:
    """Whether the observation matches the identity of the track."""
    candidate = observation.decision.candidate
    return (
        observation.decision.kind is DecisionKind.MATCH
        and candidate is not None
        and candidate.identity_id == track.identity_id
    )


def as_decided_now(observation: Observation, newest: Observation) -> Observation:
    """The observation with the present threshold: a match is reported with it, even if its best frame was decided earlier."""
    now = None if observation.embedding is None else newest.by(observation.embedding.encoder_id)
    assert now is not None, "only a frame of an encoder in use supports a match (Evidence.matched)"
    decision = replace(
        observation.decision,
        kind=DecisionKind.MATCH,
        threshold=now.decision.threshold,
        target_fmr=now.decision.target_fmr,
        target_fpir=now.decision.target_fpir,
        rate=now.decision.rate,
    )
    return replace(observation, decision=decision)


def rank(observation: Observation) -> tuple[int, float]:
    """The order of observations that represent a track: compared frames first, by their margin, since scores of different
    encoders are not comparable, and with both views before those with one; then attacks; then other refused frames."""
    margin = observation.decision.margin
    compared = observation.decision.kind is not DecisionKind.NOT_COMPARED
    attack = observation.sample.pad.decision is PadDecision.ATTACK
    first = 3 - observation.one_view if compared else int(attack)
    return first, -1e9 if margin is None else margin


def result_of(track: Track, kind: ResultKind, observation: Observation) -> TrackResult:
    return TrackResult(
        kind=kind,
        track=track.number,
        identity_id=track.identity_id,
        observation=observation,
        frames=track.compared,
        first_ns=track.first_ns,
        last_ns=track.last_ns,
    )
