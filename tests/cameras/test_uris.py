"""Camera URIs that are no address: each is refused at the start, in one line with the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from camera_parts import config

from edge_oneshot.cameras import camera_opener
from edge_oneshot.cameras.found import stable_name
from edge_oneshot.errors import CameraError


@pytest.mark.parametrize(
    ("uri", "message", "hint"),
    [
        ("a" * 300, "File name too long", "check the path"),
        ("file:" + "a" * 300, "File name too long", "check the path"),
        ("folder:" + "a" * 5000, "File name too long", "check the path"),
        ("v4l2:/dev/" + "a" * 300, "File name too long", "check the path"),
        ("~nosuch", "home", "check the path"),
        ("folder:~nosuch/x", "home", "check the path"),
        ("file:a\0b", "null", "check the path"),
        ("0", "got the number 0", "v4l2:/dev/video0"),
        ("v4l2:0", "expected v4l2:/dev/", "v4l2:/dev/video0"),
        ("v4l2:video2", "expected v4l2:/dev/", "v4l2:/dev/video2"),
        ("v4l2:front", "expected v4l2:/dev/", "camera list"),
        ("picamera2:" + "1" * 5000, "expected picamera2:N", "camera"),
        ("RTSP://", "expected rtsp://HOST/PATH", "special characters"),
        ("rtsp:", "expected rtsp://HOST/PATH", "special characters"),
        ("rtsp:///path", "expected rtsp://HOST/PATH", "special characters"),
        ("rtsp://host:port/path", "expected rtsp://HOST/PATH", "special characters"),
        ("rtsp://[::1", "expected rtsp://HOST/PATH", "special characters"),
    ],
)
def test_a_uri_that_is_no_address(uri: str, message: str, hint: str) -> None:
    with pytest.raises(CameraError, match=message) as caught:
        camera_opener(config(uri))
    assert hint in caught.value.hint
    assert len(caught.value.message) < 300 and "\0" not in caught.value.message


def test_a_usb_camera_is_named_by_its_link(tmp_path: Path) -> None:
    device, other = tmp_path / "video0", tmp_path / "video1"
    device.touch()
    other.touch()
    assert stable_name(device, tmp_path) == device
    (tmp_path / "by-path").mkdir()
    (tmp_path / "by-path" / "usb-0:1-video-index0").symlink_to("../video0")
    assert stable_name(device, tmp_path).parent.name == "by-path"
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "usb-Maker_Model_1-video-index0").symlink_to("../video0")
    assert stable_name(device, tmp_path).parent.name == "by-id"
    assert stable_name(other, tmp_path) == other
