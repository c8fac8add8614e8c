"""A camera URI -> the call that opens the camera.

    picamera2:[N]                    a Raspberry Pi camera, by libcamera's number     picamera2.py
    v4l2:/dev/video0                 a USB camera                                     av.py
    rtsp://host/path, rtsps://…      a network camera                                 av.py
    file:VIDEO or a path to one      a video file                                     av.py
    folder:DIR or a path to one      a folder of images in name order                 folder.py
    any other scheme                 a plug-in                                        edge_oneshot/config/plugins.py

The functions below are the factories of the built-in schemes. A plug-in provides one of the same form.
An adapter and its library are imported only when its URI is used.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from edge_oneshot.cameras.base import Camera
from edge_oneshot.config import CameraConfig, plugins
from edge_oneshot.errors import CameraError
from edge_oneshot.shown import redact_uri

# Opens the camera. Setting the event ends every wait of the camera soon, with EndOfStream. Raises CameraError.
Opener = Callable[[threading.Event | None], Camera]
# (address: the URI without its scheme, config) -> Opener. Called once, before the camera thread starts: it checks what
# no retry can fix (the address, a file, a package) and raises CameraError for that.
Factory = Callable[[str, CameraConfig], Opener]

EXAMPLES = "use picamera2:[N], v4l2:/dev/video0, rtsp://…, file:VIDEO or folder:DIR"


def camera_opener(config: CameraConfig) -> Opener:
    """Check what no retry can fix, and return the call that opens the camera.

    Raises CameraError for an unknown scheme, a missing file or a missing package (with the install command). The
    returned call raises CameraError for a device that fails.
    """
    scheme, address = _split(config.uri)
    factory = cast(Factory, plugins.load(plugins.CAMERAS, scheme, "camera.uri", CameraError))
    return factory(address, config)


def connect(config: CameraConfig, stop: threading.Event | None = None) -> Camera:
    """Open the camera in this thread. Raises CameraError as `camera_opener` and its result do."""
    return camera_opener(config)(stop)


def picamera2(address: str, config: CameraConfig) -> Opener:
    if address and not address.isdecimal():
        raise CameraError(
            f"camera.uri: expected picamera2:N with a number, got {redact_uri(config.uri)!r}",
            "picamera2: is the first camera",
        )
    from edge_oneshot.cameras.picamera2 import Picamera2Camera

    return lambda stop: Picamera2Camera(int(address or 0), config, stop)


def v4l2(address: str, config: CameraConfig) -> Opener:
    from edge_oneshot.cameras.av import V4l2Camera

    return lambda stop: V4l2Camera(address or "/dev/video0", config, stop)


def rtsp(address: str, config: CameraConfig) -> Opener:
    from edge_oneshot.cameras.av import RtspCamera

    return lambda stop: RtspCamera(config.uri, config, stop)


def file(address: str, config: CameraConfig) -> Opener:
    path = _existing(address, config.uri, want_directory=False)
    from edge_oneshot.cameras.av import FileCamera

    return lambda stop: FileCamera(path, config, stop)


def folder(address: str, config: CameraConfig) -> Opener:
    directory = _existing(address, config.uri, want_directory=True)
    from edge_oneshot.cameras.folder import FolderCamera

    return lambda stop: FolderCamera(directory, config, stop)


def _split(uri: str) -> tuple[str, str]:
    """(scheme, address). A plain path becomes file or folder."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", uri, re.DOTALL)
    if match and match[1].lower() in plugins.BUILT_IN[plugins.CAMERAS]:
        return match[1].lower(), match[2]
    path = Path(uri).expanduser()
    if path.is_dir():
        return "folder", uri
    if path.exists() or not match:
        return "file", uri
    return match[1].lower(), match[2]


def _existing(address: str, uri: str, *, want_directory: bool) -> Path:
    path = Path(address).expanduser()
    what, other = ("folder", "file") if want_directory else ("file", "folder")
    if not path.exists():
        raise CameraError(
            f"camera.uri: no such {what} or camera: {redact_uri(uri)!r}", f"check the path, or {EXAMPLES}"
        )
    if path.is_dir() != want_directory:
        raise CameraError(f"camera.uri: expected a {what} at {path}, got a {other}", f"write {other}:{path}")
    return path
