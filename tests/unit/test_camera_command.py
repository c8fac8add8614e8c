"""`edge-oneshot camera`: a frame with the faces found in it, for a person who aims a camera without a screen."""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edge_oneshot.cameras.found import captures, find_cameras
from edge_oneshot.cli import cli
from edge_oneshot.cli.draw import GOOD, POOR, draw, save, verdict
from edge_oneshot.control.parts import FoundFace
from edge_oneshot.errors import CameraError


@pytest.fixture
def config(tmp_path: Path, portrait_files: dict[str, Path]) -> Path:
    """A camera that shows one portrait 50 times, so that a frame comes after the request."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(50):
        (folder / f"{i:02}.png").symlink_to(portrait_files["collins"])
    path = tmp_path / "default.toml"
    path.write_text(
        f'[device]\nstate_dir = "{tmp_path}/state"\n[camera]\nuri = "folder:{folder}"\n'
        "[decision]\nthreshold = 0.5\n[mqtt]\nenabled = false\n"
    )
    return path


def run(config: Path, *arguments: str) -> str:
    result = CliRunner().invoke(
        cli, ["--config", str(config), "camera", *arguments], standalone_mode=False, catch_exceptions=False
    )
    return result.stdout


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    """The number of pixels of about this colour; JPEG changes colours a little."""
    return int((np.abs(pixels.astype(int) - colour).max(axis=2) < 60).sum())


def test_it_writes_the_frame_with_its_face_marked_good(config: Path, tmp_path: Path, collins: np.ndarray) -> None:
    out = tmp_path / "aim.png"
    said = run(config, "test", "--out", str(out))
    assert "face 1: " in said
    assert "px between the eyes" in said
    assert re.search(r"^recognizes to about [0-9.]+ m by day$", said, re.MULTILINE)
    assert "(not measured with decision.threshold = 0.5: " in said, "this configuration sets the threshold by hand"
    assert said.rstrip().endswith("(512x512)")
    pixels = np.asarray(Image.open(out))
    assert pixels.shape == collins.shape
    assert near(pixels, GOOD) > 500 > near(collins, GOOD)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600, "only the user may read a picture of a person"


def test_json_lists_the_faces_and_holds_no_picture(config: Path, tmp_path: Path) -> None:
    told = json.loads(run(config, "test", "--out", str(tmp_path / "a.jpg"), "--json"))
    assert "jpeg" not in told
    assert told["size"] == [512, 512]
    assert told["faces"][0]["faults"] == []
    assert told["range"][0].startswith("recognizes to about ") and told["range_measured_with"] == [
        "decision.threshold = 0.5"
    ]


def test_another_camera_is_used_directly(config: Path, tmp_path: Path, portrait_files: dict[str, Path]) -> None:
    folder = tmp_path / "empty room"
    folder.mkdir()
    for i in range(50):
        (folder / f"{i:02}.png").symlink_to(portrait_files["nobody"])
    said = run(config, "test", "--camera", f"folder:{folder}", "--out", str(tmp_path / "a.jpg"))
    assert "no face found" in said


def test_a_poor_face_is_drawn_in_another_colour_with_its_faults(collins: np.ndarray) -> None:
    import io

    jpeg = io.BytesIO()
    Image.fromarray(collins).save(jpeg, "JPEG")
    face = FoundFace(
        box=[170, 50, 290, 200],
        landmarks=[[200, 100], [240, 100]],
        detection_score=0.9,
        quality={"inter_eye_px": 19.0},
        faults=["too far: come closer"],
        to_enroll=[],
    )
    poor = np.asarray(draw(jpeg.getvalue(), [face]))
    good = np.asarray(draw(jpeg.getvalue(), [replace(face, faults=[])]))
    assert near(poor, POOR) > near(good, POOR) + 300
    assert near(good, GOOD) > near(poor, GOOD) + 300
    usable = replace(face, faults=[], to_enroll=["too far: come closer"])
    assert verdict(usable) == ["to enroll: too far: come closer"]
    assert near(np.asarray(draw(jpeg.getvalue(), [usable])), POOR) > near(good, POOR) + 300


def test_a_box_beyond_the_border_is_drawn(collins: np.ndarray) -> None:
    import io

    jpeg = io.BytesIO()
    Image.fromarray(collins).save(jpeg, "JPEG")
    face = FoundFace(
        box=[-40.0, 400.0, 600.0, 900.0],
        landmarks=[[-5, 900]],
        detection_score=0.9,
        quality={"inter_eye_px": 90.0},
        faults=["x"] * 6,
        to_enroll=[],
    )
    assert draw(jpeg.getvalue(), [face]).size == (512, 512)


@pytest.mark.parametrize("name", ["aim.gif", "aim", "nowhere/aim.jpg"])
def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="cannot write"):
        save(Image.new("RGB", (8, 8)), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_list_holds_cameras_only() -> None:
    descriptor = os.open("/dev/null", os.O_RDWR)
    try:
        assert not captures(descriptor)
    finally:
        os.close(descriptor)
    assert all(set(c) == {"uri", "name", "note"} for c in find_cameras())
    result = CliRunner().invoke(cli, ["camera", "list", "--json"], standalone_mode=False, catch_exceptions=False)
    assert json.loads(result.stdout) == {"cameras": find_cameras()}


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the owner of a folder needs root")
def test_without_a_daemon_it_does_not_need_the_gallery(config: Path, tmp_path: Path) -> None:
    """A member of the group aims the camera; the state folder belongs to the service."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 12345, -1)
    assert "face 1: " in run(config, "test", "--out", str(tmp_path / "aim.png"))
    assert list(state.iterdir()) == []
