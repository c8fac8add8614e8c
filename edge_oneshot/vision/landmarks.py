"""The landmark network: places the landmarks of a found face, and estimates whether one is hidden."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edge_oneshot.model.bundle import Bundle
from edge_oneshot.model.runtime import PixelModel, Runtime
from edge_oneshot.types import Face, Float32Array, Frame, UInt8Array
from edge_oneshot.vision.align import estimate_similarity, undo, warp


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
