"""Which cameras this system shows: V4L2 devices by the kernel's own word, libcamera's through picamera2."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Any

# linux/videodev2.h: _IOR('V', 0, struct v4l2_capability), 104 bytes; device_caps is its 22nd 32-bit word.
_QUERYCAP, _SIZE, _DEVICE_CAPS = 0x80685600, 104, 88
_CAPTURE = 0x00000001 | 0x00001000  # single- and multi-planar video capture


def find_cameras() -> list[dict[str, Any]]:
    """[{uri, name, note}]; note is "" or why it may not be usable. Opens V4L2 devices for a question, never for frames."""
    return _libcamera() + _v4l2()


def _libcamera() -> list[dict[str, Any]]:
    try:
        from picamera2 import Picamera2

        known = Picamera2.global_camera_info()
    except Exception:  # not installed, or broken: `doctor` says which
        return []
    return [{"uri": f"picamera2:{i}", "name": str(c.get("Model", "?")), "note": ""} for i, c in enumerate(known)]


def _v4l2() -> list[dict[str, Any]]:
    found = []
    nodes = Path("/sys/class/video4linux").glob("video*")
    for node in sorted(nodes, key=lambda n: int("".join(filter(str.isdigit, n.name)) or 0)):
        device = Path("/dev") / node.name
        try:
            name = (node / "name").read_text().strip()
        except OSError:
            continue
        note = ""
        try:
            descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            note = "closed to you: join the group video"
        except OSError as e:
            note = e.strerror or "cannot be opened"
        else:
            try:
                if not captures(descriptor):
                    continue  # the metadata node of a camera, a codec, an output
            finally:
                os.close(descriptor)
        found.append({"uri": f"v4l2:{device}", "name": name, "note": note})
    return found


def captures(descriptor: int) -> bool:
    """Whether an open V4L2 device delivers pictures. False for what is no V4L2 device."""
    try:
        answer = fcntl.ioctl(descriptor, _QUERYCAP, bytes(_SIZE))
    except OSError:
        return False
    (capabilities,) = struct.unpack_from("=I", answer, _DEVICE_CAPS)
    return bool(capabilities & _CAPTURE)
