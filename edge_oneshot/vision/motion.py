"""Small luma pictures of a fixed camera -> the cells in which something moved. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.types import Float32Array

CELL_PX = 4  # side of a cell, px of the small picture; averaging removes most of the noise
FOLLOW = 0.25  # share of each picture in the background: it forgets a person who stands still within a second at 10 fps
LEAST = 4.0  # change of a cell's brightness, of 255, that counts as motion without noise
TIMES_NOISE = 6.0  # and with noise, in standard deviations of all cells


class Motion:
    """Keeps the background of one camera. One thread may use it."""

    def __init__(self) -> None:
        self._background: Float32Array | None = None

    def update(self, luma: Float32Array) -> NDArray[np.bool_]:
        """luma: float32 (h, w), 0-255. Returns bool (h // CELL_PX, w // CELL_PX); nothing moved in the first picture of a size.

        A change of the whole picture's brightness, by lamps or by the exposure of the camera, is no motion: the median change
        is removed. The noise is estimated from the median deviation of all cells.
        """
        rows, columns = luma.shape[0] // CELL_PX, luma.shape[1] // CELL_PX
        # two sums of whole rows are several times faster than one mean over two axes
        bands = luma[: rows * CELL_PX].reshape(rows, CELL_PX, -1).sum(axis=1)[:, : columns * CELL_PX]
        cells: Float32Array = bands.reshape(rows, columns, CELL_PX).sum(axis=2) * np.float32(1 / CELL_PX**2)
        if self._background is None or self._background.shape != cells.shape:
            self._background = cells
            return np.zeros(cells.shape, dtype=np.bool_)
        gain = middle(cells) / max(middle(self._background), 1.0)
        change = cells - np.float32(gain) * self._background
        change -= np.float32(middle(change))
        size = np.abs(change)
        noise = 1.4826 * middle(size)  # the standard deviation of a normal distribution
        self._background = self._background + np.float32(FOLLOW) * (cells - self._background)
        moved: NDArray[np.bool_] = size > max(LEAST, TIMES_NOISE * noise)
        return moved


def middle(values: Float32Array) -> float:
    """The upper median, several times faster than np.median."""
    half = values.size // 2
    return float(np.partition(values.ravel(), half)[half])
