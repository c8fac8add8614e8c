"""The picamera2 adapter on real picamera2 and libcamera, over libcamera's virtual cameras. Run by scripts/camera-lab."""

from __future__ import annotations

import gc
import importlib.metadata
import logging
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import libcamera
import numpy as np
import virtual_pipeline  # noqa: F401 - it patches picamera2
from picamera2 import Picamera2
from PIL import Image

from edge_oneshot.cameras import EndOfStream, connect
from edge_oneshot.cameras.base import upright
from edge_oneshot.cameras.latest import LatestFrame, State
from edge_oneshot.config import CameraConfig
from edge_oneshot.errors import CameraError

# top left, top right, bottom left, bottom right
QUADRANTS = ((220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 230, 40))
PICTURES = Path("/opt/lab/quadrants")  # named in virtual.yaml
CHECKS: list[Callable[[], str]] = []


def draw() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    pixels = np.array(QUADRANTS, np.uint8).reshape(2, 2, 3).repeat(240, axis=0).repeat(320, axis=1)
    Image.fromarray(pixels).save(PICTURES / "0.jpg", quality=95)


def check(function: Callable[[], str]) -> Callable[[], str]:
    CHECKS.append(function)
    return function


def camera_number(model: str) -> int:
    (number,) = [i for i, c in enumerate(Picamera2.global_camera_info()) if c["Model"] == model]
    return number


def config(model: str = "quadrants", **keys: object) -> CameraConfig:
    return CameraConfig(**({"uri": f"picamera2:{camera_number(model)}", "fps": 30.0} | keys))  # type: ignore[arg-type]


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    h, w = pixels.shape[:2]
    return [tuple(int(v) for v in pixels[y, x]) for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]


def assert_quadrants(pixels: np.ndarray) -> None:
    worst = max(
        abs(a - b) for got, want in zip(corners(pixels), QUADRANTS, strict=True) for a, b in zip(got, want, strict=True)
    )
    assert worst <= 12, f"expected {QUADRANTS}, got {corners(pixels)}"


def fails(function: Callable[[], object]) -> CameraError:
    try:
        function()
    except CameraError as e:
        return e
    raise AssertionError("expected a CameraError")


@check
def colours_arrive_as_rgb() -> str:
    with connect(config()) as camera:
        frame = camera.read(5.0)
        assert frame.size == (640, 480) and frame.lores is None and camera.live
        assert_quadrants(frame.pixels)
        return f"{camera._streams['main']['format']} -> {corners(frame.pixels)}"  # type: ignore[attr-defined]


@check
def two_hundred_frames_with_four_buffers() -> str:
    with connect(config()) as camera:
        frames = [(f.seq, f.captured_ns, time.monotonic_ns()) for f in (camera.read(5.0) for _ in range(200))]
    assert [seq for seq, _, _ in frames] == list(range(200))
    steps = [b[1] - a[1] for a, b in pairwise(frames)]
    assert min(steps) > 0
    ages = [(now - at) / 1e6 for _, at, now in frames]
    assert min(ages) >= 0
    return f"step median {np.median(steps) / 1e6:.1f} ms, age at hand-over median {np.median(ages):.1f} ms, max {max(ages):.1f} ms"


@check
def a_lower_rate_is_kept() -> str:
    with connect(config(fps=10.0)) as camera:
        at = [camera.read(5.0).captured_ns for _ in range(20)]
    median_ms = float(np.median(np.diff(at))) / 1e6
    assert 80 < median_ms < 140, median_ms
    return f"asked 10/s of a 30/s camera: step median {median_ms:.1f} ms"


@check
def rotation_and_mirror() -> str:
    with connect(config()) as camera:
        plain = camera.read(5.0).pixels
    done = []
    for rotation in (0, 90, 180, 270):
        for mirror in (False, True):
            with connect(config(rotation=rotation, mirror=mirror)) as camera:
                got, want = corners(camera.read(5.0).pixels), corners(upright(plain, rotation, mirror))
                software = (camera._rotation, camera._mirror)  # type: ignore[attr-defined]
            worst = max(abs(a - b) for x, y in zip(got, want, strict=True) for a, b in zip(x, y, strict=True))
            assert worst <= 2, (rotation, mirror, got, want)
            done.append(
                f"{rotation}{'m' if mirror else ''}:{'software' if any(software) or not (rotation or mirror) else 'sensor'}"
            )
    return ", ".join(done)


@check
def a_wide_main_stream_comes_with_a_small_one() -> str:
    with connect(config("wide", width_px=1280, height_px=720, rotation=90)) as camera:
        frame = camera.read(5.0)
    assert frame.size == (720, 1280) and frame.lores is not None
    h, w = frame.lores.shape[:2]
    assert abs(h / w - 1280 / 720) < 0.02, (w, h)
    assert_quadrants(upright(frame.pixels, 270, False))
    assert_quadrants(upright(frame.lores, 270, False))
    return f"main {frame.size}, lores {(w, h)}"


