"""Recordings whose timestamps lie: gaps, jumps to zero, constant, negative and absent ones."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from camera_parts import config

from edge_oneshot.cameras import EndOfStream, connect
from edge_oneshot.cameras.base import MediaClock
from edge_oneshot.types import Frame


def record(path: Path, stamps_s: list[float]) -> Path:
    """A video with a picture at each of these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, stamp_s in enumerate(stamps_s):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * i % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(stamp_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read_all(path: Path, pace: str) -> list[Frame]:
    frames = []
    with connect(config(path, fps=30, pace=pace)) as camera:
        while True:
            try:
                frames.append(camera.read(5.0))
            except EndOfStream:
                return frames


def steps_s(frames: list[Frame]) -> list[float]:
    return [(b.captured_ns - a.captured_ns) / 1e9 for a, b in pairwise(frames)]


def test_a_gap_is_not_waited_out(tmp_path: Path) -> None:
    stamps = [0, 0.1, 0.2, 40.2, 40.3]
    start = time.monotonic()
    frames = read_all(record(tmp_path / "a.mkv", stamps), "camera")
    assert time.monotonic() - start < 20
    assert len(frames) == 5
    fast = steps_s(read_all(tmp_path / "a.mkv", "fast"))
    assert fast == pytest.approx([0.1, 0.1, 2.0, 0.1], abs=0.002)


def test_a_stream_that_restarts_at_zero_goes_on(tmp_path: Path) -> None:
    """Two recordings joined as a recorder joins them. The second was dropped whole."""
    part = record(tmp_path / "part.ts", [i / 10 for i in range(10)]).read_bytes()
    (tmp_path / "a.ts").write_bytes(part + part)
    steps = steps_s(read_all(tmp_path / "a.ts", "fast"))
    assert len(steps) >= 18 and all(0 < s <= 2.0 for s in steps)


def test_a_stream_without_timestamps_follows_its_rate(tmp_path: Path) -> None:
    record(tmp_path / "a.m4v", [i / 10 for i in range(10)])
    steps = steps_s(read_all(tmp_path / "a.m4v", "fast"))
    assert len(steps) >= 8 and all(0 < s <= 0.2 for s in steps)


@pytest.mark.parametrize(
    "stamps",
    [
        [None] * 5,
        [0.0] * 5,
        [-9e9, -9e9 + 0.1, -1.0, 0.0, 9e18],
        [5.0, 0.0, 5.0, 0.0, 5.0],
        [1.0, None, 2.0, math.nan, math.inf],
    ],
)
@pytest.mark.parametrize("rate", [None, 0.0, 10.0, 90000.0, 1e-9, math.inf, math.nan])
def test_the_media_clock_always_advances_and_never_far(stamps: list[float | None], rate: float | None) -> None:
    clock = MediaClock(rate)
    times = [clock.at(stamp) for stamp in stamps]
    assert times[0] == 0.0
    assert all(0 < b - a <= MediaClock.MAX_STEP_S for a, b in pairwise(times))
