"""Scores -> decision on one capture: a match with the best identity if its score reaches the threshold, else a non-match."""

from __future__ import annotations

from edge_oneshot.matching.compare import References
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.types import Decision, DecisionKind, Embedding, Fault

EMPTY_GALLERY = Fault(code="empty_gallery", message="no person is enrolled with this encoder: enroll one")


def decide(probe: Embedding, references: References, threshold: Threshold, card: EncoderCard) -> Decision:
    """Open-set identification, 1:N. An empty gallery gives NON_MATCH without a candidate: every person is unknown."""
    ranked = references.rank(probe)
    if not ranked:
        return Decision(
            kind=DecisionKind.NON_MATCH,
            threshold=threshold.value,
            target_fmr=threshold.target_fmr,
            target_fpir=threshold.target_fpir,
            faults=(EMPTY_GALLERY,),
        )
    best = ranked[0]
    return Decision(
        kind=DecisionKind.MATCH if best.score >= threshold.value else DecisionKind.NON_MATCH,
        threshold=threshold.value,
        target_fmr=threshold.target_fmr,
        target_fpir=threshold.target_fpir,
        candidate=best,
        runner_up=ranked[1] if len(ranked) > 1 else None,
        same_probability=None if card.probability is None else card.probability(best.score),
    )


def not_compared(faults: tuple[Fault, ...], threshold: Threshold) -> Decision:
    """The decision for a failure to acquire: the capture has faults, so no comparison took place."""
    return Decision(
        kind=DecisionKind.NOT_COMPARED,
        threshold=threshold.value,
        target_fmr=threshold.target_fmr,
        target_fpir=threshold.target_fpir,
        faults=faults,
    )
