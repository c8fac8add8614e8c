"""Live frames -> faces, as far as the encoder can use them: `camera.range = "far"`.

The finder searches every whole frame. Small faces of the frame before that it misses are followed by the refiner, which
costs no search. A schedule (schedule.py) adds one window now and then: where a face was lost, where something moved, or the
next tile in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_oneshot.types import Face, Frame
from edge_oneshot.vision.locate import FaceLocator
from edge_oneshot.vision.motion import Motion
from edge_oneshot.vision.schedule import Schedule
from edge_oneshot.vision.tiles import Window, among, around

# A face with less than this between the eyes is remembered, as a share of the frame's longer side: the whole frame may miss it.
SMALL = 0.06
# Frames that the refiner may follow a face alone. From the half of them on, the finder is asked.
ALONE = 10
# How long a lost face is searched for.
LOST_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A face: when it was seen last, and for how many frames before that the refiner alone has followed it."""

    face: Face
    at_ns: int
    alone: int = 0


class Lookout:
    """Searches the frames of one camera in their order. Belongs to one thread, as its locator does."""

    def __init__(self, locator: FaceLocator) -> None:
        self._locator = locator
        self._source: tuple[str, tuple[int, int]] | None = None
        self._last_ns = 0
        self._schedule: Schedule | None = None
        self._small: list[Seen] = []  # of the frame before, and those lost since

    def rest(self, now_ns: int, before: Sequence[Face], faces: Sequence[Face]) -> None:
        """A frame captured at now_ns was not searched: before are the faces of the frame before, faces where each is now.

        The tiles are searched as often as otherwise, and the next search begins at these places.
        """
        if self._schedule is not None:
            self._schedule.rest()
        now = {id(old): new for old, new in zip(before, faces, strict=True)}
        self._small = [self._moved(s, now[id(s.face)], now_ns) if id(s.face) in now else s for s in self._small]
        self._last_ns = now_ns

    def _moved(self, old: Seen, face: Face, now_ns: int) -> Seen:
        """A face that a rest has followed; it is followed once more before the finder has to confirm it."""
        alone = old.alone if face is old.face else max(old.alone, min(old.alone + 1, ALONE - 1))
        return Seen(face=face, at_ns=now_ns, alone=alone)

    def locate(self, frame: Frame) -> list[Face]:
        """Faces in px of `frame.pixels`, largest first. Another camera, another size or a step back in time starts afresh."""
        locator, now_ns, source = self._locator, frame.captured_ns, (frame.source, frame.size)
        if self._schedule is None or source != self._source or now_ns < self._last_ns:
            self._source, self._motion, self._schedule = source, Motion(), Schedule(frame.size)
            self._small = []
        found = locator.confirm_all(frame, locator.find(frame))
        moved = self._motion.update(locator.finder.luma())
        seen = [Seen(face=face, at_ns=now_ns) for face in found]
        lost = self._follow(frame, seen)
        window = self._schedule.next(moved, self._asked(frame, seen, lost))
        if window is not None:
            shown = locator.find_in(frame, window)
            seen = [replace(s, alone=0) if among(s.face, shown) else s for s in seen]
            new = locator.confirm_new(frame, shown, [s.face for s in seen])
            seen += [Seen(face=face, at_ns=now_ns) for face in new]
        seen = [replace(s, face=locator.placer.place(frame, s.face)) for s in seen]
        faces = [s.face for s in seen]
        self._last_ns = now_ns
        self._small = [s for s in seen if s.face.inter_eye_px < SMALL * max(frame.size)]
        self._small += [s for s in lost if not among(s.face, faces)]
        return sorted(faces, key=lambda f: -f.box.area)

    def _follow(self, frame: Frame, seen: list[Seen]) -> list[Seen]:
        """Append to `seen` the remembered faces that the refiner sees again; the others are returned, for LOST_NS."""
        lost = []
        for old in self._small:
            if among(old.face, [s.face for s in seen]):
                continue
            again = None
            if old.at_ns == self._last_ns and old.alone < ALONE:
                again = self._locator.again(frame, old.face)
            if again is not None and not among(again, [s.face for s in seen]):
                seen.append(Seen(face=again, at_ns=frame.captured_ns, alone=old.alone + 1))
            elif again is None and frame.captured_ns - old.at_ns < LOST_NS:
                lost.append(old)
        return lost

    def _asked(self, frame: Frame, seen: Sequence[Seen], lost: Sequence[Seen]) -> list[Window]:
        """Windows around the faces that the finder should search for, longest missed first."""
        unsure = [s for s in seen if s.alone >= ALONE // 2]
        return [around(s.face, frame.size) for s in (*sorted(lost, key=lambda s: s.at_ns), *unsure)]
