"""Draw pictures for trying the trainer: machined parts with defects on a belt, or textures. Needs numpy and Pillow only.

    python -m training.pictures.draw parts DIR
    python -m training.pictures.draw textures DIR

parts: 100 parts, each as DIR/part-NNN/good, .../no-hole and .../broken, 8 pictures each. textures: 150 of them, 12 pictures each.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIDE_PX = 160
STATES = ("good", "no-hole", "broken")

Random = np.random.Generator
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A flat part. outline (K, 2), holes (x, y, radius), in units of half the picture's side. missing: the hole of `no-hole`.

    broken: the direction in which a piece is broken off in the state `broken`, rad.
    """

    outline: Points
    holes: tuple[tuple[float, float, float], ...]
    colour: tuple[float, float, float]
    missing: int
    broken: float


def draw_part(random: Random) -> Part:
    """A new part: a polygon, a star, a gear or a plate with one to five holes."""
    kind = random.choice(["polygon", "star", "gear", "plate"])
    corners = int(random.integers(4, 9)) if kind in ("polygon", "star") else int(random.integers(9, 18))
    size = random.uniform(0.62, 0.75)
    if kind == "plate":
        w, h = size, size * random.uniform(0.45, 0.9)
        outline = np.array([(-w, -h), (w, -h), (w, h), (-w, h)])
        cut = int(random.integers(4))
        outline[cut] *= random.uniform(0.3, 0.8)
    else:
        turns = np.linspace(0, 2 * math.pi, corners * 2, endpoint=False)
        inner = {"polygon": 1.0, "star": random.uniform(0.5, 0.8), "gear": random.uniform(0.75, 0.9)}[str(kind)]
        radius = np.where(np.arange(len(turns)) % 2 == 0, 1.0, inner) * size
        stretch = [1.0, random.uniform(0.6, 1.0)]
        outline = np.stack([radius * np.cos(turns), radius * np.sin(turns)], 1) * [stretch]
    holes: list[tuple[float, float, float]] = []
    for _ in range(int(random.integers(2, 6))):
        angle, far = random.uniform(0, 2 * math.pi), random.uniform(0.0, 0.5) * size
        x, y, r = far * math.cos(angle), far * math.sin(angle) * 0.7, random.uniform(0.06, 0.12)
        if all(math.hypot(x - a, y - b) > r + c + 0.03 for a, b, c in holes):
            holes.append((x, y, r))
    grey = random.uniform(0.45, 0.85)
    tint = random.uniform(-0.03, 0.03, 3)  # bare metal: only the shape identifies the part
    r, g, b = np.clip(grey + tint, 0.2, 0.95)
    return Part(
        outline=outline, holes=tuple(holes), colour=(float(r), float(g), float(b)),
        missing=int(random.integers(len(holes))), broken=random.uniform(0, 2 * math.pi),
    )  # fmt: skip


def picture_of(part: Part, state: str, random: Random) -> Image.Image:
    """One picture: the part in any direction on a belt, with its own light, shadow, blur and noise."""
    turn, scale = random.uniform(0, 2 * math.pi), random.uniform(0.85, 1.1)
    shift = random.uniform(-0.08, 0.08, 2)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) * scale

    def placed(points: Points) -> list[tuple[float, float]]:
        px = (points @ rotation.T + shift + 1) * SIDE_PX / 2
        return [(float(x), float(y)) for x, y in px]

    mask = Image.new("L", (SIDE_PX, SIDE_PX), 0)
    pen = ImageDraw.Draw(mask)
    pen.polygon(placed(part.outline), fill=255)
    circle = np.linspace(0, 2 * math.pi, 24)
    for i, (x, y, r) in enumerate(part.holes):
        if not (state == "no-hole" and i == part.missing):
            pen.polygon(placed(np.stack([x + r * np.cos(circle), y + r * np.sin(circle)], 1)), fill=0)
    if state == "broken":
        edge = np.array([math.cos(part.broken), math.sin(part.broken)])
        reach = float((part.outline @ edge).max())
        ragged = random.uniform(-0.03, 0.03, 6)
        along = np.linspace(-1, 1, 6)[:, None] * [[-edge[1], edge[0]]]
        line = along + edge * (reach * 0.62 + ragged)[:, None]
        pen.polygon(placed(np.concatenate([line, [line[-1] + 2 * edge, line[0] + 2 * edge]])), fill=0)
    return _lit(mask, part.colour, random)


