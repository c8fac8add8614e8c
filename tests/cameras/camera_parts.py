"""Helpers of the camera tests: configurations and numbered pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from edge_oneshot.config import CameraConfig


def config(uri: object, **keys: object) -> CameraConfig:
    """A camera configuration for tests: 100 pictures a second unless keys say otherwise."""
    return CameraConfig(**({"uri": str(uri), "fps": 100.0, "stall_timeout_s": 2.0} | keys))  # type: ignore[arg-type]


def numbered(i: int, width: int = 32, height: int = 24) -> np.ndarray:
    """A picture that encodes its number in every pixel: (i, 255 - i, 7)."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = (i, 255 - i, 7)
    return pixels


def fill(folder: Path, count: int, suffix: str = ".png") -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(count):
        Image.fromarray(numbered(i)).save(folder / f"{i:04d}{suffix}")
    return folder
