"""Frames in: a camera by its URI, and the one-slot mailbox (latest.py) that hands the newest frame to the loop.

    picamera2:[N]                    a Raspberry Pi camera, by libcamera's number          picamera2.py
    v4l2:/dev/video0                 a USB camera                                          av.py
    rtsp://host/path, rtsps://…      a network camera                                      av.py
    file:VIDEO or a path to one      a video, shown once                                   av.py
    folder:DIR or a path to one      a folder of images, shown once in name order          folder.py

An adapter and its library are imported only when its URI is used.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

from edge_oneshot.cameras.base import Camera, EndOfStream
from edge_oneshot.config import CAMERA_SCHEMES, CameraConfig
from edge_oneshot.errors import CameraError

__all__ = ["Camera", "EndOfStream", "camera_opener", "open_camera"]

KNOWN = "expected picamera2:[N], v4l2:/dev/video0, rtsp://…, file:VIDEO or folder:DIR"


def open_camera(config: CameraConfig, stop: threading.Event | None = None) -> Camera:
    """Open the camera that config.uri names. Setting `stop` ends every wait of it soon, with EndOfStream.

    Raises CameraError: unknown scheme, missing file or package (with the install command), or a device that fails.
    """
    return camera_opener(config)(stop)


def camera_opener(config: CameraConfig) -> Callable[[threading.Event | None], Camera]:
    """Check what no retry can mend (scheme, file, package), and hand back the call that opens the camera.

    Raises CameraError for those faults at once; the returned call raises it for a device that fails.
    """
    scheme, rest = _split(config.uri)
    if scheme == "folder":
        directory = _existing(Path(rest), config.uri, want_directory=True)
        from edge_oneshot.cameras.folder import FolderCamera

        return lambda stop: FolderCamera(directory, config, stop)
    if scheme == "picamera2":
        if rest and not rest.isdecimal():
            raise CameraError(
                f"camera.uri: expected picamera2:N with a number, got {config.uri!r}", "picamera2: is the first"
            )
        from edge_oneshot.cameras.picamera2 import Picamera2Camera

        return lambda stop: Picamera2Camera(int(rest or 0), config, stop)
    path = _existing(Path(rest), config.uri, want_directory=False) if scheme == "file" else None
    from edge_oneshot.cameras.av import FileCamera, RtspCamera, V4l2Camera

    if path is not None:
        return lambda stop: FileCamera(path, config, stop)
    if scheme == "v4l2":
        return lambda stop: V4l2Camera(rest or "/dev/video0", config, stop)
    return lambda stop: RtspCamera(config.uri, config, stop)


def _split(uri: str) -> tuple[str, str]:
    """(scheme, the rest); a plain path becomes file or folder."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", uri, re.DOTALL)
    if match and match[1].lower() in CAMERA_SCHEMES:
        return match[1].lower(), match[2]
    path = Path(uri).expanduser()
    if path.is_dir():
        return "folder", uri
    if path.exists() or not match:
        return "file", uri
    raise CameraError(f"camera.uri: no camera of the kind {match[1]!r} in {uri!r}", KNOWN)


def _existing(path: Path, uri: str, *, want_directory: bool) -> Path:
    path = path.expanduser()
    what = "folder" if want_directory else "file"
    if not path.exists():
        raise CameraError(f"camera.uri: no such {what} or camera: {uri!r}", KNOWN)
    if path.is_dir() != want_directory:
        raise CameraError(
            f"camera.uri: expected a {what} at {path}, got a {'folder' if path.is_dir() else 'file'}",
            f"write {'file' if want_directory else 'folder'}:{path}",
        )
    return path
