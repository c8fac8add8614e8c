"""Landmark errors by distance: pictures of set 4, scaled into a camera frame, located with the device's own code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from converters.graph import Array
from edge_oneshot.config import Config
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.recognition.compose import build_locator
from edge_oneshot.types import Face, Frame
from training.landmarks.network import NAMES

FRAME = (640, 480)
LOOKS = ("detector", "second look", "landmark network")


def shrunk(pixels: Array, factor: float) -> tuple[Frame, Array]:
    """The picture at `factor` of its size in the middle of a grey 640x480 frame, and its origin there (x, y) px."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", FRAME, (128, 128, 128))
    origin = (FRAME[0] - size[0]) // 2, (FRAME[1] - size[1]) // 2
    canvas.paste(picture, origin)
    frame = Frame(
        pixels=np.asarray(canvas).copy(), seq=0, captured_ns=0, captured_at=datetime.now(UTC), source="shrunk"
    )
    return frame, np.array(origin, np.float64)


def errors(lfw: Path, names: Sequence[str], labels: Array, inter_eye_px: float) -> tuple[Array, int]:
    """Errors of the three stages in inter-eye distances, (N, 3, 4, 2), at a size in the frame; and how many were not found.

    labels: (N, 4, 2) px of eyes, nose and mouth in the pictures.
    """
    from edge_oneshot.cameras.images import load_image

    locator, found, missed = build_locator(Config()), [], 0
    for name, marks in zip(names, labels, strict=True):
        apart = float(np.linalg.norm(marks[1] - marks[0]))
        frame, origin = shrunk(load_image(lfw / "images" / f"{name}.jpg").pixels, inter_eye_px / apart)
        place = marks * inter_eye_px / apart + origin

        def off(face: Face, place: Array = place) -> Array:
            return (np.array([face.landmark(n) for n in NAMES]) - place) / inter_eye_px

        looks = [(first, locator.confirm(frame, first)) for first in locator.find(frame)]
        here = [
            (off(a), off(b), off(locator.placer.place(frame, b)))
            for a, b in looks
            if b is not None and np.abs(off(b)).max() < 1
        ]
        if here:
            found.append(np.stack(here[0]))
        else:
            missed += 1
    if not found:
        raise EdgeOneshotError(
            f"{inter_eye_px:g} px between the eyes: expected detected faces, got none in {missed} pictures",
            "measure a larger size",
        )
    return np.stack(found), missed


def table(lfw: Path, names: Sequence[str], labels: Array, sizes: Sequence[float] = (20, 26, 34, 43)) -> str:
    """Root mean square of each stage's errors over all coordinates, without the stage's mean offset."""
    lines = [
        f"{len(names)} pictures; root mean square error in inter-eye distances, without each stage's mean offset",
        f"{'px between the eyes':22}" + "".join(f"{look:>18}" for look in LOOKS) + f"{'not found':>12}",
    ]
    for size in sizes:
        error, missed = errors(lfw, names, labels, size)
        rms = np.sqrt(((error - error.mean(0)) ** 2).mean(axis=(0, 2, 3)))
        lines.append(f"{size:<22g}" + "".join(f"{v:18.3f}" for v in rms) + f"{missed:12d}")
    return "\n".join(lines)
