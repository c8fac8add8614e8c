"""The cameras of this system: V4L2 devices as the kernel describes them, libcamera's cameras through picamera2."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

# linux/videodev2.h: _IOR('V', 0, struct v4l2_capability), 104 bytes; device_caps is its 22nd 32-bit word.
_QUERYCAP, _SIZE, _DEVICE_CAPS = 0x80685600, 104, 88
_CAPTURE = 0x00000001 | 0x00001000  # single- and multi-planar video capture


def find_cameras() -> list[dict[str, str]]:
    """[{uri, name, note}]; note is "" or why the camera may be unusable. Queries V4L2 devices, but reads no frames."""
    return _libcamera() + _v4l2()


def _libcamera() -> list[dict[str, str]]:
    try:
        from picamera2 import Picamera2

        known = Picamera2.global_camera_info()
    except Exception:  # not installed or broken: `doctor` reports which
        return []
    return [{"uri": f"picamera2:{i}", "name": str(c.get("Model", "?")), "note": ""} for i, c in enumerate(known)]


def _v4l2() -> list[dict[str, str]]:
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
            note = "no permission: join the group video"
        except OSError as e:
            note = e.strerror or "cannot be opened"
        else:
            try:
                if not captures(descriptor):
                    continue  # a metadata node, a codec or an output
            finally:
                os.close(descriptor)
        found.append({"uri": f"v4l2:{stable_name(device)}", "name": name, "note": note})
    return found


def stable_name(device: Path, names: Path = Path("/dev/v4l")) -> Path:
    """A link below /dev/v4l/by-id or by-path, which udev makes for USB cameras; the device itself if there is none.

    /dev/videoN changes when cameras are plugged in again; by-id stays with the camera. Two cameras of one model without
    serial numbers share a name in by-id, so a name is used only if it leads to this device.
    """
    for folder in ("by-id", "by-path"):
        with contextlib.suppress(OSError):
            for link in sorted((names / folder).iterdir()):
                if link.resolve() == device.resolve():
                    return link
    return device


def captures(descriptor: int) -> bool:
    """Whether an open V4L2 device delivers pictures. False for a file that is not a V4L2 device."""
    try:
        answer = fcntl.ioctl(descriptor, _QUERYCAP, bytes(_SIZE))
    except OSError:
        return False
    (capabilities,) = struct.unpack_from("=I", answer, _DEVICE_CAPS)
    return bool(capabilities & _CAPTURE)
