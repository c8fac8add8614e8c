"""The V4L2 adapter on a real kernel's /dev/video0: the vivid test driver, in the virtual machine of scripts/camera-lab."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from edge_oneshot.cameras import EndOfStream, connect
from edge_oneshot.cameras.latest import LatestFrame
from edge_oneshot.config import CameraConfig
from edge_oneshot.errors import CameraError

VIVID = Path("/sys/bus/platform/drivers/vivid")
CHECKS: list[Callable[[], str]] = []


def check(function: Callable[[], str]) -> Callable[[], str]:
    CHECKS.append(function)
    return function


def config(**keys: object) -> CameraConfig:
    return CameraConfig(**({"uri": "v4l2:/dev/video0", "fps": 10.0, "stall_timeout_s": 10.0} | keys))  # type: ignore[arg-type]


@check
def colour_bars_arrive_as_rgb() -> str:
    with connect(config()) as camera:
        frame = camera.read(20.0)
        format_ = camera._container.streams.video[0].codec_context.pix_fmt  # type: ignore[attr-defined]
        assert camera._descriptor is not None  # type: ignore[attr-defined]
    row = frame.pixels[frame.size[1] * 3 // 4]
    width = frame.size[0]
    bars = [tuple(int(v) for v in row[int((i + 0.5) * width / 8)]) for i in range(8)]
    names = ["".join("RGB"[c] for c in range(3) if bar[c] > 100) for bar in bars]
    assert names == ["RGB", "RG", "GB", "G", "RB", "R", "B", ""], (names, bars)
    return f"{frame.size} {format_}: white yellow cyan green magenta red blue black"


@check
def timestamps_come_from_the_driver_and_rise() -> str:
    with connect(config()) as camera:
        frames = [(camera.read(20.0).captured_ns, time.monotonic_ns()) for _ in range(20)]
    assert all(b[0] > a[0] for a, b in pairwise(frames)) and all(now - at >= 0 for at, now in frames)
    ages = [(now - at) / 1e6 for at, now in frames]
    return (
        f"step median {np.median(np.diff([at for at, _ in frames])) / 1e6:.1f} ms, age median {np.median(ages):.1f} ms"
    )


@check
def queued_pictures_are_skipped() -> str:
    with connect(config()) as camera:
        camera.read(20.0)
        time.sleep(3.0)
        asked_ns = time.monotonic_ns()
        frame = camera.read(20.0)
    age_s = (asked_ns - frame.captured_ns) / 1e9
    assert age_s < 1.5, age_s
    return f"after 3 s without a read, the next frame is {max(age_s, 0):.2f} s old"


@check
def size_is_negotiated() -> str:
    sizes = []
    for asked in ((640, 480), (1280, 720), (500, 333)):
        with connect(config(width_px=asked[0], height_px=asked[1])) as camera:
            sizes.append(f"{asked} -> {camera.read(20.0).size}")
    return ", ".join(sizes)


@check
def a_busy_camera_is_one_line() -> str:
    with connect(config()) as camera:
        camera.read(20.0)
        try:
            connect(config()).close()
        except CameraError as e:
            return str(e)
    raise AssertionError("opened twice")


@check
def ten_openings_leave_no_descriptor() -> str:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with connect(config()) as camera:
            camera.read(20.0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    return f"descriptors {before}"


@check
def stop_ends_a_wait() -> str:
    stop = threading.Event()
    with connect(config(fps=10.0), stop) as camera:
        camera.read(20.0)
        threading.Timer(1.0, stop.set).start()
        try:
            while True:
                camera.read(20.0)
        except EndOfStream:
            return "EndOfStream"


@check
def a_camera_that_is_unplugged_is_lost_and_comes_back() -> str:
    with LatestFrame(config(), retry_s=(0.1, 0.5)) as box:
        assert box.get(20.0) is not None
        (VIVID / "unbind").write_text("vivid.0")
        deadline = time.monotonic() + 120
        while box.last_error is None:
            assert time.monotonic() < deadline, "the loss was not detected"
            box.get(0.1)
        lost = str(box.last_error)
        (VIVID / "bind").write_text("vivid.0")
        while box.get(0.5) is None:
            assert time.monotonic() < deadline, box.last_error
        return f"{lost}; {box.counters}"


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="  log: %(message)s")
    print(
        f"Linux {os.uname().release}, PyAV {av.__version__}, FFmpeg's libavdevice {av.library_versions['libavdevice']}, "
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
