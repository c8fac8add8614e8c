"""The one-slot mailbox between the camera thread and the loop: the newest frame, and the state of the camera.

    running   frames arrive, or the camera is being opened for the first time
    lost      the camera could not be opened, stalled or disappeared; the thread retries with full-jitter back-off
    ended     a file or folder has ended and its last frame was taken, or the mailbox was closed

The thread never gives up. The daemon decides, by `lost_for_s`, how long it waits for a lost camera.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
import time
from enum import Enum
from types import TracebackType
from typing import Self

from edge_oneshot.cameras.base import Adapter, EndOfStream
from edge_oneshot.cameras.schemes import Opener, camera_opener
from edge_oneshot.config import CameraConfig
from edge_oneshot.errors import CameraError
from edge_oneshot.shown import redact_uri
from edge_oneshot.types import Frame

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_MOST_S = 0.5, 30.0
CLOSE_TIMEOUT_S = 3.0
LATE_FRAMES = 3  # at a low frame rate a stall is this many periods without a frame, instead of stall_timeout_s


class State(Enum):
    RUNNING = "running"
    LOST = "lost"
    ENDED = "ended"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Since the start. frames: from the camera. dropped: replaced by a newer one before they were taken. reopens: after a loss."""

    frames: int = 0
    dropped: int = 0
    reopens: int = 0


