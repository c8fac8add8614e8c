"""Dark live frames: the mean of a face's last aligned pictures has less noise than any of them.

A mean of N frames with independent noise has its root as the gain, and the alignment holds the face in place. Measured as in
light.py, at 0.12 of the brightness and threshold 0.553: recognized 79 % from one frame, 85 % from the mean of two, 89 % of
four, 91 % of eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_oneshot.types import Box, Float32Array, Frame, Sample
from edge_oneshot.vision.light import DARK

FRAMES = 8
MIN_IOU = 0.5  # of the boxes of one face in consecutive frames: a face that moves faster is seen frame by frame
MAX_GAP_NS = 1_000_000_000  # a still scene is searched twice a second (still.py)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Dark:
    """A face in the dark: the mean of its last `frames` aligned pictures, float32 (H, W, C)."""

    box: Box
    at_ns: int
    mean: Float32Array
    frames: int


class Steady:
    """Averages the dark faces of one camera, whose frames come in their order. Belongs to one thread."""

    def __init__(self) -> None:
        self._source: tuple[str, tuple[int, int]] | None = None
        self._dark: list[_Dark] = []

    def __call__(self, samples: Sequence[Sample], frame: Frame) -> list[Sample]:
        """The samples of a frame; the chip of a dark face is the mean over its last FRAMES frames. Others are unchanged.

        A face that is not among the samples, since it rests (still.py), is remembered for MAX_GAP_NS.
        """
        source, now_ns = (frame.source, frame.size), frame.captured_ns
        known = self._dark if source == self._source else []
        known = [d for d in known if 0 < now_ns - d.at_ns <= MAX_GAP_NS]
        self._source, self._dark = source, []
        steady = [self._steady(sample, known, now_ns) for sample in samples]
        self._dark += [d for d in known if all(d.box.iou(new.box) < MIN_IOU for new in self._dark)]
        return steady

    def _steady(self, sample: Sample, known: Sequence[_Dark], now_ns: int) -> Sample:
        face = sample.face
        if face is None or sample.quality.luma >= DARK:
            return sample
        pixels = sample.chip.pixels.astype(np.float32)
        before = max(known, key=lambda d: d.box.iou(face.box), default=None)
        frames, mean = 1, pixels
        if before is not None and before.box.iou(face.box) >= MIN_IOU:
            frames = min(before.frames + 1, FRAMES)
            mean = before.mean + (pixels - before.mean) / np.float32(frames)
        self._dark.append(_Dark(box=face.box, at_ns=now_ns, mean=mean, frames=frames))
        if frames == 1:
            return sample
        return replace(sample, chip=replace(sample.chip, pixels=np.rint(mean).astype(np.uint8)))
