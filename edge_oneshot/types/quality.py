"""Why a capture may not be used: Fault, Quality (of the picture), PadResult (presentation attack detection)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from edge_oneshot.types.checks import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a capture is refused. code: a fixed word for programs. message: measured and required value, and the fix."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Measures of one capture, and its faults. Quality decides whether a capture is used. A dark face is
    brightened before it is encoded; beyond that no measure changes a score.

    inter_eye_px: px of the frame; 0 for a bundle whose regions are whole frames. sharpness: variance of the Laplacian
    of the chip's luma (Pech-Pacheco et al. 2000). luma: mean of the BT.601 luma, [0, 255]. contrast: its standard
    deviation. yaw_deg, pitch_deg: estimated from the landmarks; 0 = frontal, positive = nose towards the right of the image
    and towards its lower edge (the person looks down, or the camera is above).
    cropped: share of the chip's area outside the frame, [0, 1]. hidden: probability that something (a hand, dark
    glasses, a mask) covers one of the landmarks, [0, 1]; 0 if it was not measured.
    faults: one `Fault` for each quality gate that the capture fails; empty = good.
    """

    inter_eye_px: float
    sharpness: float
    luma: float
    contrast: float
    yaw_deg: float
    cropped: float = 0.0
    hidden: float = 0.0
    pitch_deg: float = 0.0
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        for name in ("inter_eye_px", "sharpness", "luma", "contrast", "yaw_deg", "cropped", "hidden", "pitch_deg"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and -1e12 < value < 1e12):
                require(False, f"Quality.{name}", "a finite number", value)
        require(isinstance(self.faults, tuple), "Quality.faults", "a tuple of Fault", type(self.faults).__name__)

    @property
    def good(self) -> bool:
        return not self.faults

    def measures(self) -> dict[str, float]:
        """The measures without the faults, rounded, for output and JSON."""
        return {
            "inter_eye_px": round(self.inter_eye_px, 1),
            "sharpness": round(self.sharpness, 1),
            "luma": round(self.luma, 1),
            "contrast": round(self.contrast, 1),
            "yaw_deg": round(self.yaw_deg, 1),
            "pitch_deg": round(self.pitch_deg, 1),
            "cropped": round(self.cropped, 3),
            "hidden": round(self.hidden, 3),
        }


class PadDecision(Enum):
    """The result of presentation attack detection (PAD) for one capture, in the terms of ISO/IEC 30107-3."""

    NOT_PERFORMED = "not_performed"
    BONA_FIDE = "bona_fide"
    ATTACK = "attack"


@dataclass(frozen=True, slots=True, kw_only=True)
class PadResult:
    """decision, score (of the method: finite, higher = more like an attack) and method (name and version).

    NOT_PERFORMED (no method, or a quality gate refused the capture first) has neither score nor method.
    """

    decision: PadDecision = PadDecision.NOT_PERFORMED
    score: float | None = None
    method: str | None = None

    def __post_init__(self) -> None:
        if self.decision is PadDecision.NOT_PERFORMED:
            require(
                self.score is None and self.method is None, "PadResult(NOT_PERFORMED)", "neither score nor method", self
            )
        else:
            stated = bool(self.method) and self.score is not None and math.isfinite(self.score)
            require(stated, f"PadResult({self.decision.name})", "a method and a finite score", self)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The fault of an attack; () for any other decision."""
        if self.decision is not PadDecision.ATTACK:
            return ()
        message = f"{self.method} detects a picture, a screen or a mask (score {self.score:.3g}): show your own face, uncovered"
        return (Fault(code="attack", message=message),)
