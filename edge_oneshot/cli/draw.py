"""Draws the faces found in a frame, for a person who aims a camera without a screen."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from edge_oneshot.control.parts import FoundFace
from edge_oneshot.errors import CameraError

GOOD, POOR, EDGE = (60, 220, 60), (255, 120, 0), (0, 0, 0)
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def verdict(face: FoundFace) -> list[str]:
    """What the gates of recognition refuse, else what those of enrollment do; empty: neither."""
    return face.faults or [f"to enroll: {fault}" if i == 0 else fault for i, fault in enumerate(face.to_enroll)]


def draw(jpeg: bytes, faces: Sequence[FoundFace]) -> Image.Image:
    """The picture with a box, the landmarks, the px between the eyes and the faults of each face.

    Green: the face can be enrolled; orange: it cannot, or is not even compared.
    """
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    unit = max(1, round(picture.width / 640))  # the same look at every size
    font = _font(14 * unit)
    for number, face in enumerate(faces, 1):
        colour = POOR if verdict(face) else GOOD
        x0, y0, x1, y1 = face.box
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=2 * unit)
        for x, y in face.landmarks:
            pen.ellipse((x - 2 * unit, y - 2 * unit, x + 2 * unit, y + 2 * unit), fill=colour, outline=EDGE)
        lines = [f"{number}: {face.quality['inter_eye_px']:.0f} px between the eyes", *verdict(face)]
        text = "\n".join(lines)
        height = pen.multiline_textbbox((0, 0), text, font=font)[3]
        top = y1 + 3 * unit if y1 + 3 * unit + height <= picture.height else max(0, y0 - height - 3 * unit)
        width = pen.multiline_textbbox((0, 0), text, font=font)[2]
        left = max(0, min(x0, picture.width - width))
        for dx, dy in (
            (-unit, 0),
            (unit, 0),
            (0, -unit),
            (0, unit),
        ):  # an outline, so that it is legible on any background
            pen.multiline_text((left + dx, top + dy), text, fill=EDGE, font=font)
        pen.multiline_text((left, top), text, fill=colour, font=font)
    return picture


def _font(size_px: int) -> Any:
    with contextlib.suppress(TypeError, ImportError, OSError):
        return ImageFont.load_default(size_px)
    return ImageFont.load_default()  # Pillow before 10.1, or without FreeType: one small size


def save(picture: Image.Image, path: Path) -> None:
    """As `write`, for a picture that is not encoded yet; the name says how."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise CameraError(f"cannot write {path}: expected a name that ends in {', '.join(FORMATS)}", "name a .jpg")
    encoded = io.BytesIO()
    picture.save(encoded, kind, quality=92)
    write(encoded.getvalue(), path)


def write(picture: bytes, path: Path) -> None:
    """Write the bytes of a picture with mode 0600, completely or not at all. Raises CameraError."""
    part = path.with_name(f".{path.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(picture)
        part.replace(path)
    except OSError as e:
        with contextlib.suppress(OSError):
            part.unlink()
        raise CameraError(
            f"cannot write {path}: {e.strerror or e}", "name a file in a folder that you may write"
        ) from None
