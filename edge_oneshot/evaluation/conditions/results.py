"""What `edge-oneshot evaluate conditions` reports: the fields are the keys of its JSON."""

from __future__ import annotations

from dataclasses import dataclass

from edge_oneshot.evaluation.metrics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class TestedThreshold:
    """name: "in force" or "set by hand". fmr_everybody, fmr_matched: the claimed FMR against these strangers, or None."""

    name: str
    threshold: float
    fmr_everybody: float | None
    fmr_matched: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseMatches:
    """Comparisons of rendered probes with references of other people. expected: at the claim; None without one.

    ci95: of fmr, by bootstrap over people; without a false match it is Wilson's, with comparisons as trials.
    """

    comparisons: int
    observed: int
    expected: float | None
    fmr: float | None
    ci95: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class AtThreshold:
    """recognized: share of all probes that the gates let through and that match. encoder: share of the found ones that
    match, whatever the gates say; None if none was found.

    false_matches: of the probes that the gates let through; encoder_false_matches: of all that were found. matched_…: the
    same against strangers with the same labels only; None without labels.
    """

    threshold: str
    recognized: float
    recognized_ci95: Interval
    encoder: float | None
    encoder_ci95: Interval
    false_matches: FalseMatches
    encoder_false_matches: FalseMatches
    matched_false_matches: FalseMatches | None
    matched_encoder_false_matches: FalseMatches | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCost:
    """refused: probes that this gate refuses. would_match: those of them that match at the first threshold.

    alone: those of would_match that no other gate refuses: what opening this gate alone would gain.
    """

    refused: int
    would_match: int
    alone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionResult:
    """One condition. distance_m: of the subject, by the field of view. frames: for each probe; more than one is a track.

    found: share of the probes whose face was found (of a track: in any frame). refused: share that was found and not let
    through by the gates (of a track: in every frame).
    """

    name: str
    title: str
    family: str
    inter_eye_px: float
    distance_m: float
    light: float
    frames: int
    probes: int
    found: float
    found_ci95: Interval
    refused: float
    gates: dict[str, GateCost]
    at: tuple[AtThreshold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionsResult:
    """people: with a reference and a probe. references: of these and of the strangers. left_out: people without a usable
    reference. frame: (width, height) px. field_of_view_deg: horizontal. settings: what was configured.
    """

    people: int
    references: int
    left_out: int
    frame: tuple[int, int]
    field_of_view_deg: float
    settings: dict[str, object]
    thresholds: tuple[TestedThreshold, ...]
    conditions: tuple[ConditionResult, ...]
    encoder_id: str
    version: str
    commit: str

    def named(self, name: str) -> ConditionResult | None:
        return next((c for c in self.conditions if c.name == name), None)
