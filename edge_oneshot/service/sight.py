"""Whether the camera shows anything: a picture that never changes or is black looks like a quiet room to the loop."""

from __future__ import annotations

import zlib
from enum import Enum

import numpy as np

from edge_oneshot.types import Frame

FROZEN_S = 60.0  # noise changes every picture of a working sensor; a compressed still scene may repeat for a key frame interval
DARK_S = 10.0
DARK_BELOW = 32  # of 255: the value that 99 % of a black picture's samples are below
_STEP = 8  # px between the samples of a frame


class State(Enum):
    RUNNING = "running"
    PAUSED = "paused"
    CAMERA_LOST = "camera_lost"
    CAMERA_FROZEN = "camera_frozen"
    CAMERA_DARK = "camera_dark"


class Sight:
    """Judges each frame by every 8th pixel of every 8th row, and by the capture times."""

    def __init__(self) -> None:
        self.repeated = False  # the last frame was the same picture as the one before
        self._sum: int | None = None
        self._same_since_ns = 0
        self._dark_since_ns: int | None = None

    def look(self, frame: Frame) -> State:
        """CAMERA_FROZEN: the same picture for 60 s. CAMERA_DARK: black for 10 s. Else RUNNING, from the first other frame on."""
        samples = np.ascontiguousarray(frame.pixels[::_STEP, ::_STEP])
        total, now_ns = zlib.crc32(samples.tobytes()), frame.captured_ns
        self.repeated = total == self._sum
        if not self.repeated:
            self._sum, self._same_since_ns = total, now_ns
        dark = float(np.percentile(samples, 99)) < DARK_BELOW
        if not dark:
            self._dark_since_ns = None
        elif self._dark_since_ns is None:
            self._dark_since_ns = now_ns
        if self._dark_since_ns is not None and now_ns - self._dark_since_ns >= DARK_S * 1e9:
            return State.CAMERA_DARK
        if now_ns - self._same_since_ns >= FROZEN_S * 1e9:
            return State.CAMERA_FROZEN
        return State.RUNNING
