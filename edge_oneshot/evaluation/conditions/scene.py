"""A portrait in a frame: the subject of a picture before a wall, with a given distance between the eyes. Pure, seeded.

The wall is structured (a door, a shelf, pictures, texture), since a flat one would hide the false positives of a detector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from edge_oneshot.types import Face, Float64Array, UInt8Array

SIZE = (640, 480)  # (width, height) of a frame, px
CLEAN_PX = 43.0  # between the eyes, where a condition does not say otherwise: the median of LFW
FACE_WIDTH = 3.2  # side of the square around a face, in inter-eye distances: about that of the encoder's chip
FACE_BELOW = 0.55  # its centre below the midpoint of the eyes
MARGIN = 0.04  # width of the soft edge of a pasted picture, as a share of its shorter side
SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portrait:
    """A picture and its subject. pixels: uint8 (H, W, 3) RGB. landmarks: name -> (x, y), px of the picture.

    Expects image_left_eye, image_right_eye, nose and mouth. seed: of everything that is random for this picture.
    """

    pixels: UInt8Array
    landmarks: dict[str, tuple[float, float]]
    seed: int

    @classmethod
    def of(cls, pixels: UInt8Array, face: Face, seed: int) -> Portrait:
        """The subject `face` of a picture. A picture much larger than a frame needs is reduced by a whole factor."""
        points = {name: face.landmark(name) for name in face.landmark_names}
        factor = int(face.inter_eye_px // (2 * CLEAN_PX))
        if factor > 1:
            pixels = np.asarray(Image.fromarray(pixels).reduce(factor))
            points = {name: (x / factor, y / factor) for name, (x, y) in points.items()}
        return cls(pixels=pixels, landmarks=points, seed=seed)

    @property
    def eyes(self) -> tuple[Float64Array, Float64Array]:
        return np.array(self.landmarks["image_left_eye"]), np.array(self.landmarks["image_right_eye"])

    @property
    def inter_eye_px(self) -> float:
        left, right = self.eyes
        return float(np.linalg.norm(right - left))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """A frame before light and lens. pixels: uint8 (H, W, 3) RGB.

    eyes: midpoint of the subject's eyes, (x, y) px. inter_eye_px: of the subject.
    """

    pixels: UInt8Array
    eyes: tuple[float, float]
    inter_eye_px: float


@lru_cache(maxsize=4)
def wall(seed: int, size: tuple[int, int] = SIZE) -> UInt8Array:
    """An empty hallway, uint8 (H, W, 3): a lit wall, floor, door, shelf and pictures, with fine texture. Read-only."""
    random, (width, height) = np.random.default_rng([seed, 1]), size
    x, y = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
    tint = 1 + random.uniform(-0.08, 0.08, 3)
    light = random.uniform(110, 170) + random.uniform(-45, 45) * x + random.uniform(-25, 25) * y
    image = Image.fromarray(np.clip(light[..., None] * tint, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)

    def colour(low: int, high: int) -> tuple[int, ...]:
        return tuple(np.clip(random.uniform(low, high) + random.uniform(-12, 12, 3), 0, 255).astype(int).tolist())

    floor = height * random.uniform(0.82, 0.93)
    pen.rectangle((0, floor, width, height), fill=colour(50, 110))
    left = width * random.uniform(0.0, 0.75)
    door = (left, height * random.uniform(0.05, 0.2), left + width * random.uniform(0.18, 0.26), floor)
    pen.rectangle(door, fill=colour(60, 190), outline=colour(30, 90), width=3)
    pen.ellipse((door[2] - 18, height * 0.52, door[2] - 8, height * 0.52 + 10), fill=colour(40, 80))
    for _ in range(3):
        a, b = width * random.uniform(0, 0.9), height * random.uniform(0.05, 0.6)
        box = (a, b, a + width * random.uniform(0.05, 0.16), b + height * random.uniform(0.06, 0.22))
        pen.rectangle(box, fill=colour(50, 200), outline=colour(20, 80), width=2)
    shelf = height * random.uniform(0.2, 0.7)
    for i in range(9):
        a = width * (random.uniform(0.0, 0.08) + 0.1 * i)
        pen.rectangle((a, shelf - height * random.uniform(0.04, 0.1), a + width * 0.025, shelf), fill=colour(40, 180))
    image = image.filter(ImageFilter.GaussianBlur(1.0))
    coarse = Image.fromarray(random.normal(0, 9, (height // 8, width // 8)).astype(np.float32))
    grain = np.asarray(coarse.resize(size, Image.Resampling.BILINEAR)) + random.normal(0, 3, (height, width))
    pixels = np.clip(np.asarray(image) + grain[..., None], 0, 255).astype(np.uint8)
    pixels.setflags(write=False)
    return pixels


def place(
    portrait: Portrait,
    inter_eye_px: float = CLEAN_PX,
    *,
    roll_deg: float = 0.0,
    cut: float = 0.0,
    size: tuple[int, int] = SIZE,
) -> Scene:
    """The portrait before the wall, its whole face inside the frame, at a place that depends on its seed alone.

    Smaller pictures are averaged over the area of each pixel, as a sensor does; larger ones are interpolated. roll_deg:
    rotation in the plane, clockwise. cut: share of the square around the face (FACE_WIDTH) that one edge of the frame,
    chosen by the seed, cuts off.
    """
    scale = inter_eye_px / portrait.inter_eye_px
    height, width = portrait.pixels.shape[:2]
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    kind = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    picture, mask = Image.fromarray(portrait.pixels).resize(small, kind), _soft_edge(small)
    middle = sum(portrait.eyes) / 2 * np.array([small[0] / width, small[1] / height])
    if roll_deg:
        picture, mask = (p.rotate(-roll_deg, Image.Resampling.BICUBIC, expand=True) for p in (picture, mask))
        angle = np.radians(roll_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = turn @ (middle - np.array(small) / 2) + np.array(picture.size) / 2
    eyes = _position(portrait.seed, inter_eye_px, cut, size)
    corner = np.rint(eyes - middle).astype(int)
    frame = Image.fromarray(wall(portrait.seed, size))
    frame.paste(picture, tuple(corner.tolist()), mask)
    x, y = (corner + middle).tolist()
    return Scene(pixels=np.asarray(frame), eyes=(x, y), inter_eye_px=inter_eye_px)


def _soft_edge(size: tuple[int, int]) -> Image.Image:
    """255 inside, falling to 0 at the border: the picture has no edge that a camera would not see."""
    soft = max(1.0, MARGIN * min(size))
    x, y = (np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / soft for n in size)
    return Image.fromarray((255 * np.clip(np.minimum(x, y[:, None]), 0, 1)).astype(np.uint8))


def _position(seed: int, inter_eye_px: float, cut: float, size: tuple[int, int]) -> Float64Array:
    """Where the midpoint of the eyes lies, (x, y) px."""
    random, half = np.random.default_rng([seed, 2]), FACE_WIDTH / 2 * inter_eye_px
    below, low, high = FACE_BELOW * inter_eye_px, np.full(2, half), np.array(size) - half
    centre = low + random.random(2) * (high - low)
    side = SIDES[int(random.integers(4))]
    if cut:
        axis = int(side in ("top", "bottom"))
        inside = half - 2 * half * cut  # of the centre, from the edge
        centre[axis] = inside if side in ("left", "top") else size[axis] - inside
    found: Float64Array = centre - np.array([0.0, below])
    return found
