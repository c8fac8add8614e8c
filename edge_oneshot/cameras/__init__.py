"""Frames in. `open_camera` is for scripts; the daemon uses `LatestFrame` (latest.py), the one-slot mailbox.

schemes.py lists the camera URIs. A camera of another kind is a plug-in: a factory (`Factory`) that opens a `Camera`,
usually an `Adapter` that delivers a `Shot` at a time. tests/plugins/demo_camera is an example.
"""

from edge_oneshot.cameras.base import Adapter, Camera, EndOfStream, Shot
from edge_oneshot.cameras.schemes import Factory, Opener, camera_opener, connect
from edge_oneshot.cameras.stream import CameraStream, open_camera

__all__ = [
    "Adapter",
    "Camera",
    "CameraStream",
    "EndOfStream",
    "Factory",
    "Opener",
    "Shot",
    "camera_opener",
    "connect",
    "open_camera",
]
