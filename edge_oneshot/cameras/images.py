"""Picture files: EXIF orientation, all common colour modes, and a limit on the size of the decoded picture."""

from __future__ import annotations

import io
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_oneshot.errors import CameraError
from edge_oneshot.types import Frame, UInt8Array

MAX_IMAGE_PX = (
    24_000_000  # 72 MB as RGB, and several copies while it is rotated; more could exhaust the memory of a small device
)
MAX_JPEG_PX = 200_000_000  # a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, so it needs far less memory
ENOUGH_PX = 1600  # of width and height; a JPEG of at least twice this is decoded smaller, and its faces stay large
# The formats that are decoded. Pillow knows more, and some of them start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})


def load_image(path: Path | str, *, seq: int = 0) -> Frame:
    """Read a picture as a Frame: upright by its EXIF orientation, RGB. captured_at is now; the file's dates are ignored.

    Transparency is laid on white, grey becomes RGB, 16 bits become 8, CMYK is converted; of several pictures the first
    is taken. Raises CameraError for a file that is missing, unreadable, broken, not a picture, or over MAX_IMAGE_PX.
    """
    path = Path(path)
    pixels = read_rgb(path)
    return Frame(
        pixels=pixels, seq=seq, captured_ns=time.monotonic_ns(), captured_at=datetime.now(UTC), source=str(path)
    )


def decode_image(data: bytes, source: str) -> Frame:
    """`load_image` for the bytes of a picture file; `source` names it in messages. Raises CameraError."""
    pixels = read_rgb(Path(source), io.BytesIO(data))
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


def read_rgb(path: Path, data: io.BytesIO | None = None) -> UInt8Array:
    """The upright pixels of `path`, or of `data` read from it: uint8 (H, W, 3) RGB. Raises CameraError."""
    try:
        with Image.open(path if data is None else data, formats=FORMATS) as image:
            size = image.size
            image.draft(None, (ENOUGH_PX, ENOUGH_PX))  # affects only JPEG
            limit = MAX_IMAGE_PX if image.size == size else MAX_JPEG_PX
            if size[0] * size[1] > limit:
                raise CameraError(
                    f"image {path}: expected at most {limit / 1e6:g} megapixels, got {size[0]}x{size[1]}",
                    "scale the image down first",
                )
            image.load()
            return _to_rgb(_upright(image))
    except CameraError:
        raise
    except FileNotFoundError:
        raise CameraError(f"no image at {path}", "check the path") from None
    except (IsADirectoryError, PermissionError) as e:
        raise CameraError(f"cannot read image {path}: {e.strerror}", "name a picture file that you may read") from None
    except UnidentifiedImageError:
        hint = (
            "convert it to JPEG"
            if path.suffix.lower() in (".heic", ".heif", ".avif")
            else "name a JPEG, PNG or WebP file"
        )
        raise CameraError(f"{path}: not an image of a supported format", hint) from None
    except Exception as e:  # decoders raise many types of exception for broken data
        raise CameraError(f"image {path} is broken: {e or type(e).__name__}", "take or export it again") from e


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # malformed EXIF: the orientation is unknown, the pixels are intact
        return image


def _to_rgb(image: Image.Image) -> UInt8Array:
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16-bit grey; convert("RGB") would clip it at 255
        wide = np.asarray(image).astype(np.int64)
        grey = (np.clip(wide, 0, 65535) * 255 + 32767) // 65535
        return np.ascontiguousarray(np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2))
    if image.mode == "F":
        raise CameraError("expected integer pixels, got a floating-point image", "export it as JPEG or 8-bit PNG")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    return np.array(image.convert("RGB"), dtype=np.uint8, order="C")


def to_jpeg(pixels: UInt8Array) -> bytes:
    """A JPEG file, quality 90, of uint8 (H, W, 3) RGB or (H, W, 1) grey."""
    jpeg = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(jpeg, "JPEG", quality=90)
    return jpeg.getvalue()
