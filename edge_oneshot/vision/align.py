"""Face -> chip: the similarity transform that brings the landmarks to the places the encoder was trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from edge_oneshot.card import EncoderCard
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
    s = source[:, 0] + 1j * source[:, 1]
    t = target[:, 0] + 1j * target[:, 1]
    centred = s - s.mean()
    spread = float((np.abs(centred) ** 2).sum())
    if spread < 1e-9:
        raise ValueError(f"alignment: expected distinct points, got {source.tolist()}")
    a = complex((np.conj(centred) * (t - t.mean())).sum() / spread)
    b = complex(t.mean() - a * s.mean())
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


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
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BOX if width < frame.size[0] else Image.Resampling.BILINEAR))
    sx, sy = width / frame.size[0], height / frame.size[1]
    return Chip(pixels=pixels.reshape(height, width, card.input.channels), transform=np.array([[sx, 0.0, 0.0], [0.0, sy, 0.0]]))


def _grey(pixels: UInt8Array) -> UInt8Array:
    luma: Float32Array = pixels @ LUMA
    return np.rint(luma).astype(np.uint8)[..., np.newaxis]


def warp(pixels: UInt8Array, transform: Float64Array, size: tuple[int, int]) -> UInt8Array:
    """uint8 (H, W, 3) -> uint8 (height, width, 3), bilinear. size = (width, height)."""
    width, height = size
    linear, shift = transform[:, :2], transform[:, 2]
    inverse = np.linalg.inv(linear)
    # Only the part of the frame that the chip shows is handed to Pillow: a copy of the whole costs more than the warp.
    corners = (np.array([[0, 0], [width, 0], [0, height], [width, height]]) - shift) @ inverse.T
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, pixels.shape[1::-1])
    if x1 <= x0 or y1 <= y0:
        return np.zeros((height, width, 3), dtype=np.uint8)
    patch = Image.fromarray(np.ascontiguousarray(pixels[y0:y1, x0:x1]))
    # Bilinear sampling reads 2 x 2 pixels; a face much larger than the chip is averaged down first, or it aliases.
    factor = max(1, int(1.0 / np.sqrt(abs(np.linalg.det(linear)))))
    if factor > 1:
        patch = patch.reduce(factor)
    # Pillow maps output pixels to input pixels and counts both from pixel corners.
    a = inverse / factor
    offset = (-inverse @ shift - (x0, y0)) / factor
    coefficients = (a[0, 0], a[0, 1], offset[0], a[1, 0], a[1, 1], offset[1])
    warped = patch.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(warped, dtype=np.uint8)
