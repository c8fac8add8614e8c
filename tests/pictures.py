"""Pictures of real faces for the tests. None is committed: the portraits come with installed packages, LFW from a folder."""

from __future__ import annotations

import io
import json
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from edge_oneshot.types import Frame

Pixels = NDArray[np.uint8]
CACHE = Path(__file__).resolve().parents[1] / ".cache"


def collins_pixels() -> Pixels:
    """scikit-image's astronaut.png (NASA, public domain)."""
    import skimage

    return np.asarray(Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB"))


def hopper_pixels() -> Pixels:
    """matplotlib's grace_hopper.jpg (US Navy, public domain)."""
    import matplotlib

    return np.asarray(Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB"))


def frame(pixels: Pixels, captured_ns: int = 1, lores: Pixels | None = None) -> Frame:
    return Frame(
        pixels=np.array(pixels, dtype=np.uint8, order="C"),
        seq=0,
        captured_ns=captured_ns,
        captured_at=datetime.now(UTC),
        source="test",
        lores=lores,
    )


def empty_scene(size: tuple[int, int] = (640, 480), seed: int = 0) -> Pixels:
    """A wall with a soft gradient and sensor noise; (height, width, 3) for size (width, height)."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    wall = 90 + 40 * x / width + 20 * y / height
    noise = np.random.default_rng(seed).normal(0, 2, (height, width, 3))
    return np.clip(wall[..., None] + noise, 0, 255).astype(np.uint8)


def view(portrait: Pixels, number: int, size: tuple[int, int] = (640, 480)) -> Pixels:
    """View `number` of a portrait before the wall: its place wanders, its scale, light, sharpness and grain change.

    The steps from one number to the next are those of a person who stands and sways.
    """
    generator = np.random.default_rng(number)
    height = round(size[1] * (0.80 + 0.08 * np.sin(number / 3)))
    width = round(portrait.shape[1] * height / portrait.shape[0])
    picture = Image.fromarray(portrait).resize((width, height), Image.Resampling.LANCZOS)
    if number % 3 == 1:
        picture = picture.filter(ImageFilter.GaussianBlur(0.8))
    scene = empty_scene(size, number)
    x = round((size[0] - width) / 2 + 25 * np.sin(number / 4))
    y = round((size[1] - height) / 2 + 10 * np.cos(number / 5))
    x, y = max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))
    lit = np.asarray(picture, dtype=np.float32) * generator.uniform(0.8, 1.1) + generator.normal(
        0, 3, (height, width, 3)
    )
    scene[y : y + height, x : x + width] = np.clip(lit, 0, 255).astype(np.uint8)
    if number % 2:
        buffer = io.BytesIO()
        Image.fromarray(scene).save(buffer, "JPEG", quality=75)
        scene = np.asarray(Image.open(buffer).convert("RGB"))
    return scene


class Lfw:
    """lfw_dev.tar; pictures are unpacked when asked for, into .cache/lfw. sets: number -> (name, pictures) of its people."""

    def __init__(self, archive: Path) -> None:
        self._archive = tarfile.open(archive)  # noqa: SIM115 - kept open for the session
        self._members = {m.name: m for m in self._archive.getmembers()}
        raw = json.loads(self._path("lfw/people_sets.json").read_text())
        self.sets: dict[int, list[tuple[str, int]]] = {
            int(k): [(name, count) for name, count in v] for k, v in raw.items()
        }

    def picture(self, person: str, number: int) -> Path:
        return self._path(f"lfw/images/{person}/{person}_{number:04d}.jpg")

    def _path(self, name: str) -> Path:
        path = CACHE / name
        if not path.exists():
            self._archive.extract(self._members[name], CACHE, filter="data")
        return path

    def close(self) -> None:
        self._archive.close()


def extra_or_reason(name: str) -> Path | str:
    """The file `name` in the folder that EDGE_ONESHOT_DATA names, or why there is none."""
    data = os.environ.get("EDGE_ONESHOT_DATA")
    if not data:
        return f"EDGE_ONESHOT_DATA is not set; it names the folder with {name}"
    file = Path(data) / name
    return file if file.is_file() else f"no {name} in EDGE_ONESHOT_DATA ({data})"


def lfw_or_reason() -> Lfw | str:
    """LFW, or why there is none."""
    archive = extra_or_reason("lfw_dev.tar")
    return archive if isinstance(archive, str) else Lfw(archive)
