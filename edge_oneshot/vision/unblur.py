"""Faces that moved sideways while the shutter was open: sharper along the rows before they are encoded.

Motion removes detail along the rows and keeps it down the columns, which tells it from a face that is soft or far away. Measured
on the second pictures of 100 people of LFW sets 1-4, 43 px between the eyes, at threshold 0.567, if all are sharpened: with motion over
9 px 78 % are recognized instead of 70 %, over 5 px 90 % instead of 86 %; FMR 1.6e-4 and 1.3e-4, 1.2e-4 and 1.2e-4 (226,000 comparisons
each). Of 300 people, 89 % with motion over 9 px are taken for moved, 24 % over 5 px, and 0.7 % without.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.types import UInt8Array

LENGTH_PX = 7  # odd; of the mean along a row that is taken off twice the pixel, in a chip of 112 px
MOVED = 0.35  # share of the detail along the columns that is left along the rows of a face that moved
RIM = 10  # px around the face that do not count


def unblur(pixels: UInt8Array) -> UInt8Array:
    """Pixels uint8 (H, W, C) of a chip; the same array if the face did not move. In integers: the same on every processor."""
    inner = pixels[RIM:-RIM, RIM:-RIM, pixels.shape[2] // 2].astype(np.int64)[..., None]
    along, down = detail(inner), detail(inner.transpose(1, 0, 2))
    if not 0 < np.square(along).sum() < MOVED * np.square(down).sum():
        return pixels
    half = LENGTH_PX // 2
    added = (detail(pixels.astype(np.int64)) + half) // LENGTH_PX
    return np.clip(pixels + added, 0, 255).astype(np.uint8)


def detail(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """LENGTH_PX times what each value of (H, W, C) differs by from the mean of its neighbours along the row."""
    half = LENGTH_PX // 2
    sums = np.pad(values, ((0, 0), (half + 1, half), (0, 0)), mode="edge").cumsum(axis=1)
    found: NDArray[np.int64] = LENGTH_PX * values - (sums[:, LENGTH_PX:] - sums[:, :-LENGTH_PX])
    return found
