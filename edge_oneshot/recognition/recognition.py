"""The result of a comparison of a picture, as `Recognizer` returns it."""

from __future__ import annotations

from dataclasses import dataclass

from edge_oneshot.gallery.people import People
from edge_oneshot.recognition.access import Access
from edge_oneshot.types import Box, Decision, DecisionKind, Identity, Refusal, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """One face of a picture, compared. identity and name: of the match (for verify: of the claimed person), else None.

    denied: the person who was recognized, and is not allowed here now by the access rules. Such a face is no match: `matched` is
    false, and identity and name are None (for verify: of the claimed person).

    decision: its kind, score, threshold, margin and the stated error rate. sample: the face, its quality and its faults.
    no_rate: the stated error rate does not hold for this person, and none can be stated.
    """

    identity: str | None
    name: str | None
    decision: Decision
    sample: Sample
    no_rate: bool = False
    denied: Refusal | None = None

    @property
    def matched(self) -> bool:
        return self.decision.kind is DecisionKind.MATCH and self.denied is None

    @property
    def score(self) -> float | None:
        """Comparison score, higher = more alike. None: nothing was compared."""
        return self.decision.score

    @property
    def threshold(self) -> float:
        return self.decision.threshold

    @property
    def box(self) -> Box | None:
        """Of the face, px of the picture. None for an encoder of whole frames."""
        return None if self.sample.face is None else self.sample.face.box


def refusal_of(people: People, access: Access, identity_id: str) -> Refusal | None:
    """Why a person is not allowed here now; None: the person is allowed."""
    reason = access.denial(people.access.get(identity_id))
    name = people.names.get(identity_id, identity_id)
    return None if reason is None else Refusal(identity_id=identity_id, name=name, reason=reason)


def recognition_of(
    people: People, access: Access, sample: Sample, decision: Decision, claimed: Identity | None = None
) -> Recognition:
    """What a decision on a sample states, with the access rules of the person. claimed: the only person who was compared."""
    candidate = decision.candidate if decision.kind is DecisionKind.MATCH else None
    found = None if candidate is None else candidate.identity_id
    denied = None if found is None else refusal_of(people, access, found)
    shown = claimed.identity_id if claimed is not None else None if denied is not None else found
    name = claimed.name if claimed is not None else None if shown is None else people.names.get(shown, shown)
    no_rate = (shown or found) in people.no_rate
    return Recognition(identity=shown, name=name, decision=decision, sample=sample, no_rate=no_rate, denied=denied)
