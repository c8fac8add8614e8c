"""The values that travel through the house. Frozen, slotted, keyword-only; checked when made.

Sizes are (width, height), arrays (H, W, C). Colour is RGB. Names carry their unit (_px _ns _s _deg).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


def _require(ok: bool, what: str, expected: str, got: object) -> None:
    if not ok:
        raise ValueError(f"{what}: expected {expected}, got {_describe(got) if isinstance(got, np.ndarray) else got}")


def _aware(what: str, moment: datetime) -> None:
    _require(moment.tzinfo is not None, what, "an aware datetime (UTC)", f"naive {moment!r}")


def _describe(array: object) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture from a camera.

    pixels: uint8 (H, W, 3) RGB, C-contiguous, made read-only here: a frame is shared and never edited.
    seq: running number within the camera's session. captured_ns: monotonic sensor time (time.monotonic_ns clock).
    captured_at: the same moment as aware UTC wall-clock time. source: the camera's URI or file name.
    lores: uint8 (h, w, 3) RGB of the same exposure and field of view, smaller, for the detector; None: use pixels.
    """

    pixels: UInt8Array
    seq: int
    captured_ns: int
    captured_at: datetime
    source: str
    lores: UInt8Array | None = None

    def __post_init__(self) -> None:
        p = self.pixels
        ok = isinstance(p, np.ndarray) and p.dtype == np.uint8 and p.ndim == 3 and p.shape[2] == 3
        _require(ok and min(p.shape) > 0, "Frame.pixels", "uint8 (H, W, 3) RGB", _describe(p))
        _require(p.flags.c_contiguous, "Frame.pixels", "a C-contiguous array", f"strides {p.strides}")
        _aware("Frame.captured_at", self.captured_at)
        p.setflags(write=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Axis-aligned, half-open [x0, x1) x [y0, y1), float px, origin top-left. It may reach over the border."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        finite = all(math.isfinite(v) for v in (self.x0, self.y0, self.x1, self.y1))
        _require(finite and self.x1 > self.x0 and self.y1 > self.y0, "Box", "finite, x1 > x0 and y1 > y0", self)

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return self.width * self.height

    def iou(self, other: Box) -> float:
        """Intersection over union, in [0, 1]."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        if w <= 0 or h <= 0:
            return 0.0
        return w * h / (self.area + other.area - w * h)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """A detected face (or, for other domains, region) in frame coordinates.

    landmarks: float32 (K, 2), px, (x, y). landmark_names: K names; left and right as seen in the image.
    detection_score: the detector's own score in [0, 1]. hidden: the landmark network's probability that one of the
    landmarks is behind something, [0, 1].
    """

    box: Box
    landmarks: Float32Array
    landmark_names: tuple[str, ...]
    detection_score: float
    hidden: float = 0.0

    def __post_init__(self) -> None:
        expected = (len(self.landmark_names), 2)
        _require(
            self.landmarks.shape == expected and self.landmarks.dtype == np.float32,
            "Face.landmarks",
            f"float32 {expected}",
            self.landmarks,
        )
        _require(bool(np.isfinite(self.landmarks).all()), "Face.landmarks", "finite px", "NaN or infinity")
        _require(0.0 <= self.detection_score <= 1.0, "Face.detection_score", "[0, 1]", self.detection_score)
        _require(0.0 <= self.hidden <= 1.0, "Face.hidden", "[0, 1]", self.hidden)

    def landmark(self, name: str) -> tuple[float, float]:
        """(x, y) px of a named landmark. Raises KeyError if the detector has none of that name."""
        try:
            x, y = self.landmarks[self.landmark_names.index(name)]
        except ValueError:
            raise KeyError(f"landmark {name!r}: expected one of {self.landmark_names}") from None
        return float(x), float(y)

    @property
    def inter_eye_px(self) -> float:
        """Distance between the two eye landmarks in px of the frame (ISO/IEC 39794-5: inter-eye distance)."""
        (x0, y0), (x1, y1) = self.landmark("image_left_eye"), self.landmark("image_right_eye")
        return math.hypot(x1 - x0, y1 - y0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chip:
    """What the encoder sees.

    pixels: uint8 (H, W, C); size and channels from the bundle's card, RGB or grey.
    transform: float64 (2, 3), maps frame px to chip px: chip = transform @ (x, y, 1).
    """

    pixels: UInt8Array
    transform: Float64Array

    def __post_init__(self) -> None:
        p = self.pixels
        _require(p.dtype == np.uint8 and p.ndim == 3 and p.shape[2] in (1, 3), "Chip.pixels", "uint8 (H, W, 1|3)", p)
        _require(self.transform.shape == (2, 3), "Chip.transform", "(2, 3)", self.transform.shape)


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
            _require(
                isinstance(value, (int, float)) and -1e12 < value < 1e12, f"Quality.{name}", "a finite number", value
            )
        _require(isinstance(self.faults, tuple), "Quality.faults", "a tuple of Fault", type(self.faults).__name__)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a gate refuses a capture. code: a fixed word for programs. message: what was measured and needed, and the fix."""

    code: str
    message: str


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
            _require(
                self.score is None and self.method is None, "PadResult(NOT_PERFORMED)", "neither score nor method", self
            )
        else:
            told = bool(self.method) and self.score is not None and math.isfinite(self.score)
            _require(told, f"PadResult({self.decision.name})", "a method and a finite score", self)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why the capture must not be compared: an attack is a fault, everything else is none."""
        if self.decision is not PadDecision.ATTACK:
            return ()
        told = f"taken for a picture, a screen or a mask by {self.method} (score {self.score:.3g}): show your own face, uncovered"
        return (Fault(code="attack", message=told),)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """vector: float32 (D,), finite; unit norm when the bundle's comparator is cosine. encoder_id: who made it."""

    vector: Float32Array
    encoder_id: str

    def __post_init__(self) -> None:
        v = self.vector
        _require(v.dtype == np.float32 and v.ndim == 1 and v.size > 0, "Embedding.vector", "float32 (D,)", v)
        _require(bool(np.isfinite(v).all()), "Embedding.vector", "finite values", "NaN or infinity")
        known = isinstance(self.encoder_id, str) and self.encoder_id.startswith("sha256:")
        _require(known, "Embedding.encoder_id", "sha256:…", self.encoder_id)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Template:
    """A stored reference. It describes itself: another encoder's template is kept, and never compared."""

    template_id: str
    identity_id: str
    embedding: Embedding
    quality: Quality
    created_at: datetime

    def __post_init__(self) -> None:
        _aware("Template.created_at", self.created_at)

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
            _require(ok, "Decision(MATCH)", f"a candidate with score >= {self.threshold}", self.candidate)

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
    pad: PadResult = PadResult()

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What leaves the device. `late`, `expires_at`, `clock` and `signature` are computed at each hand-over, not here.

    event_id: UUIDv7. event_type: match, unknown, rejected, gone, enrolled, forgotten. ts: capture time, aware UTC.
    captured_ns: monotonic capture time, and boot_id: the boot it belongs to, so that lateness needs no wall clock.
    body: the fields of this event type, JSON values only (docs/reference/mqtt.md, events/schema/event-v1.json).
    """

    event_id: str
    event_type: str
    ts: datetime
    captured_ns: int
    boot_id: str
    body: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _aware("Event.ts", self.ts)
        _require(self.event_type in EVENT_TYPES, "Event.event_type", f"one of {EVENT_TYPES}", self.event_type)


EVENT_TYPES = ("match", "unknown", "rejected", "gone", "enrolled", "forgotten")
