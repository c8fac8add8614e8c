"""Windows of a frame that the finder searches in place of the whole frame, to see smaller faces. Pure functions.

The finder scales what it searches to 192 px, so a window shows a face larger than the whole frame does.
docs/explanation/architecture.md ("Reach") holds the measurement behind the constants.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_oneshot.types import Face

# Side of the smallest tiles, px. A face of 10 px between the eyes has 7 px in the finder's input, which finds 90 of 90 such faces
# there, and 87 of 90 in tiles of 352 px (LFW sets 1-4).
SIDE_PX = 272
# Share of a tile that its neighbour shows too. A face that the level above is too coarse for is whole in one of the two.
OVERLAP = 0.23
# From one level of tiles to the next the side shrinks by about this factor.
LEVEL = 0.45
# Two faces whose eyes' midpoints are nearer than this, in inter-eye distances of the larger one, are the same face.
SAME = 0.7


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a frame: [x, x + width) x [y, y + height), px of `Frame.pixels`."""

    x: int
    y: int
    width: int
    height: int


def tiling(size: tuple[int, int]) -> tuple[Window, ...]:
    """Overlapping square tiles over a frame of `size` (width, height) px, largest first; none for a frame not larger than a tile.

    A large frame gets several levels. Sides shrink by one factor from the frame's longer side to SIDE_PX, so each level shows
    the faces that the level above is too coarse for.
    """
    longer = max(size)
    if longer <= SIDE_PX:
        return ()
    levels = max(1, round(math.log(longer / SIDE_PX) / -math.log(LEVEL)))
    sides = [round(longer * (SIDE_PX / longer) ** (k / levels)) for k in range(1, levels + 1)]
    return tuple(
        Window(x, y, min(side, size[0]), min(side, size[1]))
        for side in sides
        for y in _starts(size[1], side)
        for x in _starts(size[0], side)
    )


def _starts(length: int, side: int) -> list[int]:
    """Where the tiles begin along one axis: evenly, with an overlap of at least OVERLAP."""
    if length <= side:
        return [0]
    count = 1 + math.ceil((length - side) / (side * (1 - OVERLAP)))
    return [round(k * (length - side) / (count - 1)) for k in range(count)]


def around(face: Face, size: tuple[int, int]) -> Window:
    """A window of at most SIDE_PX with the face in its middle, moved into the frame of `size` (width, height) px."""
    x, y = middle(face)
    width, height = min(SIDE_PX, size[0]), min(SIDE_PX, size[1])
    left = min(max(round(x - width / 2), 0), size[0] - width)
    top = min(max(round(y - height / 2), 0), size[1] - height)
    return Window(left, top, width, height)


def middle(face: Face) -> tuple[float, float]:
    """The midpoint of the eyes, px of the frame."""
    (x0, y0), (x1, y1) = face.landmark("image_left_eye"), face.landmark("image_right_eye")
    return (x0 + x1) / 2, (y0 + y1) / 2


def among(face: Face, others: Sequence[Face]) -> bool:
    """Whether one of `others` is the same face, found by another search: the midpoints of the eyes agree."""
    return any(
        math.dist(middle(face), middle(other)) < SAME * max(face.inter_eye_px, other.inter_eye_px) for other in others
    )
