"""Known-answer test: a model that loads and runs may still give wrong results, on a faulty or emulated processor.

Two faces are drawn with integer arithmetic, so every machine draws the same pictures. The results of the shipped models on them are stored
in models/known_answers.json, which `python tests/golden/known.py` writes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_oneshot import installation
from edge_oneshot.errors import ModelError
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.types import Chip, Frame, UInt8Array
from edge_oneshot.vision.locate import FaceLocator

# The band of a comparison score between processors (docs/explanation/encoder.md, "The same result on every processor"). A cosine
# with the stored embedding of the same picture differs by less.
LEAST_COSINE = 0.98
MOST_PX = 2.0  # processors differ by 3e-5 px before landmarks are rounded to a grid of 1/16 px

# (skin, hair, width of the face in px, distance of the eyes from the middle in px)
_FACES = (((210, 160, 135), (60, 45, 35), 112, 48), ((140, 95, 70), (25, 20, 20), 124, 52))


def drawn_faces() -> list[UInt8Array]:
    """Two pictures uint8 (480, 640, 3) RGB, each with one face of no person."""
    return [_draw(*face) for face in _FACES]


def _draw(skin: tuple[int, ...], hair: tuple[int, ...], width: int, apart: int) -> UInt8Array:
    y, x = np.mgrid[0:480, 0:640].astype(np.int64)
    picture = np.repeat((90 + 40 * x // 640 + 20 * y // 480)[:, :, np.newaxis], 3, axis=2)
    shade = -((x - 320) // 6) - (y - 240) // 12

    def ellipse(cx: int, cy: int, rx: int, ry: int) -> NDArray[np.bool_]:
        return np.asarray(((y - cy) * rx) ** 2 + ((x - cx) * ry) ** 2 <= (ry * rx) ** 2)

    def paint(where: NDArray[np.bool_], colour: tuple[int, ...], shaded: bool = True) -> None:
        for channel, value in enumerate(colour):
            picture[..., channel] = np.where(where, value + shaded * shade, picture[..., channel])

    darker = tuple(value * 9 // 10 for value in skin)
    paint(ellipse(320, 215, width + 23, 175), hair)
    paint(ellipse(320, 420, 60, 40) | ellipse(320, 480, 200, 60), darker)
    paint(ellipse(320, 250, width, 150), skin)
    for side in (-1, 1):
        paint(ellipse(320 + side * apart, 205, 30, 7), hair)
        paint(ellipse(320 + side * apart, 232, 24, 11), (235, 235, 235), shaded=False)
        paint(ellipse(320 + side * apart, 232, 10, 10), (50, 35, 25), shaded=False)
        paint(ellipse(320 + side * 14, 292, 8, 5), tuple(value * 6 // 10 for value in skin))
    paint(ellipse(320, 270, 9, 30), tuple(min(value + 15, 255) for value in skin))
    paint(ellipse(320, 335, 42, 13), (165, 75, 75))
    paint(ellipse(320, 335, 40, 2), (90, 35, 35))
    return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)


def chips(shape: tuple[int, ...]) -> list[UInt8Array]:
    """The two faces as chips uint8 `shape`, (H, W, C), about as alignment cuts them, in integers."""
    rows, columns = 76 + np.arange(shape[0]) * 336 // shape[0], 152 + np.arange(shape[1]) * 336 // shape[1]
    return [np.ascontiguousarray(face[rows][:, columns, : shape[2]]) for face in drawn_faces()]


def answers(encoder: TwinEncoder) -> list[list[float]]:
    """What the encoder gives for each chip: unit vectors, rounded to 4 places."""
    vectors = [
        encoder.encode(Chip(pixels=c, transform=np.eye(2, 3))).vector.astype(float)
        for c in chips(encoder.card.input.shape)
    ]
    return [[round(float(value), 4) for value in v / max(float(np.linalg.norm(v)), 1e-9)] for v in vectors]


def landmarks(locator: FaceLocator) -> list[list[list[float]]]:
    """The landmarks in px of every face found in each picture, (faces, landmarks, 2), rounded to 2 places."""
    return [[np.round(f.landmarks.astype(float), 2).tolist() for f in locator.locate(_frame(p))] for p in drawn_faces()]


def name_of(locator: FaceLocator) -> str:
    return ", ".join(f"{c.name} {c.version}" for c in (locator.finder.card, locator.refiner.card, locator.placer.card))


def check_encoder(encoder: TwinEncoder) -> str:
    """Run the test. Returns its result in words, "" for an encoder without a known answer. Raises ModelError if it fails."""
    expected = _known()["encoders"].get(encoder.encoder_id)
    if expected is None:
        return ""
    cosines = [float(np.dot(a, b)) for a, b in zip(answers(encoder), expected, strict=True)]
    if not min(cosines) >= LEAST_COSINE:
        raise ModelError(
            f"{encoder.card.name}: known-answer test: expected a cosine of at least {LEAST_COSINE} with the stored "
            f"embeddings, got {min(cosines):.3f}",
            _FIX.format(installation.how_to_repair()),
        )
    return f"known-answer test passed (cosine {min(cosines):.4f})"


def check_locator(locator: FaceLocator) -> str:
    """The same for detectors and landmark network."""
    expected = _known()["landmarks"].get(name_of(locator))
    if expected is None:
        return ""
    found = landmarks(locator)
    if [len(faces) for faces in found] != [len(faces) for faces in expected]:
        got = f"{[len(faces) for faces in found]} faces in the pictures, expected {[len(faces) for faces in expected]}"
    elif (apart := float(np.abs(np.array(found) - np.array(expected)).max())) > MOST_PX:
        got = f"landmarks {apart:.1f} px from the stored ones, expected at most {MOST_PX:g} px"
    else:
        return "known-answer test passed"
    raise ModelError(f"{name_of(locator)}: known-answer test: got {got}", _FIX.format(installation.how_to_repair()))


_FIX = "the processor or the runtime gives wrong results: do not rely on matches of this device; then: {}"


@cache
def _known() -> dict[str, Any]:
    text = (resources.files("edge_oneshot") / "models" / "known_answers.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _frame(pixels: UInt8Array) -> Frame:
    return Frame(pixels=pixels, seq=0, captured_ns=0, captured_at=datetime.now(UTC), source="drawn")
