"""Video files and RTSP through the real PyAV. V4L2 needs a device: scripts/camera-lab."""

from __future__ import annotations

import logging
import math
import struct
import threading
import time
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from camera_parts import config
from rtsp_server import RtspServer

from edge_oneshot.cameras import EndOfStream, connect
from edge_oneshot.cameras.av import sensor_time_ns, without_password
from edge_oneshot.cameras.latest import LatestFrame, State
from edge_oneshot.errors import CameraError

PATIENCE_S = 20.0


def record(path: Path, count: int = 30, fps: int = 30, width: int = 64, height: int = 48) -> Path:
    """A video: red top left quarter, blue elsewhere; green rises by 8 a picture at the bottom."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps, options={"g": "6"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 2_000_000
        for i in range(count):
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[..., 2] = 200
            pixels[height // 2 :] = (0, 8 * i % 256, 0)
            pixels[: height // 2, : width // 2] = (220, 0, 0)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def tag_rotation(path: Path, clockwise: int) -> Path:
    """Write a display matrix into the track header, as a phone that was held upright does (ISO/IEC 14496-12, 8.3.2)."""
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("suffix", "seconds"), [(".mp4", 2.0), (".mkv", 2.0), (".avi", 2.0), (".ts", math.inf)])
def test_a_file_has_a_length_if_its_container_states_one(tmp_path: Path, suffix: str, seconds: float) -> None:
    """Transport streams may be concatenated; FFmpeg's duration may then be that of one part."""
    with connect(config(record(tmp_path / f"a{suffix}", count=60))) as camera:
        assert camera.length_s == pytest.approx(seconds, abs=0.05)


def read_all(uri: object, **keys: object) -> list:
    frames = []
    with connect(config(uri, **keys)) as camera:
        while True:
            try:
                frames.append(camera.read(PATIENCE_S))
            except EndOfStream:
                return frames


