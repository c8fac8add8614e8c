"""`open_camera`: the frames of a camera in a for loop."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from camera_parts import config, fill

from edge_oneshot.cameras import open_camera
from edge_oneshot.errors import CameraError


def test_every_picture_of_a_folder_comes_once_and_the_loop_ends(tmp_path: Path) -> None:
    with open_camera(fill(tmp_path / "f", 12)) as camera:
        seen = []
        for frame in camera:
            seen.append((frame.seq, int(frame.pixels[0, 0, 0])))
            time.sleep(0.002)
        assert seen == [(i, i) for i in range(12)]
        assert list(camera) == []


def test_a_path_a_uri_and_a_configuration_name_the_same_camera(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", 3)
    for source in (folder, str(folder), f"folder:{folder}", config(folder, pace="fast")):
        with open_camera(source) as camera:
            assert len(list(camera)) == 3


def test_a_live_camera_gives_its_newest_frame(tmp_path: Path) -> None:
    """100 pictures a second, shown like a camera, before a loop that takes 50 ms."""
    with open_camera(config(fill(tmp_path / "f", 30))) as camera:
        numbers = []
        for frame in camera:
            numbers.append(frame.seq)
            time.sleep(0.05)
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 20


@pytest.mark.parametrize(
    ("source", "message"),
    [("folder:/none", "no such folder"), ("picamera3:", "did you mean picamera2"), ("/none.mp4", "no such file")],
)
def test_a_fault_of_the_source_is_raised_at_once_with_a_hint(source: str, message: str) -> None:
    with pytest.raises(CameraError, match=message) as caught:
        open_camera(source)
    assert caught.value.hint


def test_a_device_that_fails_is_raised_when_it_is_opened() -> None:
    pytest.importorskip("av")
    with pytest.raises(CameraError, match="cannot open camera /dev/video99") as caught:
        open_camera("v4l2:/dev/video99")
    assert caught.value.hint


def test_a_loss_is_raised_by_the_loop_and_the_loop_may_go_on(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", 6)
    with open_camera(folder) as camera:
        assert next(camera).seq == 0
        folder.rename(tmp_path / "away")
        with pytest.raises(CameraError, match=r"disappeared|cannot read folder"):
            list(camera)
        (tmp_path / "away").rename(folder)
        deadline = time.monotonic() + 20
        while True:
            try:
                frames = list(camera)
                break
            except CameraError:
                assert time.monotonic() < deadline
        assert [int(f.pixels[0, 0, 0]) for f in frames] == list(range(6)), "reopened, from its first picture"


def test_close_from_another_thread_ends_the_loop(tmp_path: Path) -> None:
    with open_camera(config(fill(tmp_path / "f", 3), fps=1 / 600)) as camera:
        next(camera)
        timer = threading.Timer(0.05, camera.close)
        timer.start()
        assert list(camera) == []
        timer.join()
        camera.close()
