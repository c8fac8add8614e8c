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
from edge_oneshot.vision.light import light_up
from edge_oneshot.vision.tiles import Window, among, middle

# Position and distance of the eyes in the refiner's 128 px input: tuned on LFW sets 1-4.
EYES_CENTRE = (0.5, 0.44)
INTER_EYE = 0.16
# The border around a still picture whose face fills it, as a share of the width (docs/explanation/evaluation.md).
BORDER = 0.5
# A refined face further than this from the found one, in inter-eye distances, is another face.
MAX_SHIFT = 0.6
# Distance of the eyes as a share of the finder's box: tuned on LFW sets 1-4.
EYES_OF_BOX = 0.37
# For small faces, and faces that have moved since the frame before.
MAX_STEP = 1.5
# The refiner's least score for a face that no search of the whole frame found: more searches find more that is no face.
SURE = 0.7


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
        offsets, hidden = self.look(light_up(warp(frame.pixels, transform, self._size)))
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

    def locate(self, frame: Frame, border: float = 0.0, windows: Sequence[Window] = ()) -> list[Face]:
        """Faces in px of `frame.pixels`, largest first. A face that the refiner does not confirm is dropped.

        border: of the picture that the finder searches, as a share of the width (BlazeFaceDetector.detect). windows: parts of
        the frame to search as well, for smaller faces; a face that was found before is not found again.
        """
        faces = self.confirm_all(frame, self.find(frame, border))
        for window in windows:
            faces += self.confirm_new(frame, self.find_in(frame, window), faces)
        placed = [self.placer.place(frame, f) for f in faces]
        return sorted(placed, key=lambda f: -f.box.area)

    def find(self, frame: Frame, border: float = 0.0) -> list[Face]:
        """Faces in px of `frame.pixels`, by the finder alone. border: as for `locate`."""
        if frame.lores is None:
            return self.finder.detect(frame.pixels, border)
        return [in_frame(f, lores_scale(frame)) for f in self.finder.detect(frame.lores, border)]

    def find_in(self, frame: Frame, window: Window) -> list[Face]:
        """Faces of a part of the frame, in px of `frame.pixels`, by the finder alone.

        The picture in small is used if it has the pixels that the finder needs there.
        """
        pixels, (sx, sy) = frame.pixels, (1.0, 1.0)
        if frame.lores is not None and window.width >= self.finder.card.input.width_px * lores_scale(frame)[0]:
            pixels, (sx, sy) = frame.lores, lores_scale(frame)
        x, y = round(window.x / sx), round(window.y / sy)
        part = pixels[y : y + round(window.height / sy), x : x + round(window.width / sx)]
        return [in_frame(f, (sx, sy), (x * sx, y * sy)) for f in self.finder.detect(part)]

    def confirm_all(self, frame: Frame, faces: Sequence[Face]) -> list[Face]:
        """The faces that the refiner confirms, with its landmarks."""
        return [f for f in (self.confirm(frame, face) for face in faces) if f is not None]

    def confirm_new(self, frame: Frame, faces: Sequence[Face], known: Sequence[Face]) -> list[Face]:
        """Of the faces that a window showed, those of which the refiner is sure and which are not among the known ones."""
        new: list[Face] = []
        for face in faces:
            sure = None if among(face, [*known, *new]) else self.confirm_small(frame, by_box(face))
            if sure is not None and not among(sure, [*known, *new]):
                new.append(sure)
        return new

    def confirm(self, frame: Frame, face: Face) -> Face | None:
        """The face with the refiner's landmarks; None if the refiner finds no face there, or only another one."""
        seen = self._look(frame, face, MAX_SHIFT)
        return None if seen is None else seen[0]

    def confirm_small(self, frame: Frame, face: Face) -> Face | None:
        """As `confirm`, for a face that may have moved; None also if the refiner is not sure of it."""
        seen = self._look(frame, face, MAX_STEP)
        return None if seen is None or seen[1] < SURE else seen[0]

    def again(self, frame: Frame, face: Face) -> Face | None:
        """The face as the refiner sees it near its last place, its box moved with it; None if it is not there."""
        found = self.confirm_small(frame, face)
        if found is None:
            return None
        (x0, y0), (x1, y1) = middle(face), middle(found)
        return replace(found, box=in_frame(face, offset=(x1 - x0, y1 - y0)).box)

    def follow(self, frame: Frame, face: Face) -> Face | None:
        """The same with its landmarks placed, as `locate` gives it, without a search."""
        found = self.again(frame, face)
        return None if found is None else self.placer.place(frame, found)

    def _look(self, frame: Frame, face: Face, reach: float) -> tuple[Face, float] | None:
        """The refiner's face nearest to `face` and its score; None if none lies within reach, in inter-eye distances."""
        if face.inter_eye_px < 2.0:
            return None  # too small to give a scale; far below every quality gate
        eyes = np.array([face.landmark("image_left_eye"), face.landmark("image_right_eye")])
        transform = estimate_similarity(eyes, self._eyes)
        found = self.refiner.detect(warp(frame.pixels, transform, self._size))
        if not found:
            return None
        nearest = min(found, key=lambda f: math.dist(between(*f.landmarks[:2].tolist()), self._centre))
        landmarks = undo(transform, nearest.landmarks.astype(np.float64)).astype(np.float32)
        if math.dist(between(*landmarks[:2].tolist()), between(*eyes.tolist())) > reach * face.inter_eye_px:
            return None
        return replace(face, landmarks=landmarks, landmark_names=nearest.landmark_names), nearest.detection_score


def by_box(face: Face) -> Face:
    """The face with its eyes level, at the distance that its box implies.

    At 10 px between the eyes the finder's eyes are often half as far apart as they should be; its box is right within 10 %.
    """
    (x, y), half = middle(face), EYES_OF_BOX * face.box.width / 2
    landmarks = face.landmarks.copy()
    for name, at in (("image_left_eye", x - half), ("image_right_eye", x + half)):
        landmarks[face.landmark_names.index(name)] = at, y
    return replace(face, landmarks=landmarks)


def lores_scale(frame: Frame) -> tuple[float, float]:
    """Size of `frame.pixels` over that of `frame.lores`, (x, y); 1 without the latter."""
    if frame.lores is None:
        return 1.0, 1.0
    return frame.size[0] / frame.lores.shape[1], frame.size[1] / frame.lores.shape[0]


def in_frame(face: Face, scale: tuple[float, float] = (1.0, 1.0), offset: tuple[float, float] = (0.0, 0.0)) -> Face:
    """The face of a part of a frame, or of the frame in small, in px of the frame: scaled, then moved by offset."""
    (sx, sy), (x, y), box = scale, offset, face.box
    return replace(
        face,
        box=Box(x0=box.x0 * sx + x, y0=box.y0 * sy + y, x1=box.x1 * sx + x, y1=box.y1 * sy + y),
        landmarks=face.landmarks * np.array([sx, sy], dtype=np.float32) + np.array([x, y], dtype=np.float32),
    )


def between(p: Sequence[float], q: Sequence[float]) -> tuple[float, float]:
    """The midpoint of two points."""
    return (p[0] + q[0]) / 2, (p[1] + q[1]) / 2
