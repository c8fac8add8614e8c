"""Frame -> faces whose landmarks are as accurate far away as near.

A detector sees the whole frame at 192 px: it finds a face of 24 px between the eyes, but places its landmarks only to
a seventh of that distance. So each found face is cut out upright, at the size that the short-range network knows best,
and confirmed there; then the landmark network places eyes, nose and mouth. docs/explanation/architecture.md holds the measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_oneshot.model.bundle import Bundle
from edge_oneshot.model.runtime import PixelModel, Runtime
from edge_oneshot.types import Box, Face, Float32Array, Frame, UInt8Array
from edge_oneshot.vision.align import estimate_similarity, undo, warp
from edge_oneshot.vision.detector import BlazeFaceDetector

# Position and distance of the eyes in the refiner's 128 px input: tuned on LFW sets 1-4.
EYES_CENTRE = (0.5, 0.44)
INTER_EYE = 0.16
# The border around a still picture whose face fills it, as a share of the width (docs/explanation/evaluation.md).
BORDER = 0.5
# A refined face further than this from the found one, in inter-eye distances, is another face.
MAX_SHIFT = 0.6


class LandmarkPlacer:
    """Cuts the face out by its rough landmarks, and moves each of them by the offset that the network returns.

    Raises ModelError when model and card disagree. Belongs to one thread.
    """

    def __init__(self, bundle: Bundle, runtime: str = "auto", threads: int = 1) -> None:
        self.card = bundle.landmarks
        self.runtime = Runtime(bundle.model, bundle.path, runtime, threads)
        self._size = (self.card.input.width_px, self.card.input.height_px)
        self._points = np.array(list(self.card.points.values()), dtype=np.float64)
        count = len(self._points)
        self._model = PixelModel(
            self.runtime, bundle.path, self.card.input.shape, count * (3 if self.card.hidden else 2)
        )

    def place(self, frame: Frame, face: Face) -> Face:
        """The face with the landmarks of the card moved, in px of `frame.pixels`. Its other landmarks do not change.

        Raises KeyError if the face lacks one of them, ValueError if all of them coincide.
        """
        rough = np.array([face.landmark(name) for name in self.card.points], dtype=np.float64)
        transform = estimate_similarity(rough, self._points)
        offsets, hidden = self.look(warp(frame.pixels, transform, self._size))
        landmarks = face.landmarks.copy()
        landmarks[[face.landmark_names.index(name) for name in self.card.points]] = undo(
            transform, self._points + offsets
        )
        return replace(face, landmarks=landmarks, hidden=hidden)

    def look(self, pixels: UInt8Array) -> tuple[Float32Array, float]:
        """Run the network on a cut-out uint8 (H, W, 3) RGB of the card's size.

        Returns float32 (K, 2), the offsets in px from the card's points to the landmarks, and the highest probability that
        a landmark is hidden; 0 if the model has no such output.
        """
        values, count = self._model(pixels), len(self._points)
        worst = float(values[2 * count :].max(initial=-100.0))
        return values[: 2 * count].reshape(-1, 2), 1 / (1 + math.exp(-worst)) if self.card.hidden else 0.0


class FaceLocator:
    """Finds faces with `finder`, confirms them with `refiner`, places their landmarks with `placer`. Belongs to one thread."""

    def __init__(self, finder: BlazeFaceDetector, refiner: BlazeFaceDetector, placer: LandmarkPlacer) -> None:
        self.finder, self.refiner, self.placer = finder, refiner, placer
        spec = refiner.card.input
        self._size = (spec.width_px, spec.height_px)
        x, y, half = EYES_CENTRE[0] * spec.width_px, EYES_CENTRE[1] * spec.height_px, INTER_EYE * spec.width_px / 2
        self._centre, self._eyes = (x, y), np.array([[x - half, y], [x + half, y]])

    def locate(self, frame: Frame, border: float = 0.0) -> list[Face]:
        """Faces in px of `frame.pixels`, largest first. A face that the refiner does not confirm is dropped.

        border: of the picture that the finder searches, as a share of the width (BlazeFaceDetector.detect).
        """
        faces = [self.confirm(frame, face) for face in self.find(frame, border)]
        placed = [self.placer.place(frame, f) for f in faces if f is not None]
        return sorted(placed, key=lambda f: -f.box.area)

    def find(self, frame: Frame, border: float = 0.0) -> list[Face]:
        """Faces in px of `frame.pixels`, by the finder alone. border: as for `locate`."""
        if frame.lores is None:
            return self.finder.detect(frame.pixels, border)
        sx, sy = frame.size[0] / frame.lores.shape[1], frame.size[1] / frame.lores.shape[0]
        return [
            replace(
                f,
                box=Box(x0=f.box.x0 * sx, y0=f.box.y0 * sy, x1=f.box.x1 * sx, y1=f.box.y1 * sy),
                landmarks=f.landmarks * np.array([sx, sy], dtype=np.float32),
            )
            for f in self.finder.detect(frame.lores, border)
        ]

    def confirm(self, frame: Frame, face: Face) -> Face | None:
        """The face with the refiner's landmarks; None if the refiner finds no face there, or only another one."""
        if face.inter_eye_px < 2.0:
            return None  # too small to give a scale; far below every quality gate
        eyes = np.array([face.landmark("image_left_eye"), face.landmark("image_right_eye")])
        transform = estimate_similarity(eyes, self._eyes)
        found = self.refiner.detect(warp(frame.pixels, transform, self._size))
        first = between(*eyes.tolist())
        for candidate in sorted(found, key=lambda f: math.dist(between(*f.landmarks[:2].tolist()), self._centre)):
            landmarks = undo(transform, candidate.landmarks.astype(np.float64)).astype(np.float32)
            if math.dist(between(*landmarks[:2].tolist()), first) > MAX_SHIFT * face.inter_eye_px:
                return None
            return replace(face, landmarks=landmarks, landmark_names=candidate.landmark_names)
        return None


def between(p: Sequence[float], q: Sequence[float]) -> tuple[float, float]:
    """The midpoint of two points."""
    return (p[0] + q[0]) / 2, (p[1] + q[1]) / 2
