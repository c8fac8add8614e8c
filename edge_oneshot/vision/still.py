"""Which parts of a frame have changed since it was searched for faces, for a fraction of the cost of a search. numpy only.

A frame without a change shows the same faces in the same places. If only cells near known faces have changed, as when a visitor
moves, the refiner finds the faces near their last places. Any other change causes a full search, and so does every LOOK_NS in any
case.

A light that is switched on or off changes all cells, so it also causes a search.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.types import Box, Face, Float32Array, Frame
from edge_oneshot.vision.locate import FaceLocator
from edge_oneshot.vision.motion import LEAST, TIMES_NOISE, middle
from edge_oneshot.vision.tiles import among

LOOK_NS = 500_000_000
SAMPLES, CELL = 160, 4  # samples along the longer side, and those along a side of a cell
# The region in which a known face may cause changes, in sides of its box: beside it, and above it. Below it is the body.
BESIDE, ABOVE = 1.2, 0.6
MARGIN = 0.25  # around the box of a face, in which nothing has changed if the face has not


class Still:
    """The cells of one camera as they were at the last search. One thread may use it."""

    def __init__(self) -> None:
        self._source: tuple[str, tuple[int, int]] | None = None
        self._searched_ns = 0
        self._cells: Float32Array | None = None

    def follow(
        self, frame: Frame, faces: Sequence[Face], locator: FaceLocator, anew: Sequence[Face] = ()
    ) -> list[Face] | None:
        """The faces of the frame before in this one, without a search; None: a search is needed.

        A face without a change around it is the same object; any other face, and each one of `anew`, is placed by the refiner.
        """
        changed = self.changed(frame)
        if changed is None or without(changed, faces, frame.size).any():
            return None
        found: list[Face] = []
        for face in faces:
            moved = any(face is other for other in anew)
            moved = moved or bool(changed[part(grown(face.box), changed.shape, frame.size)].any())
            now = locator.follow(frame, face) if moved else face
            if now is None or among(now, found):
                return None
            found.append(now)
        return found

    def changed(self, frame: Frame) -> NDArray[np.bool_] | None:
        """bool (rows, columns): the cells that changed since the last search; None if that is too long ago, or was elsewhere."""
        age_ns = frame.captured_ns - self._searched_ns
        if self._cells is None or (frame.source, frame.size) != self._source or not 0 < age_ns < LOOK_NS:
            return None
        now = cells(frame)
        if now.shape != self._cells.shape:
            return None
        size = np.abs(now - self._cells)
        noise = 1.4826 * middle(size)
        if noise >= LEAST:  # the light has changed, or there is too much noise to tell
            return np.ones(size.shape, dtype=np.bool_)
        found: NDArray[np.bool_] = size > max(LEAST, TIMES_NOISE * noise)
        return found

    def searched(self, frame: Frame) -> None:
        """Remember the frame: it was searched for faces."""
        self._source, self._searched_ns = (frame.source, frame.size), frame.captured_ns
        self._cells = cells(frame)


def cells(frame: Frame) -> Float32Array:
    """The brightness of a frame in cells of some 16 samples: float32 (rows, columns), 0-255; the green channel."""
    pixels = frame.pixels if frame.lores is None else frame.lores
    step = max(1, max(pixels.shape[:2]) // SAMPLES)
    luma = pixels[step // 2 :: step, step // 2 :: step, 1]
    rows, columns = luma.shape[0] // CELL, luma.shape[1] // CELL
    bands = luma[: rows * CELL].reshape(rows, CELL, -1).sum(axis=1, dtype=np.float32)[:, : columns * CELL]
    found: Float32Array = bands.reshape(rows, columns, CELL).sum(axis=2) * np.float32(1 / CELL**2)
    return found


def grown(box: Box) -> Box:
    """The box and a margin around it."""
    x, y = MARGIN * box.width, MARGIN * box.height
    return Box(x0=box.x0 - x, y0=box.y0 - y, x1=box.x1 + x, y1=box.y1 + y)


def without(changed: NDArray[np.bool_], faces: Sequence[Face], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The changed cells outside the regions of known faces. size: (width, height) of the frame in px."""
    left = changed.copy()
    for face in faces:
        box = face.box
        region = Box(
            x0=box.x0 - BESIDE * box.width,
            y0=box.y0 - ABOVE * box.height,
            x1=box.x1 + BESIDE * box.width,
            y1=max(float(size[1]), box.y1),
        )
        left[part(region, changed.shape, size)] = False
    return left


def part(box: Box, shape: tuple[int, ...], size: tuple[int, int]) -> tuple[slice, slice]:
    """The cells, of `shape` (rows, columns) over a frame of `size` px, that a box touches."""
    sx, sy = shape[1] / size[0], shape[0] / size[1]
    return (
        slice(max(0, int(box.y0 * sy)), max(0, int(box.y1 * sy) + 1)),
        slice(max(0, int(box.x0 * sx)), max(0, int(box.x1 * sx) + 1)),
    )
