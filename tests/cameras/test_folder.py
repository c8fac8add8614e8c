"""A folder of images as a camera."""

from __future__ import annotations

import logging
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from camera_parts import config, fill, numbered
from PIL import Image

from edge_oneshot.cameras import EndOfStream, connect
from edge_oneshot.errors import CameraError


def read_all(uri: object, **keys: object) -> list:
    frames = []
    with connect(config(uri, **keys)) as camera:
        while True:
            try:
                frames.append(camera.read(2.0))
            except EndOfStream:
                return frames


def test_it_has_a_length(tmp_path: Path) -> None:
    with connect(config(f"folder:{fill(tmp_path / 'f', 12)}", fps=10.0)) as camera:
        assert camera.length_s == pytest.approx(1.1)


@pytest.mark.parametrize("pace", ["camera", "fast"])
def test_shows_each_picture_once_in_name_order(tmp_path: Path, pace: str) -> None:
    folder = fill(tmp_path / "f", 12)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    frames = read_all(f"folder:{folder}", pace=pace)
    assert [f.seq for f in frames] == list(range(12))
    assert [f.pixels[0, 0, 0] for f in frames] == list(range(12))
    assert all(b.captured_ns > a.captured_ns for a, b in pairwise(frames))
    assert all(f.source == f"folder:{folder}" and f.captured_at.tzinfo for f in frames)


def test_a_plain_path_is_a_folder_too(tmp_path: Path) -> None:
    assert len(read_all(fill(tmp_path / "f", 3))) == 3


def test_fast_keeps_media_time_and_does_not_wait(tmp_path: Path) -> None:
    """Four pictures, one every ten minutes: with waiting the test would exceed its time limit."""
    frames = read_all(fill(tmp_path / "f", 4), pace="fast", fps=1 / 600)
    assert {b.captured_ns - a.captured_ns for a, b in pairwise(frames)} == {600_000_000_000}


def test_a_broken_picture_is_named_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = fill(tmp_path / "f", 3, ".jpg")
    whole = (folder / "0001.jpg").read_bytes()
    (folder / "0001.jpg").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        assert len(read_all(folder)) == 2
    assert "0001.jpg" in caplog.text


def test_a_folder_of_broken_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(CameraError, match=r"cannot read any image in "):
        read_all(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(CameraError, match=r"no image in .*\*\.jpg"):
        connect(config(tmp_path))


def test_a_folder_that_disappears_is_a_loss(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", 3)
    with connect(config(folder)) as camera:
        camera.read(1.0)
        folder.rename(tmp_path / "gone")
        with pytest.raises(CameraError, match="disappeared"):
            camera.read(1.0)


def test_rotation_and_mirror_reach_the_frames(tmp_path: Path) -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (frame,) = read_all(tmp_path, rotation=90, mirror=True)
    assert frame.size == (2, 3)
    assert np.array_equal(frame.pixels, np.asarray(Image.fromarray(pixels).rotate(-90, expand=True))[:, ::-1])


def test_stop_ends_the_wait_for_the_next_picture(tmp_path: Path) -> None:
    """At one picture in ten minutes, the second read returns only because of the Event."""
    stop = threading.Event()
    with connect(config(fill(tmp_path / "f", 2), fps=1 / 600), stop) as camera:
        assert np.array_equal(camera.read(1.0).pixels, numbered(0))
        threading.Timer(0.05, stop.set).start()
        with pytest.raises(EndOfStream):
            camera.read(1.0)


def test_a_folder_may_begin_again(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", 3)
    (folder / "0001.png").write_bytes(b"broken")
    with connect(config(f"folder:{folder}?loop", pace="fast")) as camera:
        assert [camera.read(2.0).pixels[0, 0, 0] for _ in range(5)] == [0, 2, 0, 2, 0]
        for path in folder.iterdir():
            path.write_bytes(b"broken")
        with pytest.raises(EndOfStream):  # and not for ever
            camera.read(2.0)
    named = fill(tmp_path / "g?loop", 2)
    assert len(read_all(f"folder:{named}", pace="fast")) == 2, "a folder of that name"
