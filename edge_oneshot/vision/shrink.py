"""Parts of a frame as Pillow's images, reduced by whole factors, without a large block of memory.

Pillow stores four bytes per pixel, so it copies each frame: 1.2 MB for 640x480 px. The C library maps a block of this size anew for
each frame (service/system.py), so its pages are not in the cache. The same copy in bands of a few rows takes half the time.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from edge_oneshot.types import UInt8Array

BAND_BYTES = 160_000  # of Pillow's memory

Rectangle = tuple[int, int, int, int]
"""(x0, y0, x1, y1), half-open, px."""


def cut(pixels: UInt8Array, box: Rectangle) -> Image.Image:
    """A part of uint8 (H, W, 3) in C order. Raises ValueError for another order."""
    x0, y0, x1, y1 = box
    return Image.frombuffer("RGB", (x1 - x0, y1 - y0), *_rows(pixels, x0, y0))


class Reducer:
    """Means of blocks of pixels, as Pillow's `Image.reduce`. It keeps one band for the next picture of the same width."""

    def __init__(self) -> None:
        self._band = Image.new("RGB", (1, 1))

    def __call__(self, pixels: UInt8Array, box: Rectangle, factors: tuple[int, int]) -> Image.Image:
        """A part of uint8 (H, W, 3) in C order, made narrower and lower by factors. Raises ValueError for another order."""
        (x0, y0, x1, y1), (nx, ny) = box, factors
        width, height = x1 - x0, y1 - y0
        most = max(1, BAND_BYTES // (4 * width * ny)) * ny  # rows
        small = Image.new("RGB", (-(-width // nx), -(-height // ny)))
        for top in range(0, height, most):
            size = (width, min(most, height - top))
            if self._band.size != size:
                self._band = Image.new("RGB", size)
            self._band.frombytes(*_rows(pixels, x0, y0 + top))
            small.paste(self._band.reduce(factors), (0, top // ny))
        return small


def shrink(pixels: UInt8Array, size: tuple[int, int], reduce: Reducer) -> UInt8Array:
    """uint8 (H, W, 3) -> uint8 (height, width, 3), to the bit as Pillow's resize with reducing_gap = 1. size: (width, height)."""
    height, width = pixels.shape[:2]
    factors = max(1, width // size[0]), max(1, height // size[1])
    whole, pixels = (0, 0, width, height), np.ascontiguousarray(pixels)
    picture = cut(pixels, whole) if factors == (1, 1) else reduce(pixels, whole, factors)
    box = (0, 0, width / factors[0], height / factors[1])
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box))


def _rows(pixels: UInt8Array, x: int, y: int) -> tuple[UInt8Array, str, str, int, int]:
    """The arguments of Pillow's raw decoder: the pixels from (x, y) on, without a copy."""
    if not pixels.flags.c_contiguous:
        raise ValueError(f"pixels: expected C order, got strides {pixels.strides}")
    line = 3 * pixels.shape[1]
    return pixels.reshape(-1)[y * line + 3 * x :], "raw", "RGB", line, 1
