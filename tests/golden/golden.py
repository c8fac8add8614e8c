"""Pictures, chips and raw encoder outputs that are compared with the golden file.

Two kinds of chip, since they fail for different reasons: `fixed` chips are cut from the portraits by fixed transforms, so
no detector is involved. `pictures` go through the device's path: finder, refiner, landmark network, alignment, encoder.

The pictures are rendered in integers, so every machine renders the same ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pictures import Pixels, collins_pixels, frame, hopper_pixels
from PIL import Image

from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.matching.threshold import threshold_for_fmr
from edge_oneshot.model.bundle import find_bundle, read_bundle
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.recognition.compose import build_locator
from edge_oneshot.vision.align import align, warp
from edge_oneshot.vision.detector import BlazeFaceDetector

HERE = Path(__file__).parent
FILE = HERE / "embeddings.json"

# What docs/explanation/encoder.md promises ("The same result on every processor"). benchmarks/results/processors.md has the measurements.
TOLERANCE_STEPS = 5  # of the encoder's int8 output, for one chip
BAND = 0.02  # of a comparison score; a decision must be the same where the score is further from the threshold

# The float detectors' results differ by up to 3e-5 px between processors. The pictures of the golden file are chosen such that
# ten times that, either way, rounds to the same grid points; one face in about a thousand is not so (docs/explanation/encoder.md).
NUDGE_PX = 3e-4

# Transforms frame px -> chip px, close to what alignment gives.
TRANSFORMS = {
    "collins": [[0.83, 0.03, -131.0], [-0.03, 0.83, -26.0]],
    "hopper": [[0.41, 0.0, -53.0], [0.0, 0.41, -27.5]],
}

# Views of a portrait in a 640x480 picture: its width in px, its left and top edge, light in percent, size of a blurred dot.
# From easy to bad, so that scores of one person lie on both sides of every threshold.
VIEWS = {
    "near": (512, 60, 0, 100, 1),
    "shifted": (511, 97, -13, 100, 1),
    "middle": (300, 150, 60, 100, 1),
    "far": (150, 400, 200, 100, 1),
    "farther": (100, 300, 200, 100, 1),
    "farthest": (76, 300, 200, 100, 1),
    "large": (900, -160, -60, 100, 1),
    "larger": (1400, -400, -150, 100, 1),
    "left": (500, -205, 20, 100, 1),
    "top": (480, 100, -90, 100, 1),
    "dim": (380, 101, 33, 50, 1),
    "dark": (400, 120, 10, 25, 1),
    "darkest": (390, 120, 10, 8, 1),
    "light": (420, 77, 18, 130, 1),
    "bright": (400, 133, 21, 180, 1),
    "brightest": (410, 133, 21, 320, 1),
    "soft": (430, 111, 7, 100, 3),
    "blurred": (360, 140, 30, 100, 4),
    "coarse": (360, 141, 31, 100, 8),
    "coarser": (360, 141, 31, 100, 11),
    "coarsest": (350, 144, 33, 100, 13),
}


class Entry(TypedDict):
    """picture, chip: digests; picture is "" for a fixed chip. outputs: raw int8 (2, D), of the chip and of its mirror image."""

    picture: str
    chip: str
    outputs: list[list[int]]


class Golden(TypedDict):
    """fixed: by portrait. pictures: by portrait and view."""

    encoder_id: str
    fixed: dict[str, Entry]
    pictures: dict[str, Entry]


def load() -> Golden:
    data: Golden = json.loads(FILE.read_text())
    return data


def digest(pixels: Pixels) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def portraits() -> dict[str, Pixels]:
    return {"collins": collins_pixels(), "hopper": hopper_pixels()}


def render(portrait: Pixels, view: str) -> Pixels:
    """uint8 (480, 640, 3): one of VIEWS, on grey. Pillow resizes 8-bit pictures in integers."""
    width, x, y, light, dot = VIEWS[view]
    size = width, portrait.shape[0] * width // portrait.shape[1]
    picture = Image.fromarray(portrait).resize(size, Image.Resampling.BILINEAR)
    if dot > 1:
        small = picture.resize((size[0] // dot, size[1] // dot), Image.Resampling.BILINEAR)
        picture = small.resize(size, Image.Resampling.BILINEAR)
    lit = np.minimum(np.asarray(picture).astype(np.int64) * light // 100, 255).astype(np.uint8)
    scene = np.full((480, 640, 3), 90, dtype=np.uint8)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + size[0], 640), min(y + size[1], 480)
    scene[top:bottom, left:right] = lit[top - y : bottom - y, left - x : right - x]
    return scene


def rendered(found: dict[str, Pixels], keys: list[str]) -> dict[str, Pixels]:
    """found: the portraits. keys: "portrait view"."""
    return {key: render(found[key.split()[0]], key.split()[1]) for key in keys}


class Device:
    """The device's path from a picture to raw encoder outputs."""

    def __init__(self, runtime: str = "auto") -> None:
        bundle = read_bundle(find_bundle("face-web", "encoder"))
        self.card, self.encoder_id = bundle.encoder, bundle.encoder_id
        self.encoder = Runtime(bundle.model, bundle.path, runtime)
        self.locator = build_locator(Config(model=ModelConfig(threads=1, runtime=runtime)))

    def fixed(self, found: dict[str, Pixels]) -> dict[str, Pixels]:
        """found: the portraits. One chip of each, uint8 (112, 112, 3)."""
        size = self.card.input.width_px, self.card.input.height_px
        return {name: warp(pixels, np.array(TRANSFORMS[name]), size) for name, pixels in found.items()}

    def chips(self, pixels: Pixels) -> list[Pixels]:
        """The aligned chips of a picture, largest face first."""
        picture = frame(pixels)
        return [align(picture, face, self.card).pixels for face in self.locator.locate(picture)]

    def encode(self, chip: Pixels) -> NDArray[np.int8]:
        """The raw outputs int8 (2, D): of the chip and of its mirror image, neither dequantized nor normalised."""
        both = (chip, np.ascontiguousarray(chip[:, ::-1]))
        return np.stack([self.encoder.invoke((c ^ 0x80).view(np.int8)[np.newaxis])[0][0] for c in both])

    def entry(self, chip: Pixels, picture: Pixels | None = None) -> Entry:
        return {
            "picture": "" if picture is None else digest(picture),
            "chip": digest(chip),
            "outputs": self.encode(chip).tolist(),
        }

    def run(self, found: dict[str, Pixels], keys: list[str]) -> Golden:
        """The same as the golden file, on this machine. A picture without exactly one face has no entry."""
        pictures = {}
        for key, picture in rendered(found, keys).items():
            if len(chips := self.chips(picture)) == 1:
                pictures[key] = self.entry(chips[0], picture)
        return {
            "encoder_id": self.encoder_id,
            "pictures": pictures,
            "fixed": {name: self.entry(chip) for name, chip in self.fixed(found).items()},
        }

    def scores(self, entries: dict[str, Entry]) -> dict[tuple[str, str], float]:
        """The comparison score of every two entries: the embedding is the mean of both unit vectors, normalised; float64."""
        output, vectors = self.encoder.outputs[0], {}
        for key, entry in entries.items():
            both = (np.array(entry["outputs"], dtype=np.float64) - output.zero_point) * output.scale
            mean = (both / np.linalg.norm(both, axis=1, keepdims=True)).sum(axis=0)
            vectors[key] = mean / np.linalg.norm(mean)
        return {(a, b): float(vectors[a] @ vectors[b]) for a, b in combinations(sorted(entries), 2)}

    def thresholds(self) -> list[float]:
        """Of the card: for FMR 1e-2, 1e-3 and 1e-4."""
        assert self.card.thresholds is not None
        return [threshold_for_fmr(self.card.thresholds, fmr).value for fmr in (1e-2, 1e-3, 1e-4)]


@contextmanager
def nudged(device: Device, shift: float) -> Iterator[None]:
    """While this lasts, both float detectors return every box and landmark `shift` px (of their input) higher."""
    detectors = [device.locator.finder, device.locator.refiner]
    plain = [d.runtime.invoke for d in detectors]

    def moved(detector: BlazeFaceDetector, invoke: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        return lambda value: tuple(
            a + np.float32(shift) if i == detector._boxes_at else a for i, a in enumerate(invoke(value))
        )

    try:
        for detector, invoke in zip(detectors, plain, strict=True):
            detector.runtime.invoke = moved(detector, invoke)  # type: ignore[method-assign]
        yield
    finally:
        for detector, invoke in zip(detectors, plain, strict=True):
            detector.runtime.invoke = invoke  # type: ignore[method-assign]


def steps(a: Entry, b: Entry) -> NDArray[np.int64]:
    """How far the raw outputs of two entries are apart, int64 (2, D), in steps of the int8 output."""
    return np.asarray(np.abs(np.array(a["outputs"]) - np.array(b["outputs"])))
