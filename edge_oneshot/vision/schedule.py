"""Which tile to search beside the whole frame, so that an empty hallway stays cheap. No networks, no clock.

A frame earns a part of a search; when a whole one is earned, one window is searched. So the cost is bounded: at most one
search more per frame, on average STILL of one in a still scene and BUSY of one where something moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.vision.tiles import Window, tiling

STILL = 1 / 16  # searches per frame while nothing moves
BUSY = 2 / 5  # while something moves, or a face was lost
LEAST_CELLS = 2  # moved cells that make a tile due
SWEEP = 4  # each fourth search is the tile that has waited longest, however much moves elsewhere


class Schedule:
    """The tiles of one camera, and when each was searched last. One thread may use it."""

    def __init__(self, size: tuple[int, int]) -> None:
        """size: (width, height) of the frames in px."""
        self.size, self.tiles = size, tiling(size)
        self._waiting = list(range(len(self.tiles)))  # longest wait first
        self._due: set[int] = set()  # moved since they were searched
        self._earned = 0.0
        self._searches = 0

    def next(self, moved: NDArray[np.bool_], lost: Sequence[Window]) -> Window | None:
        """The window to search in this frame; None: the whole frame is enough. Call it once for each frame.

        moved: bool (rows, columns), cells over the whole frame (motion.py). lost: windows where a face was seen, in order of
        urgency; the first one goes before all tiles.
        """
        if moved.any():
            self._due.update(i for i, tile in enumerate(self.tiles) if self._cells(moved, tile) >= LEAST_CELLS)
        if not (lost or self.tiles):
            return None
        self._earned += BUSY if lost or self._due else STILL
        if self._earned < 1.0:
            return None
        self._earned -= 1.0
        self._searches += 1
        sweep = bool(self.tiles) and self._searches % SWEEP == 0
        if lost and not sweep:
            return lost[0]
        chosen = next((i for i in self._waiting if i in self._due and not sweep), self._waiting[0])
        self._due.discard(chosen)
        self._waiting.remove(chosen)
        self._waiting.append(chosen)
        return self.tiles[chosen]

    def rest(self) -> None:
        """A frame in which nothing moved was not searched. What is earned so is spent within two frames, however long it was."""
        self._earned = min(2.0, self._earned + STILL)

    def _cells(self, moved: NDArray[np.bool_], tile: Window) -> int:
        sx, sy = moved.shape[1] / self.size[0], moved.shape[0] / self.size[1]
        rows = slice(int(tile.y * sy), int((tile.y + tile.height) * sy) + 1)
        columns = slice(int(tile.x * sx), int((tile.x + tile.width) * sx) + 1)
        return int(np.count_nonzero(moved[rows, columns]))
