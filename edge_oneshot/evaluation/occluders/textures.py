"""Colours and patterns of cloth, in the coordinates of a face. The second list is held out for reports."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from edge_oneshot.evaluation.occluders.canvas import Canvas
from edge_oneshot.types import Float64Array

Pattern = Callable[[Canvas], Float64Array]  # share of the second colour at each pixel, (H, W) in [0, 1]


def colour(random: np.random.Generator) -> Float64Array:
    """A colour of clothes: often black, white or grey, else any hue. (3,) in [0, 255]."""
    choice = random.random()
    if choice < 0.2:
        return np.full(3, random.uniform(15, 55)) + random.normal(size=3) * 4
    if choice < 0.35:
        return np.full(3, random.uniform(195, 245)) + random.normal(size=3) * 5
    if choice < 0.45:
        return np.full(3, random.uniform(80, 170)) + random.normal(size=3) * 5
    return 255 * np.array(colorsys.hsv_to_rgb(random.random(), random.uniform(0.2, 0.9), random.uniform(0.2, 0.9)))


def noise(canvas: Canvas, scale: float, octaves: int = 12) -> Float64Array:
    """Smooth noise of about unit variance, from random waves. scale: length of a wave in inter-eye distances."""
    random, total = canvas.random, np.zeros(canvas.x.shape)
    for _ in range(octaves):
        angle, wave = random.uniform(0, 2 * np.pi), 2 * np.pi / (scale * np.exp(random.normal() * 0.35))
        total += np.cos(wave * (np.cos(angle) * canvas.x + np.sin(angle) * canvas.y) + random.uniform(0, 2 * np.pi))
    return np.asarray(total * np.sqrt(2 / octaves))


def _turned(canvas: Canvas) -> tuple[Float64Array, Float64Array]:
    """Coordinates turned by a random angle and bent as cloth is."""
    angle = canvas.random.uniform(0, np.pi)
    bend = noise(canvas, 1.2, 5) * 0.05
    return (
        np.cos(angle) * canvas.x + np.sin(angle) * canvas.y + bend,
        np.cos(angle) * canvas.y - np.sin(angle) * canvas.x + bend,
    )


def _plain(canvas: Canvas) -> Float64Array:
    return np.clip(noise(canvas, 0.9) * 0.08, 0, 1)


def _stripes(canvas: Canvas) -> Float64Array:
    period, (u, _) = canvas.random.uniform(0.12, 0.5), _turned(canvas)
    return (np.mod(u / period, 1) < canvas.random.uniform(0.2, 0.6)).astype(np.float64)


def _checks(canvas: Canvas) -> Float64Array:
    period, (u, v) = canvas.random.uniform(0.15, 0.5), _turned(canvas)
    return 0.5 * (np.mod(u / period, 1) < 0.5) + 0.5 * (np.mod(v / period, 1) < 0.5)


def _dots(canvas: Canvas) -> Float64Array:
    period, (u, v) = canvas.random.uniform(0.15, 0.4), _turned(canvas)
    return (np.hypot(np.mod(u / period, 1) - 0.5, np.mod(v / period, 1) - 0.5) < 0.3).astype(np.float64)


def _knit(canvas: Canvas) -> Float64Array:
    wave = 2 * np.pi / canvas.random.uniform(0.06, 0.14)
    return 0.25 + 0.25 * np.sin(wave * canvas.x) * np.sin(wave * canvas.y * 0.7)


def _blotches(canvas: Canvas) -> Float64Array:
    return np.clip(0.5 + noise(canvas, canvas.random.uniform(0.2, 0.7)), 0, 1)


def _zigzag(canvas: Canvas) -> Float64Array:
    period, (u, v) = canvas.random.uniform(0.12, 0.3), _turned(canvas)
    return (np.mod((u + 2 * np.abs(np.mod(v / period, 1) - 0.5) * period) / period, 1) < 0.5).astype(np.float64)


def _camouflage(canvas: Canvas) -> Float64Array:
    field = noise(canvas, canvas.random.uniform(0.25, 0.5))
    return np.digitize(field, (-0.7, 0.2, 0.9)) / 3


def _flowers(canvas: Canvas) -> Float64Array:
    period, (u, v) = canvas.random.uniform(0.25, 0.5), _turned(canvas)
    a, b = np.mod(u / period, 1) - 0.5, np.mod(v / period, 1) - 0.5
    return np.asarray(np.hypot(a, b) < 0.2 + 0.14 * np.cos(5 * np.arctan2(b, a)), np.float64)


def _grin(canvas: Canvas) -> Float64Array:
    """A printed mouth with teeth, where the mouth is."""
    u, v = (canvas.x - canvas.mouth[0]) / 0.55, (canvas.y - canvas.mouth[1] - 0.15 * canvas.x**2) / 0.22
    teeth = (np.mod(u * 4, 1) > 0.12) & (np.abs(v) > 0.08)
    return np.asarray((u**2 + v**2 < 1) * np.where(teeth, 1.0, 0.5))


def _lips(canvas: Canvas) -> Float64Array:
    """Printed lips, an open mouth or a moustache, near where the mouth is."""
    random, (x, y) = canvas.random, canvas.mouth
    u = (canvas.x - x - random.normal() * 0.08) / random.uniform(0.25, 0.6)
    v = (canvas.y - y - random.normal() * 0.12 + random.normal() * 0.15 * u**2) / random.uniform(0.07, 0.25)
    far = np.hypot(u, v)
    inner = random.uniform(0.2, 0.8)
    return np.where(far < 1, np.where(far < inner, random.random(), 1.0), 0.0)


def _tartan(canvas: Canvas) -> Float64Array:
    period, (u, v) = canvas.random.uniform(0.25, 0.6), _turned(canvas)
    bands = [np.digitize(np.mod(w / period, 1), (0.45, 0.52, 0.6, 0.8)) % 2 for w in (u, v)]
    return np.asarray(0.5 * bands[0] + 0.5 * bands[1], np.float64)


def _rings(canvas: Canvas) -> Float64Array:
    """Spots of a leopard: open rings of uneven size."""
    period, (u, v) = canvas.random.uniform(0.15, 0.3), _turned(canvas)
    far = np.hypot(np.mod(u / period, 1) - 0.5, np.mod(v / period + 0.5 * np.floor(u / period), 1) - 0.5)
    return np.asarray(np.abs(far + 0.06 * noise(canvas, 0.15) - 0.3) < 0.1, np.float64)


def _marble(canvas: Canvas) -> Float64Array:
    return np.asarray(np.exp(-np.abs(noise(canvas, canvas.random.uniform(0.4, 0.8))) * 5))


def _snout(canvas: Canvas) -> Float64Array:
    """A printed nose with whiskers and a smiling line, where the nose and the mouth are."""
    (nx, ny), (mx, my) = canvas.nose, canvas.mouth
    nose = np.abs(canvas.x - nx) + np.abs(canvas.y - ny - 0.12) < 0.14
    line = (np.abs(canvas.y - my - 0.08 + 0.5 * (canvas.x - mx) ** 2) < 0.025) & (np.abs(canvas.x - mx) < 0.4)
    far = np.abs(canvas.x - nx)
    whisker = (np.abs(np.mod((canvas.y - ny - 0.15) / (0.1 + 0.3 * far), 1) - 0.5) < 0.06) & (far > 0.3) & (far < 0.75)
    return np.asarray(nose | line | whisker, np.float64)


LEARNT: tuple[Pattern, ...] = (
    *(_plain, _plain, _plain, _plain, _stripes, _checks, _dots, _knit, _blotches, _lips, _lips),
    *(_zigzag, _camouflage, _flowers, _grin),
)
HELD_OUT: tuple[Pattern, ...] = (_plain, _tartan, _rings, _marble, _snout)


def cloth(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """Cloth in a random pattern and two colours, with folds: (H, W, 3) in [0, 255]."""
    patterns = HELD_OUT if held_out else LEARNT
    share = patterns[int(canvas.random.integers(len(patterns)))](canvas)[..., None]
    first, second = colour(canvas.random), colour(canvas.random)
    folds = 1 + canvas.random.uniform(0.02, 0.12) * noise(canvas, canvas.random.uniform(0.3, 0.9), 6)
    return np.asarray((first * (1 - share) + second * share) * folds[..., None])