@check
def ten_openings_leave_no_thread_and_no_descriptor() -> str:
    def once() -> None:
        with connect(config()) as camera:
            camera.read(5.0)

    def descriptors() -> int:
        gc.collect()  # picamera2's selectors are part of reference cycles
        return len(list(Path("/proc/self/fd").iterdir()))

    once()
    threads, before = threading.active_count(), descriptors()
    for _ in range(10):
        once()
    assert threading.active_count() == threads
    after = descriptors()
    assert after <= before, (before, after)
    return f"descriptors {before} -> {after}"


@check
def a_missing_camera_is_one_line() -> str:
    error = fails(lambda: connect(CameraConfig(uri="picamera2:9")))
    assert "No camera number 9" in error.message and "\n" not in str(error)
    return str(error)


@check
def a_busy_camera_is_one_line() -> str:
    with connect(config()) as camera:
        camera.read(5.0)
        error = fails(lambda: connect(config()))
        camera.read(5.0)
    assert "busy" in error.message and "\n" not in str(error)
    return str(error)


def starve(camera: Any) -> list[Any]:
    """Take requests without returning any, until none is left: libcamera then has no buffer and delivers nothing."""
    held = []
    try:
        while True:
            held.append(camera.capture_request(wait=1.0))
    except TimeoutError:
        with camera.lock:
            camera._job_list.pop()  # remove the job of this call
    assert len(held) == 4, len(held)
    return held


@check
def a_silent_camera_is_detected_closed_and_reopened() -> str:
    with connect(config()) as camera:
        camera.read(5.0)
        held = starve(camera._camera)  # type: ignore[attr-defined]
        error = fails(lambda: camera.read(1.0))
        assert "no picture within 1 s" in error.message
        for request in held:
            request.release()
        for _ in range(20):  # it recovers by itself, and the request that timed out is not lost
            camera.read(5.0)
        starve(camera._camera)  # type: ignore[attr-defined]
        closed_in_time(camera)
    with connect(config()) as again:
        again.read(5.0)
    return error.message


@check
def a_dead_event_loop_is_detected_closed_and_reopened() -> str:
    """Stop libcamera without picamera2, so that the event loop of picamera2 ends with an exception."""
    with connect(config()) as camera:
        camera.read(5.0)
        camera._camera.camera.stop()  # type: ignore[attr-defined]
        error = fails(lambda: [camera.read(1.0) for _ in range(9)])
        closed_in_time(camera)
    with connect(config()) as again:
        again.read(5.0)
    return error.message


def closed_in_time(camera: Any) -> None:
    closing = threading.Thread(target=camera.close, daemon=True)
    closing.start()
    closing.join(20.0)
    assert not closing.is_alive(), "close() hangs"


@check
def stop_ends_a_wait() -> str:
    stop = threading.Event()
    with connect(config(), stop) as camera:
        camera.read(5.0)
        starve(camera._camera)  # type: ignore[attr-defined]
        threading.Timer(0.2, stop.set).start()
        try:
            camera.read(60.0)
        except EndOfStream:
            return "EndOfStream"
    raise AssertionError("got a frame, although there are none")


@check
def the_mailbox_runs_loses_and_reopens_the_camera() -> str:
    with LatestFrame(config(stall_timeout_s=1.0), retry_s=(0.01, 0.05)) as box:
        first = box.get(10.0)
        assert first is not None and box.state is State.RUNNING
        after = box.frame_after(time.monotonic_ns(), 10.0)
        assert after is not None and after.captured_ns > first.captured_ns
        (picam2,) = Picamera2._cm.cameras.values()
        starve(picam2)
        deadline = time.monotonic() + 60
        while box.last_error is None:  # the state LOST may be too short to observe, since the back-off is short here
            assert time.monotonic() < deadline, "the stall was not detected"
            box.get(0.05)
        back = box.get(20.0)
        while back is None or box.counters.reopens == 0:
            assert time.monotonic() < deadline, box.last_error
            back = box.get(20.0)
        assert box.state is State.RUNNING and back.seq > after.seq
        lost = box.last_error
        counters = box.counters
    assert not box._thread.is_alive()
    return f"lost ({lost.message}), back; {counters}"


def main() -> int:
    logging.basicConfig(level=logging.CRITICAL, format="  log: %(message)s")
    threading.excepthook = lambda args: print(f"  a thread ended: {args.thread and args.thread.name}: {args.exc_value}")
    draw()
    Picamera2.set_logging(logging.CRITICAL)
    print(
        f"libcamera {libcamera.CameraManager.singleton().version}, picamera2 {importlib.metadata.version('picamera2')}, "
        f"numpy {np.__version__}, Python {sys.version.split()[0]}"
    )
    failed = 0
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        try:
            print(f"ok      {name}: {function()}", flush=True)
        except Exception as e:
            failed += 1
            print(f"FAILED  {name}: {type(e).__name__}: {e}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
