"""What all cameras share: the `Camera` interface, its base class `Adapter`, upright pictures, and pace."""

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

WAIT_SLICE_S = 0.1  # a wait checks the stop event at least this often


class EndOfStream(Exception):
    """The file or folder has no more frames, or `stop` was set. Not an error."""


class Camera(Protocol):
    """A source of frames. It belongs to the thread that opened it; only the stop event may be set from another thread.

    source: the URI without its password, for messages and logs. live: True: a frame that is not taken in time is
    dropped; False: every frame waits until it is taken (files with pace = "fast"). length_s: the largest possible time
    between first and last frame, in seconds; inf: endless or unknown.
    """

    source: str
    live: bool
    length_s: float

    def read(self, timeout_s: float) -> Frame:
        """The next frame. Raises CameraError after timeout_s without one or on a loss, EndOfStream at the end."""
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
    """What an adapter delivers.

    pixels: uint8 (H, W, 3) RGB as the sensor sees them, not yet upright. captured_ns: sensor time on the
    time.monotonic_ns clock. lores: uint8 (h, w, 3) RGB, the same picture in small, or None. The adapter keeps no view
    of the arrays.
    """

    pixels: UInt8Array
    captured_ns: int
    lores: UInt8Array | None = None


class Adapter(ABC):
    """Base class of cameras: numbers the frames, turns them upright and adds wall-clock time. Implements `Camera`."""

    live = True
    length_s = math.inf

    def __init__(self, source: str, *, rotation: int = 0, mirror: bool = False, stop: threading.Event | None = None):
        """rotation (degrees clockwise), mirror: applied in software. stop: when it is set, every wait ends soon."""
        self.source = source
        self._rotation, self._mirror = rotation, mirror
        self.stop = stop or threading.Event()
        self._seq = 0

    @abstractmethod
    def grab(self, timeout_s: float) -> Shot:
        """The next picture. Raises CameraError after timeout_s or on a loss, EndOfStream at the end or when `stop` is set."""

    @abstractmethod
    def close(self) -> None:
        """Release the device. May be called twice."""

    def expose(self, stops: float) -> None:  # noqa: B027 - most cameras cannot
        """Expose by so many stops more than the camera would, from one of the next pictures on; most cameras ignore it."""

    def read(self, timeout_s: float) -> Frame:
        """The next frame, upright. Raises CameraError after timeout_s or on a loss, EndOfStream at the end."""
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
    """Rotate uint8 (H, W, 3) clockwise by `rotation` degrees, then flip left and right if `mirror`. C-contiguous result.

    Raises ValueError for another angle than 0, 90, 180 and 270.
    """
    if rotation not in (0, 90, 180, 270):
        raise ValueError(f"rotation: expected 0, 90, 180 or 270 degrees clockwise, got {rotation}")
    turned = np.rot90(pixels, k=-rotation // 90)  # rot90 rotates counter-clockwise for positive k
    return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)


def utc_of(captured_ns: int) -> datetime:
    """The wall-clock time (aware, UTC) of a time.monotonic_ns value, by the present offset between the two clocks."""
    return datetime.now(UTC) - timedelta(microseconds=(time.monotonic_ns() - captured_ns) / 1000)


class Pacer:
    """The timeline of a file: each picture comes when a camera would deliver it (pace "camera"), or at once ("fast").

    In both cases captured_ns follows the time of the media, so results that depend on time (tracks, `gone`) do not
    depend on the speed of the machine. With "fast", captured_ns may run ahead of the clock.
    """

    def __init__(self, pace: str, stop: threading.Event) -> None:
        self._camera_like = pace == "camera"
        self._stop = stop
        self._start_ns: int | None = None

    def release(self, media_s: float) -> int:
        """Wait until the picture at media_s (seconds after the first) is due; returns its captured_ns. Raises EndOfStream."""
        now_ns = time.monotonic_ns()
        media_ns = round(media_s * 1e9)
        if self._start_ns is None:
            self._start_ns = now_ns - media_ns
        due_ns = self._start_ns + media_ns
        if not self._camera_like:
            return due_ns
        if due_ns < now_ns:  # decoding was slow: shift the timeline instead of catching up
            self._start_ns += now_ns - due_ns
            return now_ns
        if self._stop.wait((due_ns - now_ns) / 1e9):
            raise EndOfStream("stopped")
        return due_ns


class MediaClock:
    """The timeline of a recording from its timestamps, which may be absent, constant, negative, or jump either way.

    Between two pictures at most MAX_STEP_S pass: joined segments and recorders leave gaps of any length.
    """

    MAX_STEP_S = 2.0

    def __init__(self, rate: float | None) -> None:
        """rate: pictures a second as the file states it. A picture whose timestamp does not advance takes one period of it."""
        self._period_s = 1.0 / rate if rate is not None and 0.5 <= rate <= 240 else 1 / 25
        self._last_s: float | None = None
        self._media_s: float | None = None

    def at(self, stamp_s: float | None) -> float:
        """Seconds since the first picture, always increasing. stamp_s: of this picture, in decoding order; None: absent."""
        if self._media_s is None:
            self._media_s = 0.0
        else:
            step_s = None if stamp_s is None or self._last_s is None else stamp_s - self._last_s
            self._media_s += self._period_s if step_s is None or not step_s > 0 else min(step_s, self.MAX_STEP_S)
        self._last_s = stamp_s
        return self._media_s


class Thinner:
    """Reduces a source to the configured rate by skipping pictures. A source that is slower loses none.

    A tolerance of a quarter of a period absorbs rounding and jitter: 10 of 30 a second are exactly every third.
    """

    def __init__(self, fps: float) -> None:
        self._period_s = 1.0 / fps
        self._due_s: float | None = None

    def wanted(self, at_s: float) -> bool:
        """Whether to show the picture taken at `at_s` (seconds, any origin, never decreasing)."""
        if self._due_s is None:
            self._due_s = at_s
        if at_s < self._due_s - 0.25 * self._period_s:
            return False
        self._due_s = max(self._due_s + self._period_s, at_s)
        return True
