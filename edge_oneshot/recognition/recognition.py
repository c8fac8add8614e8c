"""The result of a comparison of a picture, as `Recognizer` returns it."""

from __future__ import annotations

from dataclasses import dataclass

from edge_oneshot.types import Box, Decision, DecisionKind, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """One face of a picture, compared. identity and name: of the match (for verify: of the claimed person), else None.

    decision: its kind, score, threshold, margin and the stated error rate. sample: the face, its quality and its faults.
    no_rate: the stated error rate does not hold for this person, and none can be stated.
    """

    identity: str | None
    name: str | None
    decision: Decision
    sample: Sample
    no_rate: bool = False

    @property
    def matched(self) -> bool:
        return self.decision.kind is DecisionKind.MATCH

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
