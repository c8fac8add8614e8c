"""libcamera's pixel formats -> RGB. Most names describe a little-endian word, so the bytes in memory are reversed."""

from __future__ import annotations

import numpy as np
from PIL import Image

from edge_oneshot.errors import CameraError
from edge_oneshot.types import UInt8Array

_RGB_ORDER = {"BGR888": (0, 1, 2), "RGB888": (2, 1, 0), "XBGR8888": (0, 1, 2), "XRGB8888": (2, 1, 0)}
_LIMITED_Y = [round(min(max((i - 16) * 255 / 219, 0), 255)) for i in range(256)]
_LIMITED_C = [round(min(max((i - 128) * 255 / 224 + 128, 0), 255)) for i in range(256)]


def to_rgb(
    array: UInt8Array, pixel_format: str, size: tuple[int, int], *, limited_range: bool = False, half: bool = False
) -> UInt8Array:
    """Convert one picture to uint8 (H, W, 3) RGB, C-contiguous. array: from picamera2's make_array. size: (width, height) px.

    YUV is converted by the BT.601 matrix. limited_range: luma 16-235 as in video, else 0-255 as in JPEG (ITU-T T.871).
    half: at half of an even width and height. YUV420 and NV12 have their chroma in that size, so an eighth of the work is left.
    Raises CameraError for an unknown format.
    """
    width, height = size
    if pixel_format in _RGB_ORDER:
        order = _RGB_ORDER[pixel_format]
        return _halved(np.ascontiguousarray(array[..., :3] if order == (0, 1, 2) else array[..., 2::-1]), half)
    if pixel_format == "MJPEG":  # already decoded by make_array
        return _halved(np.ascontiguousarray(array[..., :3]), half)
    if pixel_format in ("YUV420", "YVU420"):
        stride = array.shape[1]
        chroma = array[height:].reshape(2, height // 2, stride // 2)[:, :, : width // 2]
        y, u, v = array[:height, :width], chroma[0], chroma[1]
        if pixel_format == "YVU420":
            u, v = v, u
    elif pixel_format in ("NV12", "NV21"):
        y = array[:height, :width]
        u, v = array[height:, 0:width:2], array[height:, 1:width:2]
        if pixel_format == "NV21":
            u, v = v, u
    elif pixel_format in ("YUYV", "YVYU", "UYVY", "VYUY"):
        line = array.reshape(height, -1)[:, : 2 * width]
        at = {letter: pixel_format.index(letter) for letter in "UV"}
        y, u, v = line[:, pixel_format.index("Y") :: 2], line[:, at["U"] :: 4], line[:, at["V"] :: 4]
    else:
        raise CameraError(
            f"pixel format of the camera: expected RGB, YUV420, NV12, YUYV or MJPEG, got {pixel_format}",
            "set camera.width_px and camera.height_px to another size",
        )
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in (y, u, v)]
    if half:
        planes[0], width, height = planes[0].reduce(2), width // 2, height // 2
    if limited_range:
        planes = [plane.point(_LIMITED_C if i else _LIMITED_Y) for i, plane in enumerate(planes)]
    planes = [p if p.size == (width, height) else p.resize((width, height), Image.Resampling.BILINEAR) for p in planes]
    return np.asarray(Image.merge("YCbCr", planes).convert("RGB"))


def _halved(pixels: UInt8Array, half: bool) -> UInt8Array:
    return np.asarray(Image.fromarray(pixels).reduce(2)) if half else pixels