class LatestFrame:
    """Runs a camera in a thread of its own and keeps its newest frame.

    A live source never waits: a frame that was not taken is replaced and counted as dropped. A source that is not live
    (a file with pace = "fast") waits until its frame is taken, so none is dropped.

    Threads: one thread takes frames. `state`, `counters` and `close` may be used from any thread.
    """

    def __init__(
        self,
        config: CameraConfig,
        *,
        opener: Opener | None = None,
        retry_s: tuple[float, float] = (RETRY_FIRST_S, RETRY_MOST_S),
        jitter: random.Random | None = None,
    ) -> None:
        """Start the thread. retry_s: first and largest bound of the back-off, whose mean doubles; in seconds.

        Raises CameraError at once for what no retry can fix: an unknown scheme, a missing file or package.
        """
        self._open = opener or camera_opener(config)
        self._name = redact_uri(config.uri)
        self._stall_s = max(config.stall_timeout_s, LATE_FRAMES / config.fps)
        self._retry_s, self._jitter = retry_s, jitter or random.Random()
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._slot: Frame | None = None
        self._over = False
        self._bug: BaseException | None = None
        self._last_error: CameraError | None = None
        self._lost_since_ns: int | None = None
        self._driver_since_ns: int | None = None  # when the thread entered the driver; None: it is not in it
        self._counters = Counters()
        self._stops = 0.0  # written by the loop, read by the thread
        self._thread = threading.Thread(target=self._run, name=f"camera {self._name}", daemon=True)
        self._thread.start()

    # called by the loop

    def get(self, timeout_s: float) -> Frame | None:
        """The newest frame that was not taken yet; waits up to timeout_s for one. None: there is none, see `state`.

        Raises the exception that ended the camera thread, if it was not a CameraError.
        """
        return self.frame_after(None, timeout_s)

    def frame_after(self, captured_ns: int | None, timeout_s: float) -> Frame | None:
        """As `get`, but skips frames captured at or before captured_ns: an enrollment needs one from after its prompt."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if self._slot is not None:
                    frame, self._slot = self._slot, None
                    self._changed.notify_all()
                    if captured_ns is None or frame.captured_ns > captured_ns:
                        return frame
                if self._bug is not None:
                    raise self._bug
                left_s = deadline - time.monotonic()
                if self._over or left_s <= 0:
                    return None
                self._changed.wait(left_s)

    def wait(self, timeout_s: float) -> bool:
        """Wait up to timeout_s for a frame, a loss or the end. Returns whether a frame can be taken; takes none."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._slot is not None or self._over or self._lost_ns() is not None, timeout_s
            )
            return self._slot is not None

    def expose(self, stops: float) -> None:
        """Expose by so many stops more from now on, if the camera can. Kept when the camera is opened again."""
        self._stops = stops

    @property
    def state(self) -> State:
        with self._changed:
            if self._over:
                return State.RUNNING if self._slot is not None else State.ENDED
            return State.LOST if self._lost_ns() is not None else State.RUNNING

    @property
    def lost_since_ns(self) -> int | None:
        """time.monotonic_ns of the loss, until a frame arrives again. None: not lost."""
        with self._changed:
            return self._lost_ns()

    @property
    def lost_for_s(self) -> float:
        """Seconds since the loss; 0 while the camera is not lost."""
        since_ns = self.lost_since_ns
        return 0.0 if since_ns is None else (time.monotonic_ns() - since_ns) / 1e9

    @property
    def last_error(self) -> CameraError | None:
        """Why the camera was lost; kept after it is back. None: never lost."""
        with self._changed:
            if self._hung_since_ns() is not None:
                return CameraError(
                    f"camera {self._name}: the driver does not return",
                    "unplug the camera and plug it in, or restart the service: only that ends a call that hangs in the driver",
                )
            return self._last_error

    @property
    def counters(self) -> Counters:
        with self._changed:
            return self._counters

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Stop the thread, which closes the camera. Returns False, and logs a warning, if that takes longer than timeout_s."""
        self._stop.set()
        with self._changed:
            self._slot, self._over = None, True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning(
                "camera %s: the driver did not return within %g s; its thread was abandoned", self._name, timeout_s
            )
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lost_ns(self) -> int | None:
        return self._lost_since_ns if self._lost_since_ns is not None else self._hung_since_ns()

    def _hung_since_ns(self) -> int | None:
        """When the thread entered a driver call that overran its time limit: the camera counts as lost. None: it did not."""
        since_ns = self._driver_since_ns
        if since_ns is None or time.monotonic_ns() - since_ns < 2 * self._stall_s * 1e9:
            return None
        return since_ns

    # run by the camera thread

    def _run(self) -> None:
        try:
            failures = 0
            while not self._stop.is_set():
                try:
                    self._session()
                    return
                except EndOfStream:
                    return
                except CameraError as e:
                    failures = 0 if self._lost_since_ns is None else failures
                    self._lose(e)
                most_s = min(self._retry_s[1], self._retry_s[0] * 2 ** min(failures, 16))
                failures += 1
                if self._stop.wait(self._jitter.uniform(0.0, most_s)):
                    return
                with self._changed:
                    self._counters = dataclasses.replace(self._counters, reopens=self._counters.reopens + 1)
        except BaseException as e:  # passed to the loop, which raises it: a traceback of this thread is easily missed
            with self._changed:
                self._bug = e
        finally:
            with self._changed:
                self._over = True
                self._driver_since_ns = None
                self._changed.notify_all()

    def _session(self) -> None:
        """One opening of the camera. Raises EndOfStream at the end of a file, CameraError on a loss."""
        first_seq = self._counters.frames
        self._enter_driver()
        camera, stops = self._open(self._stop), 0.0
        try:
            while not self._stop.is_set():
                self._enter_driver()
                if self._stops != stops and isinstance(camera, Adapter):
                    stops = self._stops
                    camera.expose(stops)
                frame = camera.read(self._stall_s)
                self._put(dataclasses.replace(frame, seq=first_seq + frame.seq) if first_seq else frame, camera.live)
        finally:
            self._enter_driver()
            camera.close()
            self._leave_driver()

    def _put(self, frame: Frame, live: bool) -> None:
        with self._changed:
            self._driver_since_ns = None
            if self._lost_since_ns is not None:
                log.info(
                    "camera %s is back after %.1f s", self._name, (time.monotonic_ns() - self._lost_since_ns) / 1e9
                )
                self._lost_since_ns = None
            while not live and self._slot is not None and not self._stop.is_set():
                self._changed.wait()
            if self._stop.is_set():
                return
            c = self._counters
            self._counters = dataclasses.replace(c, frames=c.frames + 1, dropped=c.dropped + (self._slot is not None))
            self._slot = frame
            self._changed.notify_all()

    def _lose(self, error: CameraError) -> None:
        with self._changed:
            self._driver_since_ns = None
            self._last_error = error
            first = self._lost_since_ns is None
            if first:
                self._lost_since_ns = time.monotonic_ns()
            self._changed.notify_all()
        log.log(logging.WARNING if first else logging.DEBUG, "camera %s is lost: %s", self._name, error)

    def _enter_driver(self) -> None:
        with self._changed:
            self._driver_since_ns = time.monotonic_ns()

    def _leave_driver(self) -> None:
        with self._changed:
            self._driver_since_ns = None
