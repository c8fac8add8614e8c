"""Face -> chip: the similarity transform that brings the landmarks to the places the encoder was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from PIL import Image

from edge_oneshot.model.card import EncoderCard
from edge_oneshot.types import Chip, Face, Float64Array, Frame, UInt8Array
from edge_oneshot.vision.light import DARK
from edge_oneshot.vision.shrink import Reducer, cut

# A face that is enlarged by more is interpolated by cubic curves, which show the encoder more than straight lines do. Measured on
# 100 people of LFW sets 1-4: the mated score rises by 0.001 at 24 px between the eyes, 0.011 at 14 and 0.017 at 12; FMR does not.
# In the dark it falls, by 0.006 at 18 px and a quarter of the brightness.
# At 1.5 a face has 23 px; by default templates have 24 or more, so they are not changed.
SMOOTH_FROM = 1.5
# ITU-R BT.601 luma, the weights that Pillow's "L" uses
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def estimate_similarity(source: Float64Array, target: Float64Array) -> Float64Array:
    """Least-squares similarity (rotation, uniform scale, translation; no reflection) from source to target points.

    source, target: float64 (K, 2), K >= 2, not all source points equal. Returns float64 (2, 3).
    In the plane the solution is closed: with points as complex numbers, z -> a z + b minimises sum |a s + b - t|^2 at
    a = sum(conj(s') t') / sum |s'|^2 over centred points (Umeyama 1991, two dimensions).
    The same points give the same bits on every processor and with every Python: each step is one operation on plain
    floats. Complex products may be fused (multiply-add), and `sum` adds floats in another way since Python 3.12.
    Raises ValueError for coinciding points.
    """
    # A handful of points: plain numbers are several times faster than arrays.
    pairs = list(zip(source.tolist(), target.tolist(), strict=True))
    count = len(pairs)
    sx = sy = tx = ty = 0.0
    for (x, y), (u, v) in pairs:
        sx, sy, tx, ty = sx + x, sy + y, tx + u, ty + v
    sx, sy, tx, ty = sx / count, sy / count, tx / count, ty / count
    real = imaginary = spread = 0.0
    for (x, y), (u, v) in pairs:
        dx, dy, du, dv = x - sx, y - sy, u - tx, v - ty
        spread += dx * dx + dy * dy
        real += dx * du + dy * dv
        imaginary += dx * dv - dy * du
    if spread < 1e-9:
        raise ValueError(f"alignment: expected distinct points, got {source.tolist()}")
    a, b = real / spread, imaginary / spread
    return np.array([[a, -b, tx - (a * sx - b * sy)], [b, a, ty - (b * sx + a * sy)]])


def undo(transform: Float64Array, points: Float64Array) -> Float64Array:
    """Apply the inverse of a similarity (2, 3) to points float64 (K, 2). No matrix product: see `estimate_similarity`."""
    (a, b, c), (d, e, f) = transform.tolist()
    determinant = a * e - b * d
    x, y = points[:, 0] - c, points[:, 1] - f
    return np.stack([(e * x - b * y) / determinant, (a * y - d * x) / determinant], axis=1)


def align(frame: Frame, face: Face, card: EncoderCard) -> Chip:
    """The chip of one face: uint8 (H, W, C) by the card's alignment points. Outside the frame is black.

    Raises KeyError if the detector lacks a landmark that the card aligns by.
    """
    points: Mapping[str, tuple[float, float]] = card.alignment
    source = np.array([face.landmark(name) for name in points], dtype=np.float64)
    transform = estimate_similarity(source, np.array(list(points.values()), dtype=np.float64))
    size = (card.input.width_px, card.input.height_px)
    smooth = scale_of(transform) > SMOOTH_FROM
    pixels = warp(frame.pixels, transform, size, smooth=smooth)
    if smooth and float((pixels @ LUMA).mean()) < DARK:  # it would sharpen noise
        pixels = warp(frame.pixels, transform, size)
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
    """BT.601 luma of uint8 (H, W, 3), uint8 (H, W, 1). Computed in integers: floats round halves differently."""
    luma = pixels.astype(np.int32) @ np.rint(1000 * LUMA).astype(np.int32)
    return ((luma + 500) // 1000).astype(np.uint8)[..., np.newaxis]


def scale_of(transform: Float64Array) -> float:
    """By how much a similarity (2, 3) enlarges."""
    return math.hypot(*transform[:, 0].tolist())


def warp(pixels: UInt8Array, transform: Float64Array, size: tuple[int, int], *, smooth: bool = False) -> UInt8Array:
    """uint8 (H, W, 3) -> uint8 (height, width, 3), bilinear; smooth: bicubic (Keys 1981, a = -1). size = (width, height)."""
    width, height = size
    (a, b, c), (d, e, f) = transform.tolist()
    determinant = a * e - b * d
    # The inverse, chip -> frame: x = ia u + ib v + ic, y = id u + ie v + if
    ia, ib, id_, ie = e / determinant, -b / determinant, -d / determinant, a / determinant
    ic, if_ = -(ia * c + ib * f), -(id_ * c + ie * f)
    # Pillow gets only the part of the frame that the chip shows: copying the whole frame costs more than the warp.
    xs = [ic, ia * width + ic, ib * height + ic, ia * width + ib * height + ic]
    ys = [if_, id_ * width + if_, ie * height + if_, id_ * width + ie * height + if_]
    rim = 2 if smooth else 1  # the neighbours that the interpolation reads
    x0, x1 = max(math.floor(min(xs)) - rim, 0), min(math.ceil(max(xs)) + rim, pixels.shape[1])
    y0, y1 = max(math.floor(min(ys)) - rim, 0), min(math.ceil(max(ys)) + rim, pixels.shape[0])
    if x1 <= x0 or y1 <= y0:
        return np.zeros((height, width, 3), dtype=np.uint8)
    # Bilinear sampling reads 2 x 2 pixels; a face much larger than the chip is averaged down first, or it aliases.
    n = max(1, int(1.0 / math.sqrt(abs(determinant))))
    box, pixels = (x0, y0, x1, y1), np.ascontiguousarray(pixels)
    patch = cut(pixels, box) if n == 1 else Reducer()(pixels, box, (n, n))
    # Pillow maps output pixels to input pixels and counts both from pixel corners.
    coefficients = (ia / n, ib / n, (ic - x0) / n, id_ / n, ie / n, (if_ - y0) / n)
    kind = Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR
    return np.asarray(patch.transform(size, Image.Transform.AFFINE, coefficients, kind))
