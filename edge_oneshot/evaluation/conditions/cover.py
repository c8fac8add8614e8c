"""Hats, masks and dark glasses, drawn by landmarks onto a portrait: shaded, anti-aliased, in a colour of the seed's choice.

Lengths are in inter-eye distances from the midpoint of the eyes, x along the line of the eyes, y down the face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from edge_oneshot.evaluation.conditions.scene import Portrait
from edge_oneshot.types import Float32Array, Float64Array

FINER = 3  # the shapes are drawn so many times larger, and averaged down
Point = tuple[float, float]
MASKS = ((150, 190, 215), (232, 234, 236), (38, 40, 46), (120, 150, 130))
HATS = ((40, 44, 60), (120, 40, 40), (70, 90, 60), (150, 140, 120), (30, 30, 32))


class _Canvas:
    """The coordinates of one face, and its picture so far."""

    def __init__(self, portrait: Portrait) -> None:
        left, right = portrait.eyes
        self.middle, self.unit = (left + right) / 2, portrait.inter_eye_px
        self.along = (right - left) / self.unit
        self.across = np.array([-self.along[1], self.along[0]])
        self.pixels: Float32Array = portrait.pixels.astype(np.float32)
        height, width = self.pixels.shape[:2]
        dy, dx = np.mgrid[0:height, 0:width] + 0.5
        dx, dy = (dx - self.middle[0]) / self.unit, (dy - self.middle[1]) / self.unit
        self.x: Float64Array = dx * self.along[0] + dy * self.along[1]
        self.y: Float64Array = dx * self.across[0] + dy * self.across[1]

    def depth(self, point: Point) -> float:
        """How far down the face a point of the picture lies."""
        return float((np.array(point) - self.middle) @ self.across / self.unit)

    def shape(self, outline: Sequence[Point], soft: float = 0.0) -> Float64Array:
        """How much of each pixel a polygon covers, (H, W) in [0, 1]. soft: blur, in inter-eye distances."""
        height, width = self.pixels.shape[:2]
        image = Image.new("L", (width * FINER, height * FINER))
        points = [self.middle + self.unit * (a * self.along + b * self.across) for a, b in outline]
        ImageDraw.Draw(image).polygon([tuple((FINER * p).tolist()) for p in points], fill=255)
        image = image.reduce(FINER)
        if soft:
            image = image.filter(ImageFilter.GaussianBlur(soft * self.unit))
        return np.asarray(image) / 255

    def lay(self, alpha: Float64Array, colour: Sequence[float], shade: Float64Array) -> None:
        """Cover with a colour, times the shade (H, W)."""
        self._mix(alpha, np.asarray(colour) * shade[..., None])

    def shadow(self, alpha: Float64Array, depth: float) -> None:
        """Darken what is there by the share `depth`."""
        self._mix(alpha, self.pixels.astype(np.float64) * (1 - depth))

    def _mix(self, alpha: Float64Array, values: Float64Array) -> None:
        a = alpha[..., None]
        self.pixels = (self.pixels * (1 - a) + values * a).astype(np.float32)

    def done(self, portrait: Portrait) -> Portrait:
        return replace(portrait, pixels=np.clip(np.rint(self.pixels), 0, 255).astype(np.uint8))


def mask(portrait: Portrait) -> Portrait:
    """A surgical mask from the bridge of the nose to below the chin, with folds and straps."""
    canvas, random = _Canvas(portrait), np.random.default_rng([portrait.seed, 3])
    nose, mouth = (canvas.depth(portrait.landmarks[n]) for n in ("nose", "mouth"))
    top, bottom = nose - 0.3, mouth + 0.75
    outline = [
        *((x, top + 0.28 * (x / 0.95) ** 2 - 0.12 * np.exp(-((x / 0.25) ** 2))) for x in np.linspace(-0.95, 0.95, 21)),
        (0.9, mouth + 0.2),
        *((x, bottom - 0.45 * (x / 0.8) ** 2) for x in np.linspace(0.75, -0.75, 15)),
        (-0.9, mouth + 0.2),
    ]
    colour = MASKS[int(random.integers(len(MASKS)))]
    round_face = 1.05 - 0.35 * np.clip(np.abs(canvas.x) / 0.95, 0, 1.2) ** 2 - 0.1 * np.clip(canvas.y - mouth, 0, 1)
    folds = 1 - 0.09 * (np.mod(canvas.y - top, 0.28) < 0.05) * (canvas.y > top + 0.2) * (np.abs(canvas.x) < 0.8)
    canvas.shadow(canvas.shape([(x, y + 0.06) for x, y in outline], soft=0.08), 0.3)
    for side in (-1, 1):
        for start, end in ((top + 0.3, top - 0.05), (mouth + 0.25, mouth)):
            strap = [(side * 0.85, start), (side * 1.35, end), (side * 1.35, end + 0.05), (side * 0.85, start + 0.05)]
            canvas.lay(canvas.shape(strap), (225, 225, 225), np.full_like(canvas.x, 0.9))
    canvas.lay(canvas.shape(outline), colour, round_face * folds)
    return canvas.done(portrait)


def glasses(portrait: Portrait) -> Portrait:
    """Dark glasses: two lenses with a reflection, a bridge, and temples."""
    canvas, random = _Canvas(portrait), np.random.default_rng([portrait.seed, 4])
    turn = np.linspace(0, 2 * np.pi, 40)
    wide, high = random.uniform(0.36, 0.45), random.uniform(0.24, 0.34)
    reflection = 1 + 1.6 * np.exp(-(((canvas.x + canvas.y - 0.35) % 1.0 - 0.3) ** 2) / 0.01)
    for side in (-1, 1):
        lens = [
            (
                side * 0.5 + wide * np.sign(np.cos(a)) * abs(np.cos(a)) ** 0.7,
                0.05 + high * np.sign(np.sin(a)) * abs(np.sin(a)) ** 0.7,
            )
            for a in turn
        ]
        canvas.shadow(canvas.shape([(x, y + 0.05) for x, y in lens], soft=0.06), 0.25)
        canvas.lay(canvas.shape(lens), (24, 24, 28), reflection + 0.9 * np.clip(canvas.y, 0, 1))
        temple = [(side * 0.85, -0.1), (side * 1.3, -0.12), (side * 1.3, -0.05), (side * 0.85, -0.02)]
        canvas.lay(canvas.shape(temple), (30, 28, 28), np.ones_like(canvas.x))
    canvas.lay(
        canvas.shape([(-0.16, -0.08), (0.16, -0.08), (0.16, -0.01), (-0.16, -0.01)]),
        (30, 28, 28),
        np.ones_like(canvas.x),
    )
    return canvas.done(portrait)


def hat(portrait: Portrait) -> Portrait:
    """A cap that hides hair and brows, with a visor and its shadow over the eyes."""
    canvas, random = _Canvas(portrait), np.random.default_rng([portrait.seed, 5])
    colour = HATS[int(random.integers(len(HATS)))]
    brim = random.uniform(-0.3, -0.2)
    crown = [(1.42 * np.cos(a), brim - 0.1 - 1.55 * np.sin(a)) for a in np.linspace(0, np.pi, 30)]
    visor = [(1.12 * np.cos(a), brim - 0.24 + 0.24 * np.sin(a)) for a in np.linspace(0, np.pi, 30)]
    visor += [(1.12 * np.cos(a), brim - 0.24 - 0.2 * np.sin(a)) for a in np.linspace(np.pi, 0, 30)]
    canvas.shadow(canvas.shape([(x, y + 0.3) for x, y in visor], soft=0.1), 0.4)
    light = 1.15 - 0.4 * np.clip(np.abs(canvas.x + 0.3) / 1.3, 0, 1.3) ** 2
    seam = 1 - 0.12 * (np.abs(np.mod(canvas.x + 2.25, 0.5) - 0.25) < 0.02)
    canvas.lay(canvas.shape(crown), colour, light * seam)
    canvas.lay(canvas.shape(visor), colour, 0.55 + 0.35 * np.clip((brim - canvas.y) / 0.4, 0, 1))
    return canvas.done(portrait)
