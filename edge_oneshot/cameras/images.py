"""Picture files as frames. decoder.py decodes them in a process of its own, with limits on memory and time."""

from __future__ import annotations

import io
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from edge_oneshot.cameras.decoder import read_data, read_file
from edge_oneshot.types import Frame, UInt8Array

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})


def load_image(path: Path | str, *, seq: int = 0) -> Frame:
    """Read a picture as a Frame: upright by its EXIF orientation, RGB. captured_at is now; the file's dates are ignored.

    Transparency is laid on white, grey becomes RGB, 16 bits become 8, CMYK is converted; of several pictures the first
    is taken. A picture of at least twice 1600 px in width and height is halved, until it is smaller. Raises CameraError for
    a file that is missing, unreadable, broken, not a picture, or whose decoding exceeds the limits of decode_child.py.
    """
    path = Path(path)
    pixels = read_file(path)
    return Frame(
        pixels=pixels, seq=seq, captured_ns=time.monotonic_ns(), captured_at=datetime.now(UTC), source=str(path)
    )


def decode_image(data: bytes, source: str) -> Frame:
    """`load_image` for the bytes of a picture file; `source` names it in messages. Raises CameraError."""
    pixels = read_data(data, source)
    return Frame(pixels=pixels, seq=0, captured_ns=time.monotonic_ns(), captured_at=datetime.now(UTC), source=source)


def to_frame(picture: str | os.PathLike[str] | bytes | UInt8Array | Frame) -> Frame:
    """A path, the bytes of a picture file, uint8 (H, W, 3) RGB, or a Frame. Raises CameraError."""
    if isinstance(picture, Frame):
        return picture
    if isinstance(picture, bytes):
        return decode_image(picture, "the picture")
    if isinstance(picture, np.ndarray):
        # A copy, since a Frame makes its pixels read-only; in C order also if `picture` is a view.
        pixels, now_ns, now = picture.copy(), time.monotonic_ns(), datetime.now(UTC)
        return Frame(pixels=pixels, seq=0, captured_ns=now_ns, captured_at=now, source="an array")
    return load_image(Path(picture))


def to_jpeg(pixels: UInt8Array, quality: int = 90, width_px: int | None = None) -> bytes:
    """A JPEG file of uint8 (H, W, 3) RGB or (H, W, 1) grey. width_px: a wider picture is divided by a whole number, to at most this."""
    jpeg = io.BytesIO()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if width_px is not None and picture.width > width_px:
        picture = picture.reduce(-(-picture.width // width_px))
    picture.save(jpeg, "JPEG", quality=quality)
    return jpeg.getvalue()
