"""What every camera shares: the `Camera` that the rest of the house sees, and the one place that turns pictures upright."""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from edge_oneshot.types import Frame, UInt8Array

WAIT_SLICE_S = 0.1  # the longest that a wait goes without a look at the stop Event


class EndOfStream(Exception):
    """The file or folder has no more frames, or the camera was told to stop. Not an error."""


class Camera(Protocol):
    """A source of frames. It belongs to the thread that opened it; only the stop Event may be set from another.

    source: the URI without its password, for people and logs. live: frames that nobody takes in time are lost, as with
    any camera; False: every frame waits until it is taken (files with pace = "fast"). length_s: the most seconds that may
    lie between the first frame and the last; inf: there is no end, or it is not known beforehand.
    """

    source: str
    live: bool
    length_s: float

    def read(self, timeout_s: float) -> Frame:
        """The next frame. Raises CameraError on a stall of timeout_s or a loss, EndOfStream at the end."""
        ...

    def close(self) -> None:
        """Release the device. May be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """What an adapter delivers: pixels and lores uint8 (H, W, 3) RGB as the sensor saw them, not yet upright.

    captured_ns: sensor time on the time.monotonic_ns clock. The adapter hands the arrays over and keeps no view of them.
    """

    pixels: UInt8Array
    captured_ns: int
    lores: UInt8Array | None = None


class Adapter(ABC):
    """Base of the real cameras: numbers frames, turns them upright, and adds the wall clock. Satisfies `Camera`."""

    live = True
    length_s = math.inf

    def __init__(self, source: str, *, rotation: int = 0, mirror: bool = False, stop: threading.Event | None = None):
        """rotation, mirror: what is left to do in software. stop: set it from any thread, and every wait ends soon."""
        self.source = source
        self._rotation, self._mirror = rotation, mirror
        self.stop = stop or threading.Event()
        self._seq = 0

    @abstractmethod
    def grab(self, timeout_s: float) -> Shot:
        """The next picture. Raises CameraError on a stall or loss, EndOfStream at the end or when `stop` is set."""

    @abstractmethod
    def close(self) -> None: ...

    def read(self, timeout_s: float) -> Frame:
        """The next frame, upright. Raises CameraError on a stall of timeout_s or a loss, EndOfStream at the end."""
        shot = self.grab(timeout_s)
        lores = None
        if shot.lores is not None:
            lores = upright(shot.lores, self._rotation, self._mirror)
            lores.setflags(write=False)
        frame = Frame(
            pixels=upright(shot.pixels, self._rotation, self._mirror),
            lores=lores,
            seq=self._seq,
            captured_ns=shot.captured_ns,
            captured_at=utc_of(shot.captured_ns),
            source=self.source,
        )
        self._seq += 1
        return frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def upright(pixels: UInt8Array, rotation: int, mirror: bool) -> UInt8Array:
    """Turn (H, W, 3) clockwise by `rotation` degrees, then flip left and right if `mirror`. C-contiguous result."""
    if rotation not in (0, 90, 180, 270):
        raise ValueError(f"rotation: expected 0, 90, 180 or 270 degrees clockwise, got {rotation}")
    turned = np.rot90(pixels, k=-rotation // 90)  # rot90 turns counter-clockwise for positive k
    return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)


def utc_of(captured_ns: int) -> datetime:
    """The wall-clock time of a moment on the time.monotonic_ns clock, by the offset between the two clocks now."""
    return datetime.now(UTC) - timedelta(microseconds=(time.monotonic_ns() - captured_ns) / 1000)


class Pacer:
    """The timeline of a file: shows each picture when a camera would have (pace "camera"), or at once ("fast").

    In both, captured_ns moves on by the media's own time, so that what depends on time (tracks, `gone`) decides alike
    however fast the machine is. With "fast" it may therefore run ahead of the clock.
    """

    def __init__(self, pace: str, stop: threading.Event) -> None:
        self._camera_like = pace == "camera"
        self._stop = stop
        self._start_ns: int | None = None

    def release(self, media_s: float) -> int:
        """Wait until the picture at media_s (seconds from the first) is due; its captured_ns. Raises EndOfStream."""
        now_ns = time.monotonic_ns()
        media_ns = round(media_s * 1e9)
        if self._start_ns is None:
            self._start_ns = now_ns - media_ns
        due_ns = self._start_ns + media_ns
        if not self._camera_like:
            return due_ns
        if due_ns < now_ns:  # decoding was slow: move the timeline rather than hurry to catch up
            self._start_ns += now_ns - due_ns
            return now_ns
        if self._stop.wait((due_ns - now_ns) / 1e9):
            raise EndOfStream("told to stop")
        return due_ns


class Thinner:
    """Brings a source down to the asked rate by leaving out pictures; a source that is slower loses none.

    A quarter of a period of tolerance takes up rounding and jitter: of 30 a second, 10 are exactly every third.
    """

    def __init__(self, fps: float) -> None:
        self._period_s = 1.0 / fps
        self._due_s: float | None = None

    def wanted(self, at_s: float) -> bool:
        """Whether the picture taken at `at_s` (seconds, any origin, not falling) is to be shown."""
        if self._due_s is None:
            self._due_s = at_s
        if at_s < self._due_s - 0.25 * self._period_s:
            return False
        self._due_s = max(self._due_s + self._period_s, at_s)
        return True
