"""A camera URI -> the call that opens the camera.

    picamera2:[N]                    a Raspberry Pi camera, by libcamera's number     picamera2.py
    v4l2:/dev/video0                 a USB camera                                     av.py
    rtsp://host/path, rtsps://…      a network camera                                 av.py
    file:VIDEO or a path to one      a video file                                     av.py
    folder:DIR or a path to one      a folder of images in name order; folder:DIR?loop: again and again    folder.py
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
from urllib.parse import urlsplit

from edge_oneshot.cameras.base import Camera
from edge_oneshot.config import CameraConfig, plugins
from edge_oneshot.errors import CameraError
from edge_oneshot.shown import redact_uri

# Opens the camera. Setting the event ends every wait of the camera soon, with EndOfStream. Raises CameraError.
Opener = Callable[[threading.Event | None], Camera]
# (address: the URI without its scheme, config) -> Opener. Called once, before the camera thread starts: it checks what
# no retry can fix (the address, a file, a package) and raises CameraError for that.
Factory = Callable[[str, CameraConfig], Opener]

LOOP = "?loop"  # after a folder: begin again after the last image
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
    if address and not (address.isdecimal() and len(address) <= 3):
        raise CameraError(
            f"camera.uri: expected picamera2:N with a number, got {redact_uri(config.uri)[:100]!r}",
            "picamera2: is the first camera",
        )
    from edge_oneshot.cameras.picamera2 import Picamera2Camera

    return lambda stop: Picamera2Camera(int(address or 0), config, stop)


def v4l2(address: str, config: CameraConfig) -> Opener:
    device = address or "/dev/video0"
    if not device.startswith("/"):
        number = address.removeprefix("video")
        raise CameraError(
            f"camera.uri: expected v4l2:/dev/…, got {config.uri[:100]!r}",
            f"write v4l2:/dev/video{number}" if number.isdecimal() else "`edge-oneshot camera list` lists the cameras",
        )
    _path(device, config.uri)
    from edge_oneshot.cameras.av import V4l2Camera

    return lambda stop: V4l2Camera(device, config, stop)


def rtsp(address: str, config: CameraConfig) -> Opener:
    try:
        parts = urlsplit(config.uri)
        good = address.startswith("//") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise CameraError(
            f"camera.uri: expected rtsp://HOST/PATH, got {redact_uri(config.uri)[:100]!r}",
            "copy the address from the camera's own page; special characters of a password as %XX",
        )
    from edge_oneshot.cameras.av import RtspCamera

    scheme = config.uri.partition(":")[0].lower()  # FFmpeg knows the scheme in lower case only
    return lambda stop: RtspCamera(f"{scheme}:{address}", config, stop)


def file(address: str, config: CameraConfig) -> Opener:
    path = _existing(address, config.uri, want_directory=False)
    from edge_oneshot.cameras.av import FileCamera

    return lambda stop: FileCamera(path, config, stop)


def folder(address: str, config: CameraConfig) -> Opener:
    path = address.removesuffix(LOOP)
    loop = path != address and not _path(address, config.uri).is_dir()
    directory = _existing(path if loop else address, config.uri, want_directory=True)
    from edge_oneshot.cameras.folder import FolderCamera

    return lambda stop: FolderCamera(directory, config, stop, loop=loop)


def _split(uri: str) -> tuple[str, str]:
    """(scheme, address). A plain path becomes file or folder."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", uri, re.DOTALL)
    if match and match[1].lower() in plugins.BUILT_IN[plugins.CAMERAS]:
        return match[1].lower(), match[2]
    path = _path(uri, uri)
    if path.is_dir():
        return "folder", uri
    if path.exists() or not match:
        return "file", uri
    return match[1].lower(), match[2]


def _path(address: str, uri: str) -> Path:
    """Raises CameraError for what cannot be a path: a name that is too long, NUL, the home of an unknown user."""
    try:
        path = Path(address).expanduser()
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RuntimeError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        shown = redact_uri(uri) if len(uri) <= 100 else redact_uri(uri)[:100] + "…"
        raise CameraError(f"camera.uri: cannot use {shown!r}: {reason}", f"check the path, or {EXAMPLES}") from None
    return path


def _existing(address: str, uri: str, *, want_directory: bool) -> Path:
    path = _path(address, uri)
    what, other = ("folder", "file") if want_directory else ("file", "folder")
    if not path.exists():
        if uri.isdecimal():
            raise CameraError(
                f"camera.uri: expected a URI, got the number {uri}",
                f"write v4l2:/dev/video{uri} for a USB camera, picamera2:{uri} for a Raspberry Pi camera; "
                "`edge-oneshot camera list` lists them",
            )
        raise CameraError(
            f"camera.uri: no such {what} or camera: {redact_uri(uri)!r}", f"check the path, or {EXAMPLES}"
        )
    if path.is_dir() != want_directory:
        raise CameraError(f"camera.uri: expected a {what} at {path}, got a {other}", f"write {other}:{path}")
    return path
