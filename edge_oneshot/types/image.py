"""From a frame to the chip that the encoder takes: Frame, Box, Face, Chip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from edge_oneshot.types.checks import Float32Array, Float64Array, UInt8Array, aware, describe, require


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture from a camera.

    pixels: uint8 (H, W, 3) RGB, C-contiguous; made read-only here, since a frame is shared.
    seq: number of the frame since the camera was opened. captured_ns: capture time on the time.monotonic_ns clock.
    captured_at: the same moment as wall-clock time, aware, UTC. source: URI of the camera or name of the file.
    lores: uint8 (h, w, 3) RGB, the same exposure and field of view in small, for the detector; None: use pixels.
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
        require(ok and min(p.shape) > 0, "Frame.pixels", "uint8 (H, W, 3) RGB", describe(p))
        require(p.flags.c_contiguous, "Frame.pixels", "a C-contiguous array", f"strides {p.strides}")
        aware("Frame.captured_at", self.captured_at)
        p.setflags(write=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An axis-aligned box, half-open [x0, x1) x [y0, y1), float px, origin top left. It may extend beyond the frame."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        finite = all(math.isfinite(v) for v in (self.x0, self.y0, self.x1, self.y1))
        require(finite and self.x1 > self.x0 and self.y1 > self.y0, "Box", "finite, x1 > x0 and y1 > y0", self)

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
    """A detected face, or a region in another domain, in px of the frame.

    landmarks: float32 (K, 2), (x, y) px. landmark_names: K names; left and right are those of the image.
    detection_score: score of the detector, [0, 1]. hidden: probability, from the landmark network, that something
    covers one of the landmarks, [0, 1].
    """

    box: Box
    landmarks: Float32Array
    landmark_names: tuple[str, ...]
    detection_score: float
    hidden: float = 0.0

    def __post_init__(self) -> None:
        expected = (len(self.landmark_names), 2)
        require(
            self.landmarks.shape == expected and self.landmarks.dtype == np.float32,
            "Face.landmarks",
            f"float32 {expected}",
            self.landmarks,
        )
        require(bool(np.isfinite(self.landmarks).all()), "Face.landmarks", "finite px", "NaN or infinity")
        require(0.0 <= self.detection_score <= 1.0, "Face.detection_score", "[0, 1]", self.detection_score)
        require(0.0 <= self.hidden <= 1.0, "Face.hidden", "[0, 1]", self.hidden)

    def landmark(self, name: str) -> tuple[float, float]:
        """(x, y) px of a landmark. Raises KeyError if there is none of that name."""
        try:
            x, y = self.landmarks[self.landmark_names.index(name)].tolist()
        except ValueError:
            raise KeyError(f"landmark {name!r}: expected one of {self.landmark_names}") from None
        return x, y

    @property
    def inter_eye_px(self) -> float:
        """Distance between the two eye landmarks in px of the frame (ISO/IEC 39794-5: inter-eye distance)."""
        (x0, y0), (x1, y1) = self.landmark("image_left_eye"), self.landmark("image_right_eye")
        return math.hypot(x1 - x0, y1 - y0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chip:
    """The input of the encoder: an aligned face, or a whole frame.

    pixels: uint8 (H, W, C); size and channels as the card of the bundle states, RGB or grey.
    transform: float64 (2, 3), from px of the frame to px of the chip: chip = transform @ (x, y, 1).
    """

    pixels: UInt8Array
    transform: Float64Array

    def __post_init__(self) -> None:
        p = self.pixels
        require(p.dtype == np.uint8 and p.ndim == 3 and p.shape[2] in (1, 3), "Chip.pixels", "uint8 (H, W, 1|3)", p)
        require(self.transform.shape == (2, 3), "Chip.transform", "(2, 3)", self.transform.shape)