def _lit(mask: Image.Image, colour: tuple[float, float, float], random: Random) -> Image.Image:
    """The part's surface over the belt's."""
    inside = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.7)), np.float64)[..., None] / 255
    moved = Image.new("L", mask.size, 0)
    moved.paste(mask, (int(random.integers(-4, 5)), int(random.integers(2, 6))))
    shadow = np.asarray(moved.filter(ImageFilter.GaussianBlur(3)), np.float64)[..., None] / 255
    belt = random.uniform(0.1, 0.35) + 0.03 * _noise(random, 40) + 0.02 * random.normal(size=(SIDE_PX, SIDE_PX, 1))
    ramp = np.linspace(-1, 1, SIDE_PX)
    light = 1 + random.uniform(-0.25, 0.25) * ramp[:, None, None] + random.uniform(-0.25, 0.25) * ramp[None, :, None]
    metal = np.array(colour) * (1 + 0.08 * _noise(random, 8))
    picture = (belt * (1 - 0.5 * shadow) * (1 - inside) + metal * inside) * light * random.uniform(0.75, 1.2)
    picture += random.normal(size=picture.shape) * random.uniform(0.0, 0.03)
    return Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))


def _noise(random: Random, cells: int) -> NDArray[np.float64]:
    """Smooth noise (SIDE_PX, SIDE_PX, 1), about -1 to 1."""
    coarse = Image.fromarray(random.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC), np.float64)[..., None]


def draw_texture(random: Random) -> Callable[[Random], Image.Image]:
    """A new texture: waves in a few directions, two colours. Each call of the result draws another piece in another light."""
    waves = int(random.integers(2, 5))
    angle, pitch = random.uniform(0, math.pi, waves), random.uniform(6, 30, waves)
    strength, sharp = random.uniform(0.4, 1, waves), random.uniform(1, 5)
    dark = random.uniform(0.1, 0.5)
    level = np.array([[dark], [dark + random.uniform(0.25, 0.4)]])
    colours = level + random.uniform(-0.08, 0.08, (2, 3))  # as of stone, wood and cloth
    rough = random.uniform(0.0, 0.25)

    def picture(own: Random) -> Image.Image:
        turn, scale = own.uniform(-0.25, 0.25), own.uniform(0.85, 1.15)
        y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
        bend = 4 * _noise(own, 4)[..., 0]
        total = np.zeros((SIDE_PX, SIDE_PX))
        for a, p, s in zip(angle + turn, pitch * scale, strength, strict=True):
            total += s * np.sin(2 * math.pi * (x * math.cos(a) + y * math.sin(a) + bend) / p + own.uniform(0, 6.3))
        share = (1 / (1 + np.exp(-sharp * total)))[..., None] + rough * _noise(own, 60)
        ramp = np.linspace(-1, 1, SIDE_PX)
        light = own.uniform(0.7, 1.25) * (1 + own.uniform(-0.25, 0.25) * ramp[:, None, None])
        pixels = (colours[0] * (1 - share) + colours[1] * share) * light + 0.02 * own.normal(size=(SIDE_PX, SIDE_PX, 1))
        return Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))

    return picture


def parts(count: int, each: int, seed: int = 0) -> Iterator[tuple[str, Image.Image]]:
    """(relative path, picture) of `count` parts in every state, `each` pictures of a state."""
    for n in range(count):
        part = draw_part(np.random.default_rng([seed, n]))
        for s, state in enumerate(STATES):
            for i in range(each):
                yield (
                    f"part-{n:03d}/{state}/{i:02d}.jpg",
                    picture_of(part, state, np.random.default_rng([seed, n, s, i])),
                )


def textures(count: int, each: int, seed: int = 0) -> Iterator[tuple[str, Image.Image]]:
    """(relative path, picture) of `count` textures, `each` pictures of one."""
    for n in range(count):
        picture = draw_texture(np.random.default_rng([seed, n]))
        for i in range(each):
            yield f"texture-{n:03d}/{i:02d}.jpg", picture(np.random.default_rng([seed, n, i]))


def write(pictures: Iterator[tuple[str, Image.Image]], out: Path) -> int:
    """Write the pictures below `out`; returns their number."""
    count = 0
    for path, picture in pictures:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        picture.save(out / path, quality=90)
        count += 1
    return count


def main(arguments: list[str] | None = None) -> int:
    root = argparse.ArgumentParser(prog="python -m training.pictures.draw", description=(__doc__ or "").splitlines()[0])
    root.add_argument("kind", choices=("parts", "textures"))
    root.add_argument("out", type=Path, metavar="DIR")
    options = root.parse_args(arguments)
    count = write(parts(100, 8) if options.kind == "parts" else textures(150, 12), options.out)
    print(f"{options.out}: {count} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