def test_a_video_is_shown_once_in_rgb(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4")
    frames = read_all(f"file:{path}", pace="fast")
    assert [f.seq for f in frames] == list(range(30))
    red, green, blue = (int(v) for v in frames[0].pixels[5, 5])
    assert red > 190 and green < 40 and blue < 40
    assert frames[0].size == (64, 48) and frames[0].source == f"file:{path}"
    steps = {round((b.captured_ns - a.captured_ns) / 1e6, 1) for a, b in pairwise(frames)}
    assert steps == {33.3}


def test_a_video_with_too_many_frames_is_thinned_equally_in_both_paces(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", count=31)
    fast = read_all(path, pace="fast", fps=10.0)
    assert len(fast) == 11
    paced = read_all(path, pace="camera", fps=10.0)
    assert [f.pixels.tobytes() for f in fast] == [f.pixels.tobytes() for f in paced]
    assert all(b.captured_ns > a.captured_ns for a, b in pairwise(paced))


@pytest.mark.parametrize(("clockwise", "corner"), [(90, (5, -5)), (180, (-5, -5)), (270, (-5, 5))])
def test_the_rotation_tag_is_applied(tmp_path: Path, clockwise: int, corner: tuple[int, int]) -> None:
    frame = read_all(tag_rotation(record(tmp_path / "a.mp4", count=2), clockwise), pace="fast")[0]
    assert frame.size == ((64, 48) if clockwise == 180 else (48, 64))
    red, green, blue = (int(v) for v in frame.pixels[corner])
    assert red > 190 and green < 40 and blue < 40
    assert frame.pixels.flags.c_contiguous


def test_the_configured_rotation_adds_to_the_tag(tmp_path: Path) -> None:
    path = tag_rotation(record(tmp_path / "a.mp4", count=1), 90)
    plain = read_all(record(tmp_path / "b.mp4", count=1), pace="fast")[0]
    assert np.array_equal(read_all(path, pace="fast", rotation=270)[0].pixels, plain.pixels)


def test_a_truncated_video_gives_its_remaining_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = record(tmp_path / "a.mkv", count=60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = read_all(path, pace="fast")
    assert 5 < len(frames) < 60


def test_damage_in_the_middle_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = record(tmp_path / "a.avi", count=60)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert len(read_all(path, pace="fast")) > 20


def test_a_codec_without_a_decoder(tmp_path: Path) -> None:
    path = record(tmp_path / "a.avi", count=5)
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZZZZ"))
    with pytest.raises(CameraError, match="cannot decode any picture"):
        read_all(path, pace="fast")


def test_metadata_that_is_not_utf_8(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", count=5)
    content = path.read_bytes()
    assert content.count(b"Lavf") >= 1
    path.write_bytes(content.replace(b"Lavf", b"L\xff\xfef"))
    assert len(read_all(path, pace="fast")) == 5


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_a_file_that_is_not_a_video_is_a_one_line_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(CameraError, match=r"cannot open video .*a\.mp4") as caught:
        connect(config(path))
    assert "\n" not in str(caught.value)


def test_a_sound_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(CameraError, match="expected a video stream"):
        connect(config(path))


def test_stop_ends_a_paced_video(tmp_path: Path) -> None:
    stop = threading.Event()
    with connect(config(record(tmp_path / "a.mp4", fps=1), fps=1.0), stop) as camera:
        camera.read(1.0)
        threading.Timer(0.05, stop.set).start()
        with pytest.raises(EndOfStream):
            camera.read(1.0)


def test_a_video_that_disappears_between_openings_is_retried_as_lost(tmp_path: Path) -> None:
    """The file exists when the mailbox is created; later it disappears and comes back."""
    path = record(tmp_path / "a.mp4", count=5)
    from edge_oneshot.cameras import camera_opener

    opener = camera_opener(config(path, pace="fast"))
    path.rename(tmp_path / "away.mp4")
    with LatestFrame(config(path, pace="fast"), opener=opener, retry_s=(0.001, 0.01)) as box:
        assert box.get(0.1) is None
        assert box.state is State.LOST and "no video at" in str(box.last_error)
        (tmp_path / "away.mp4").rename(path)
        assert box.get(PATIENCE_S) is not None and box.state is State.RUNNING


def test_rtsp_delivers_frames_and_then_detects_a_silent_camera() -> None:
    with (
        RtspServer(after="silence") as server,
        connect(config(f"rtsp://user:geheim@127.0.0.1:{server.port}/live", stall_timeout_s=1.0)) as camera,
    ):
        assert camera.source == f"rtsp://127.0.0.1:{server.port}/live" and camera.live
        before_ns = time.monotonic_ns()
        frame = camera.read(1.0)
        assert frame.size == (64, 48) and frame.captured_ns <= time.monotonic_ns()
        red, green, blue = (int(v) for v in frame.pixels[20, 10])
        assert red > 180 and green < 60 and blue < 60
        assert frame.captured_ns > before_ns - 60e9
        with pytest.raises(CameraError, match=r"within|lost the camera|ended the stream") as caught:
            while True:
                camera.read(1.0)
        assert "geheim" not in str(caught.value)
        assert "PLAY" in server.seen


def test_rtsp_that_disconnects_is_lost_and_reopened() -> None:
    with (
        RtspServer(after="hang up") as server,
        LatestFrame(config(f"rtsp://127.0.0.1:{server.port}/live", stall_timeout_s=1.0), retry_s=(0.001, 0.01)) as box,
    ):
        seen = []
        while box.counters.reopens < 2 or not seen or seen[-1] < 1:
            frame = box.get(PATIENCE_S)
            assert frame is not None
            seen.append(frame.seq)
        assert all(b > a for a, b in pairwise(seen))
        assert box.last_error is not None


def test_rtsp_that_accepts_and_never_answers_is_an_error_without_the_password() -> None:
    with RtspServer(deaf=True) as server, pytest.raises(CameraError, match="cannot open rtsp://127") as caught:
        connect(config(f"rtsp://user:geheim@127.0.0.1:{server.port}/live", stall_timeout_s=0.5))
    assert "geheim" not in str(caught.value)


def test_rtsp_refused_is_an_error_with_a_hint() -> None:
    with pytest.raises(CameraError, match="refused") as caught:
        connect(config("rtsp://127.0.0.1:9/live", stall_timeout_s=0.5))
    assert "address" in caught.value.hint


def test_a_missing_v4l2_device_is_reported_with_the_existing_ones() -> None:
    with pytest.raises(CameraError, match="cannot open camera /dev/video99") as caught:
        connect(config("v4l2:/dev/video99"))
    assert "devices found:" in caught.value.hint


def test_sensor_time_recognises_the_clock() -> None:
    now_ns = time.monotonic_ns()
    assert abs(sensor_time_ns((now_ns - 50_000_000) // 1000) - (now_ns - 50_000_000)) < 2_000
    wall = sensor_time_ns((time.time_ns() - 50_000_000) // 1000)
    assert wall <= time.monotonic_ns() - 50_000_000 + 2_000
    for nonsense in (None, 0, 10**18):
        assert now_ns <= sensor_time_ns(nonsense) <= time.monotonic_ns()


def test_without_password() -> None:
    assert without_password("rtsp://a:b%40c@host:554/x@y") == "rtsp://host:554/x@y"
    assert without_password("rtsp://host/x") == "rtsp://host/x"
