"""Face -> chip: the similarity transform that brings the landmarks to the places the encoder was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from PIL import Image

from edge_oneshot.model.card import EncoderCard
from edge_oneshot.types import Chip, Face, Float32Array, Float64Array, Frame, UInt8Array

# ITU-R BT.601 luma, the weights that Pillow's "L" uses
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def estimate_similarity(source: Float64Array, target: Float64Array) -> Float64Array:
    """Least-squares similarity (rotation, uniform scale, translation; no reflection) from source to target points.

    source, target: float64 (K, 2), K >= 2, not all source points equal. Returns float64 (2, 3).
    In the plane the solution is closed: with points as complex numbers, z -> a z + b minimises sum |a s + b - t|^2 at
    a = sum(conj(s') t') / sum |s'|^2 over centred points (Umeyama 1991, two dimensions).
    Raises ValueError for coinciding points.
    """
    # A handful of points: plain numbers are several times faster than arrays.
    s, t = [complex(x, y) for x, y in source.tolist()], [complex(x, y) for x, y in target.tolist()]
    s_mean, t_mean = sum(s) / len(s), sum(t) / len(t)
    spread = sum(abs(p - s_mean) ** 2 for p in s)
    if spread < 1e-9:
        raise ValueError(f"alignment: expected distinct points, got {source.tolist()}")
    a = sum((p - s_mean).conjugate() * (q - t_mean) for p, q in zip(s, t, strict=True)) / spread
    b = t_mean - a * s_mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def undo(transform: Float64Array, points: Float64Array) -> Float64Array:
    """Points float64 (K, 2) that a similarity (2, 3) led to, back where they came from."""
    (a, b, c), (d, e, f) = transform.tolist()
    back: Float64Array = (points - (c, f)) @ np.array([[e, -d], [-b, a]]) / (a * e - b * d)
    return back


def align(frame: Frame, face: Face, card: EncoderCard) -> Chip:
    """The chip of one face: uint8 (H, W, C) by the card's alignment points. Outside the frame is black.

    Raises KeyError if the detector lacks a landmark that the card aligns by.
    """
    points: Mapping[str, tuple[float, float]] = card.alignment
    source = np.array([face.landmark(name) for name in points], dtype=np.float64)
    transform = estimate_similarity(source, np.array(list(points.values()), dtype=np.float64))
    pixels = warp(frame.pixels, transform, (card.input.width_px, card.input.height_px))
    return Chip(pixels=pixels if card.input.channels == 3 else _grey(pixels), transform=transform)


def whole_frame(frame: Frame, card: EncoderCard) -> Chip:
    """The chip of a bundle with regions = "frame": the whole picture, stretched to the card's size."""
    width, height = card.input.width_px, card.input.height_px
    picture = Image.fromarray(frame.pixels)
    if card.input.channels == 1:
        picture = picture.convert("L")
    pixels = np.asarray(
        picture.resize((width, height), Image.Resampling.BOX if width < frame.size[0] else Image.Resampling.BILINEAR)
    )
    sx, sy = width / frame.size[0], height / frame.size[1]
    return Chip(
        pixels=pixels.reshape(height, width, card.input.channels), transform=np.array([[sx, 0.0, 0.0], [0.0, sy, 0.0]])
    )


def _grey(pixels: UInt8Array) -> UInt8Array:
    luma: Float32Array = pixels @ LUMA
    return np.rint(luma).astype(np.uint8)[..., np.newaxis]


def warp(pixels: UInt8Array, transform: Float64Array, size: tuple[int, int]) -> UInt8Array:
    """uint8 (H, W, 3) -> uint8 (height, width, 3), bilinear. size = (width, height)."""
    width, height = size
    (a, b, c), (d, e, f) = transform.tolist()
    determinant = a * e - b * d
    # The way back, chip -> frame: x = ia u + ib v + ic, y = id u + ie v + if
    ia, ib, id_, ie = e / determinant, -b / determinant, -d / determinant, a / determinant
    ic, if_ = -(ia * c + ib * f), -(id_ * c + ie * f)
    # Only the part of the frame that the chip shows is handed to Pillow: a copy of the whole costs more than the warp.
    xs = [ic, ia * width + ic, ib * height + ic, ia * width + ib * height + ic]
    ys = [if_, id_ * width + if_, ie * height + if_, id_ * width + ie * height + if_]
    x0, x1 = max(math.floor(min(xs)) - 1, 0), min(math.ceil(max(xs)) + 1, pixels.shape[1])
    y0, y1 = max(math.floor(min(ys)) - 1, 0), min(math.ceil(max(ys)) + 1, pixels.shape[0])
    if x1 <= x0 or y1 <= y0:
        return np.zeros((height, width, 3), dtype=np.uint8)
    patch = Image.fromarray(np.ascontiguousarray(pixels[y0:y1, x0:x1]))
    # Bilinear sampling reads 2 x 2 pixels; a face much larger than the chip is averaged down first, or it aliases.
    n = max(1, int(1.0 / math.sqrt(abs(determinant))))
    if n > 1:
        patch = patch.reduce(n)
    # Pillow maps output pixels to input pixels and counts both from pixel corners.
    coefficients = (ia / n, ib / n, (ic - x0) / n, id_ / n, ie / n, (if_ - y0) / n)
    return np.asarray(patch.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))
