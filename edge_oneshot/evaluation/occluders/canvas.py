"""The coordinates and the light of one face, and compositing in them.

Lengths are in inter-eye distances from the midpoint of the eyes: x along the line of the eyes, y down the face.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from edge_oneshot.types import Float32Array, Float64Array, UInt8Array

FINER = 3  # shapes are drawn so many times larger, and averaged down
Point = tuple[float, float]


class Canvas:
    """A picture so far. nose, mouth: (x, y) of the landmarks. x, y: coordinates of each pixel, float64 (H, W).

    light: relative brightness of the scene at each pixel, blurred, about 1 on a well-lit face, float64 (H, W).
    """

    def __init__(self, pixels: UInt8Array, landmarks: Float64Array, random: np.random.Generator) -> None:
        """pixels: RGB (H, W, 3). landmarks: px, float (4, 2), of image-left eye, image-right eye, nose and mouth."""
        left, right = landmarks[:2]
        self.random, self.pixels = random, pixels.astype(np.float64)
        self._middle, self.unit = (left + right) / 2, float(np.linalg.norm(right - left))
        along = (right - left) / self.unit
        self._axes = np.stack([along, [-along[1], along[0]]])
        self.nose, self.mouth = (self._place(p) for p in landmarks[2:])
        height, width = pixels.shape[:2]
        dy, dx = (np.mgrid[0:height, 0:width] + 0.5 - self._middle[::-1, None, None]) / self.unit
        self.x: Float64Array = dx * along[0] + dy * along[1]
        self.y: Float64Array = dy * along[0] - dx * along[1]
        face = (np.abs(self.x) < 0.9) & (np.abs(self.y - 0.5) < 1)
        self.skin: Float64Array = np.median(self.pixels[(np.abs(self.x) < 0.7) & (np.abs(self.y - 0.5) < 0.25)], axis=0)
        self._grey = bool(np.ptp(self.pixels[face], axis=-1).mean() < 4)
        blurred = self._blurred(self.pixels.mean(axis=-1), 0.45)
        average = float(blurred[face].mean())
        relative = 1 + 0.7 * np.clip(blurred / max(average, 1) - 1, -0.6, 0.6)
        self.light: Float64Array = relative * float(np.clip(average / 140, 0.35, 1.25))

    def _place(self, point: Float64Array) -> Point:
        x, y = (self._axes @ (point - self._middle) / self.unit).tolist()
        return float(x), float(y)

    def shape(self, outline: Sequence[Point], soft: float = 0.0) -> Float64Array:
        """How much of each pixel a polygon covers, (H, W) in [0, 1]. soft: blur, in inter-eye distances."""
        height, width = self.pixels.shape[:2]
        image = Image.new("L", (width * FINER, height * FINER))
        points = self._middle + self.unit * np.asarray(outline, np.float64) @ self._axes
        ImageDraw.Draw(image).polygon([tuple(p) for p in (FINER * points).tolist()], fill=255)
        image = image.reduce(FINER)
        if soft:
            image = image.filter(ImageFilter.GaussianBlur(soft * self.unit))
        return np.asarray(image) / 255

    def stroke(self, points: Sequence[Point], width: float) -> Float64Array:
        """How much of each pixel a line of this width covers, with round ends."""
        distance = np.full(self.x.shape, np.inf)
        for (ax, ay), (bx, by) in pairwise(points):
            dx, dy = bx - ax, by - ay
            t = np.clip(((self.x - ax) * dx + (self.y - ay) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
            distance = np.minimum(distance, np.hypot(self.x - ax - t * dx, self.y - ay - t * dy))
        return np.clip((width / 2 - distance) * self.unit + 0.5, 0, 1)

    def lay(
        self, alpha: Float64Array, colour: Float64Array | Sequence[float], shade: Float64Array | float = 1.0
    ) -> None:
        """Cover with a colour (3,) or (H, W, 3) in [0, 255], times the shade (H, W) and the light of the scene."""
        values = np.asarray(colour, np.float64)
        if self._grey:
            values = np.repeat(values.mean(axis=-1, keepdims=True), 3, axis=-1)
        self._mix(alpha, values * (self.light * shade)[..., None])

    def paint(self, alpha: Float64Array, colour: Float64Array) -> None:
        """Cover with a colour (3,) in [0, 255], whatever the light."""
        self._mix(alpha, np.broadcast_to(colour, self.pixels.shape))

    def shadow(self, alpha: Float64Array, depth: float) -> None:
        """Darken what is there by the share `depth`."""
        self._mix(alpha, self.pixels * (1 - depth))

    def finished(self, covered: Float64Array) -> UInt8Array:
        """The picture, with the blur and the noise of a camera where it was covered."""
        sharp = Image.fromarray(np.clip(self.pixels, 0, 255).astype(np.uint8))
        soft = np.asarray(sharp.filter(ImageFilter.GaussianBlur(0.012 * self.unit)), np.float64)
        noise = self.random.normal(scale=self.random.uniform(0, 4), size=(*self.x.shape, 1))
        self._mix(np.clip(covered, 0, 1), soft + noise)
        return np.clip(np.rint(self.pixels), 0, 255).astype(np.uint8)

    def _mix(self, alpha: Float64Array, values: Float64Array) -> None:
        self.pixels += alpha[..., None] * (values - self.pixels)

    def _blurred(self, plane: Float64Array, sigma: float) -> Float64Array:
        """A plane (H, W), averaged over cells of 2 sigma inter-eye distances and interpolated between them."""
        image, (height, width) = Image.fromarray(plane.astype(np.float32)), plane.shape
        cell = max(1.0, 2 * sigma * self.unit)
        small = image.resize((max(2, round(width / cell)), max(2, round(height / cell))), Image.Resampling.BOX)
        blurred: Float32Array = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
        return blurred.astype(np.float64)
