"""Camera URIs, and the error for a missing package. Each import check runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from camera_parts import config, fill

from edge_oneshot.cameras import camera_opener, connect
from edge_oneshot.errors import CameraError


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://host/stream", "expected one of picamera2, v4l2, .*, got 'http' "),
        ("picamera3:", "got 'picamera3'; did you mean picamera2"),
        ("picamera2:front", "expected picamera2:N with a number"),
        ("file:/none.mp4", "no such file"),
        ("folder:/none", "no such folder"),
        ("/none", "no such file or camera"),
        ("", "."),
    ],
)
def test_faults_of_a_uri_are_reported_at_once(
    uri: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CameraError, match=message) as caught:
        connect(config(uri))
    assert caught.value.hint and "\n" not in str(caught.value)


def test_file_and_folder_are_not_confused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", 1)
    with pytest.raises(CameraError, match="expected a file") as caught:
        camera_opener(config(f"file:{folder}"))
    assert f"folder:{folder}" in caught.value.hint
    with pytest.raises(CameraError, match="expected a folder") as caught:
        camera_opener(config(f"folder:{folder / '0000.png'}"))
    assert f"file:{folder / '0000.png'}" in caught.value.hint


def python(code: str, path: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONPATH": str(path)},
    ).stdout


ASK = """
from edge_oneshot.cameras import connect
from edge_oneshot.config import CameraConfig
from edge_oneshot.errors import CameraError
try:
    connect(CameraConfig(uri={uri!r}))
except CameraError as e:
    print(e)
"""


@pytest.mark.parametrize(
    ("module", "raises", "uri", "fix"),
    [
        ("av", "ImportError('No module named av')", "rtsp://127.0.0.1:9/", "pip install 'av>=14'"),
        ("libcamera", "ImportError('No module named libcamera')", "picamera2:", "sudo apt install python3-picamera2"),
        # the errors of Bookworm's picamera2 with numpy 2
        (
            "libcamera",
            "ValueError('numpy.dtype size changed, may indicate binary incompatibility')",
            "picamera2:",
            "'numpy<2'",
        ),
        ("libcamera", "AttributeError('_ARRAY_API not found')", "picamera2:", "'numpy<2'"),
    ],
)
def test_the_error_for_a_missing_or_mismatched_package_gives_the_fix(
    tmp_path: Path, module: str, raises: str, uri: str, fix: str
) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise {raises}\n")
    said = python(ASK.format(uri=uri), tmp_path)
    assert fix in said and said.count("\n") == 1


def test_an_adapter_is_imported_only_for_its_uri(tmp_path: Path) -> None:
    fill(tmp_path / "f", 1)
    code = f"""
import sys
import edge_oneshot.cameras, edge_oneshot.cameras.latest
assert not {{"av", "PIL", "picamera2", "libcamera"}} & set(sys.modules)
from edge_oneshot.config import CameraConfig
edge_oneshot.cameras.connect(CameraConfig(uri={str(tmp_path / "f")!r})).read(1.0)
assert not {{"av", "picamera2", "libcamera"}} & set(sys.modules)
print("ok")
"""
    assert python(code, tmp_path).strip() == "ok"
