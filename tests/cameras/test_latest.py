"""The mailbox and its thread, with cameras that are fast, slow, stalled, blocked, broken or missing."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from camera_parts import config, fill, numbered

from edge_oneshot.cameras import Camera, EndOfStream
from edge_oneshot.cameras.base import Adapter, Shot
from edge_oneshot.cameras.latest import LatestFrame, State
from edge_oneshot.errors import CameraError

QUICK = (0.001, 0.01)  # seconds of back-off
PATIENCE_S = 20.0  # a test fails after waiting this long; no test measures it


class Scripted(Adapter):
    """A camera that follows a script, one step a call: an int gives a frame, an exception is raised, a callable is called."""

    def __init__(self, *script: object, live: bool = True, stop: threading.Event | None = None) -> None:
        super().__init__("scripted:", stop=stop)
        self.live = live
        self.script = list(script)
        self.closed = 0

    def grab(self, timeout_s: float) -> Shot:
        act = self.script.pop(0) if self.script else EndOfStream()
        if callable(act) and not isinstance(act, type):
            act = act()
        if isinstance(act, BaseException):
            raise act
        return Shot(pixels=numbered(int(act)), captured_ns=time.monotonic_ns())  # type: ignore[call-overload]

    def close(self) -> None:
        self.closed += 1


class Exposed(Scripted):
    """Records the exposures that were set."""

    def expose(self, stops: float) -> None:
        self.exposures: list[float] = [*getattr(self, "exposures", []), stops]


def mailbox(*cameras: Adapter | CameraError, **keys: object) -> LatestFrame:
    """A mailbox whose n-th opening gives, or raises, the n-th argument."""
    queue = list(cameras)

    def opener(stop: threading.Event | None) -> Camera:
        camera = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(camera, CameraError):
            raise camera
        return camera

    return LatestFrame(config("scripted:", **keys), opener=opener, retry_s=QUICK, jitter=random.Random(1))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.002)


def test_a_fast_producer_leaves_only_its_newest_frame() -> None:
    gate = threading.Event()
    camera = Scripted(*range(50), lambda: gate.wait(PATIENCE_S) and EndOfStream())
    with mailbox(camera) as box:
        until(lambda: box.counters.frames == 50)
        frame = box.get(PATIENCE_S)
        assert frame is not None and frame.seq == 49 and frame.pixels[0, 0, 0] == 49
        assert box.counters.dropped == 49
        assert box.get(0) is None and box.state is State.RUNNING
        gate.set()
        assert box.get(PATIENCE_S) is None
        assert box.state is State.ENDED
    assert camera.closed == 1


def test_fast_pace_drops_nothing_even_if_the_loop_is_slow(tmp_path: Path) -> None:
    with LatestFrame(config(fill(tmp_path / "f", 40), pace="fast")) as box:
        seen = []
        while (frame := box.get(PATIENCE_S)) is not None:
            if frame.seq % 10 == 0:
                time.sleep(0.01)
            seen.append((frame.seq, int(frame.pixels[0, 0, 0])))
        assert seen == [(i, i) for i in range(40)]
        assert box.state is State.ENDED and box.counters.dropped == 0


def test_the_last_frame_is_still_available_after_the_end() -> None:
    with mailbox(Scripted(1, 2)) as box:
        until(lambda: not box._thread.is_alive())
        assert box.state is State.RUNNING
        frame = box.get(0)
        assert frame is not None and frame.seq == 1
        assert box.state is State.ENDED


def test_frame_after_skips_frames_from_before_the_prompt() -> None:
    prompt, gate = threading.Event(), threading.Event()
    camera = Scripted(1, 2, lambda: prompt.wait(PATIENCE_S) and 3, lambda: gate.wait(PATIENCE_S) and EndOfStream())
    with mailbox(camera) as box:
        until(lambda: box.counters.frames == 2)
        now_ns = time.monotonic_ns()
        assert box.frame_after(now_ns, 0.01) is None
        prompt.set()
        frame = box.frame_after(now_ns, PATIENCE_S)
        assert frame is not None and frame.pixels[0, 0, 0] == 3 and frame.captured_ns > now_ns
        gate.set()


def test_a_loss_is_a_named_state_and_the_camera_is_reopened(caplog: pytest.LogCaptureFixture) -> None:
    back = threading.Event()
    first = Scripted(1, CameraError("unplugged", "plug it in"))
    tries = 0

    def opener(stop: threading.Event | None) -> Camera:
        nonlocal tries
        tries += 1
        if tries == 1:
            return first
        if not back.is_set():
            raise CameraError(f"still gone ({tries})")
        return Scripted(7, lambda: threading.Event().wait(0.01) or 8, live=False)

    with caplog.at_level(logging.INFO), LatestFrame(config("scripted:"), opener=opener, retry_s=QUICK) as box:
        assert box.get(PATIENCE_S) is not None
        until(lambda: tries > 3)
        assert box.state is State.LOST and box.lost_since_ns is not None and box.lost_for_s > 0
        assert box.last_error is not None and "still gone" in box.last_error.message
        assert first.closed == 1
        assert box.get(0.001) is None
        back.set()
        frame = box.get(PATIENCE_S)
        assert frame is not None and (frame.seq, frame.pixels[0, 0, 0]) == (1, 7), "seq runs on over a reopening"
        assert box.state is State.RUNNING and box.lost_since_ns is None and box.lost_for_s == 0
        assert box.counters.reopens >= 3
        assert box.get(PATIENCE_S) is not None
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1 and "unplugged" in warnings[0].getMessage(), "only the first failure is a warning"
    assert "is back" in caplog.text


def test_back_off_doubles_up_to_its_bound_with_full_jitter() -> None:
    bounds: list[float] = []
    enough = threading.Event()

    class Recorder(random.Random):
        def uniform(self, a: float, b: float) -> float:
            bounds.append(b)
            assert a == 0.0
            if len(bounds) == 9:
                enough.set()
            return 0.0 if len(bounds) < 9 else 600.0

    gone = CameraError("gone")

    def opener(stop: threading.Event | None) -> Camera:
        raise gone

    with LatestFrame(config("scripted:"), opener=opener, jitter=Recorder()):
        assert enough.wait(PATIENCE_S)  # close() interrupts the ninth wait, of ten minutes
    assert bounds == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_driver_that_blocks_counts_as_lost_and_does_not_block_close(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    box = mailbox(Scripted(1, lambda: release.wait() and EndOfStream()), stall_timeout_s=0.05)
    try:
        assert box.get(PATIENCE_S) is not None
        until(lambda: box.state is State.LOST)
        assert box.last_error is not None and "does not return" in box.last_error.message
        assert box.close(0.05) is False
        assert "was abandoned" in caplog.text
    finally:
        release.set()
        box._thread.join(PATIENCE_S)


def test_a_low_rate_is_not_a_stall() -> None:
    with mailbox(Scripted(1), stall_timeout_s=0.5, fps=0.1) as box:
        assert box._stall_s == 30.0


def test_another_exception_reaches_the_loop() -> None:
    with mailbox(Scripted(1, ZeroDivisionError("a bug"))) as box:
        until(lambda: not box._thread.is_alive())
        assert box.get(0) is not None
        with pytest.raises(ZeroDivisionError, match="a bug"):
            box.get(PATIENCE_S)


def test_what_no_retry_can_fix_is_raised_at_once(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="no such folder"):
        LatestFrame(config(f"folder:{tmp_path / 'none'}"))


def test_close_wakes_a_waiting_loop_and_a_waiting_thread(tmp_path: Path) -> None:
    box = LatestFrame(config(fill(tmp_path / "f", 9), pace="fast"))
    until(lambda: box.counters.frames == 1)
    time.sleep(0.01)  # the thread now probably waits for the slot
    assert box.close() is True
    assert box.get(PATIENCE_S) is None and box.state is State.ENDED


def test_the_exposure_reaches_the_camera_once_and_again_after_a_loss() -> None:
    gate = threading.Event()

    def wait() -> int:
        gate.wait(PATIENCE_S)
        return 3

    first, second = Exposed(1, wait, 4, CameraError("unplugged")), Exposed(5, 6)
    with mailbox(first, second) as latest:
        latest.expose(1.5)
        gate.set()
        until(lambda: latest.state is State.ENDED or latest.counters.frames >= 5)
        until(lambda: hasattr(second, "exposures"))
    assert first.exposures == [1.5] and second.exposures == [1.5]
