"""Why a capture may not be used: Fault, Quality (of the picture), PadResult (presentation attack detection)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from edge_oneshot.types.checks import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a gate refuses a capture. code: a fixed word for programs. message: what was measured and needed, and the fix."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Measures of one capture, and the faults for which a gate refuses it. It gates and never edits a score.

    inter_eye_px: px in the frame; 0 for a bundle whose regions are whole frames. sharpness: variance of the Laplacian
    of the chip's luma (Pech-Pacheco et al. 2000). luma: mean of BT.601 luma, [0, 255]. contrast: its standard
    deviation. yaw_deg: estimated from the landmarks, 0 = frontal, positive = nose towards the image's right.
    cropped: share of the chip's area that lies outside the frame, [0, 1]. hidden: probability that one of the landmarks
    is behind something (a hand, dark glasses, a mask), [0, 1]; 0 where nobody looked.
    faults: one `Fault` for each gate that it fails; empty = good.
    """

    inter_eye_px: float
    sharpness: float
    luma: float
    contrast: float
    yaw_deg: float
    cropped: float = 0.0
    hidden: float = 0.0
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        for name in ("inter_eye_px", "sharpness", "luma", "contrast", "yaw_deg", "cropped", "hidden"):
            value = getattr(self, name)
            require(
                isinstance(value, (int, float)) and -1e12 < value < 1e12, f"Quality.{name}", "a finite number", value
            )
        require(isinstance(self.faults, tuple), "Quality.faults", "a tuple of Fault", type(self.faults).__name__)

    @property
    def good(self) -> bool:
        return not self.faults

    def measures(self) -> dict[str, float]:
        """The measures without the faults, rounded for people and JSON."""
        return {
            "inter_eye_px": round(self.inter_eye_px, 1),
            "sharpness": round(self.sharpness, 1),
            "luma": round(self.luma, 1),
            "contrast": round(self.contrast, 1),
            "yaw_deg": round(self.yaw_deg, 1),
            "cropped": round(self.cropped, 3),
            "hidden": round(self.hidden, 3),
        }


class PadDecision(Enum):
    """What presentation attack detection (PAD) said of one capture, in the words of ISO/IEC 30107-3."""

    NOT_PERFORMED = "not_performed"
    BONA_FIDE = "bona_fide"
    ATTACK = "attack"


@dataclass(frozen=True, slots=True, kw_only=True)
class PadResult:
    """decision; score: the method's own PAD score, finite, higher = more like an attack; method: its name and version.

    Not performed (there is no method, or a quality gate refused the capture first): neither score nor method.
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
            told = bool(self.method) and self.score is not None and math.isfinite(self.score)
            require(told, f"PadResult({self.decision.name})", "a method and a finite score", self)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why the capture must not be compared: an attack is a fault, everything else is none."""
        if self.decision is not PadDecision.ATTACK:
            return ()
        told = f"taken for a picture, a screen or a mask by {self.method} (score {self.score:.3g}): show your own face, uncovered"
        return (Fault(code="attack", message=told),)
