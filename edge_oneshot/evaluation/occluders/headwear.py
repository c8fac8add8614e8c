"""Sunglasses, caps and hoods: what hides the eyes and the brows."""

from __future__ import annotations

import numpy as np

from edge_oneshot.evaluation.occluders.canvas import Canvas, Point
from edge_oneshot.evaluation.occluders.textures import cloth, colour
from edge_oneshot.types import Float64Array

TURN = np.linspace(0, 2 * np.pi, 40)


# power of the superellipse, half width and half height of a lens; the second three are held out
LENSES = {
    "rectangle": (0.55, 0.42, 0.27),
    "aviator": (0.85, 0.42, 0.37),
    "wayfarer": (0.7, 0.44, 0.3),
    "round": (1.0, 0.36, 0.36),
    "cat-eye": (0.8, 0.44, 0.3),
    "shield": (0.5, 0.52, 0.36),
}
HELD_OUT_LENSES = {"hexagon": (1.0, 0.4, 0.36), "butterfly": (0.75, 0.5, 0.4), "sport": (0.4, 0.54, 0.24)}


def _lens(canvas: Canvas, side: int, style: str, size: float) -> list[Point]:
    """The outline of a lens."""
    power, wide, high = (LENSES | HELD_OUT_LENSES)[style]
    outline = []
    for a in np.linspace(0, 2 * np.pi, 7) if style == "hexagon" else TURN:
        x, y = (float(np.sign(v) * abs(v) ** power) for v in (np.cos(a), np.sin(a)))
        if style == "aviator":
            y += 0.25 * (y > 0) * -x  # it hangs outside
        elif style == "cat-eye":
            y += -0.35 * x  # the outer corner rises
        elif style in ("wayfarer", "butterfly"):
            x *= 1 - (0.12 if style == "wayfarer" else 0.25 * (x > 0)) * y
        elif style == "sport":
            y *= 1 + 0.3 * x
        outline.append((side * (0.5 + size * wide * x) + canvas.nose[0] * 0.15, 0.06 + size * high * y))
    return outline


def sunglasses(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """Dark lenses with a gradient and reflections, or mirrors in bright colours; held out: other frames."""
    random, size = canvas.random, canvas.random.uniform(0.88, 1.2)
    styles = list(HELD_OUT_LENSES if held_out else LENSES)
    style = styles[int(random.integers(len(styles)))]
    dark = np.full(3, random.uniform(10, 45)) + np.abs(random.normal(size=3)) * (22 if random.random() < 0.4 else 4)
    frame = colour(random) if random.random() < 0.4 else np.full(3, random.uniform(15, 60))
    fade = np.clip(0.96 - random.choice([0.0, 0.0, 0.25]) * np.clip(canvas.y / 0.35 + 0.5, 0, 1), 0, 1)
    gloss = random.uniform(0, 90) * np.exp(
        -(((canvas.y + 0.25 * canvas.x - random.uniform(-0.3, 0.2)) / random.uniform(0.04, 0.15)) ** 2)
    )
    sky = random.uniform(0, 45) * np.clip(-canvas.y / 0.3 + 0.4, 0, 1)
    surface = dark + (gloss + sky)[..., None]
    if random.random() < 0.25:
        upper, lower, t = colour(random), colour(random), np.clip(canvas.y / 0.6 + 0.5, 0, 1)[..., None]
        surface = upper * (1 - t) + lower * t + gloss[..., None]
    covered, rim = np.zeros_like(canvas.x), random.uniform(0.02, 0.1)
    bridge = [
        (-0.2 + canvas.nose[0] * 0.15, -0.06),
        (canvas.nose[0] * 0.25, -0.1),
        (0.2 + canvas.nose[0] * 0.15, -0.06),
    ]
    for side in (-1, 1):
        lens = _lens(canvas, side, style, size)
        canvas.shadow(canvas.shape([(x, y + 0.06) for x, y in lens], soft=0.05), 0.25)
        canvas.lay(canvas.stroke([(side * 0.85, -0.05), (side * 1.25, -0.08)], 0.07), frame)
        alpha = canvas.shape(lens)
        canvas.lay(alpha * fade, surface)
        edge = canvas.stroke([*lens, lens[0]], rim)
        canvas.lay(edge, frame)
        covered = np.maximum(covered, np.maximum(alpha, edge))
    canvas.lay(canvas.stroke(bridge, max(rim, 0.05)), frame)
    return covered


def cap(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """A cap with a visor, a knitted hat or one with a wide brim that hides the brows; held out: a scarf or a bucket hat."""
    random, lean = canvas.random, canvas.nose[0] * 0.4
    if held_out:
        return _headscarf(canvas) if random.random() < 0.5 else _bucket(canvas)
    edge = random.uniform(-0.33, -0.16)
    surface, width = cloth(canvas, held_out=held_out), random.uniform(1.2, 1.45)
    light = 1.1 - 0.4 * np.clip(np.abs(canvas.x - lean + random.uniform(-0.4, 0.4)) / 1.3, 0, 1.3) ** 2
    knitted, wide_brim = random.random() < 0.35, random.random() < 0.3
    arch = random.uniform(0.0, 0.12) if knitted else random.uniform(-0.05, 0.25)
    rim = [(lean + width * x, edge + arch * (x**2)) for x in np.linspace(-1, 1, 25)]
    crown = [*rim, *((lean + width * np.cos(a), edge + arch - 1.75 * np.sin(a)) for a in np.linspace(0, np.pi, 30))]
    canvas.shadow(
        canvas.shape([(x, y + (0.12 if knitted else 0.4)) for x, y in crown], soft=0.12), random.uniform(0.15, 0.5)
    )
    alpha = canvas.shape(crown, soft=0.01)
    if knitted:
        ribs = (
            1
            - 0.2 * (np.mod(canvas.x * 9, 1) < 0.4) * (canvas.y > edge - 0.45)
            - 0.1 * np.exp(-(((canvas.y - edge + 0.45) / 0.03) ** 2))
        )
        canvas.lay(alpha, surface, light * ribs)
        return alpha
    seams = 1 - 0.15 * (np.abs(np.mod(canvas.x - lean + 2.25, 0.5) - 0.25) < 0.02)
    canvas.lay(alpha, surface, light * seams)
    reach, high = (
        (random.uniform(1.5, 1.9), 0.3) if wide_brim else (random.uniform(0.95, 1.2), random.uniform(0.3, 0.5))
    )
    visor = [
        (lean + reach * np.cos(a), edge - high * 0.75 + high * 0.75 * np.sin(a)) for a in np.linspace(0, np.pi, 30)
    ]
    visor += [
        (lean + reach * np.cos(a), edge - high * 0.75 - high * 0.5 * np.sin(a)) for a in np.linspace(np.pi, 0, 30)
    ]
    brim = canvas.shape(visor, soft=0.008)
    canvas.lay(
        brim, surface if random.random() < 0.7 else colour(random), 0.5 + 0.6 * np.clip((edge - canvas.y) / high, 0, 1)
    )
    return np.maximum(alpha, brim)


def _crown(lean: float, width: float, rim: list[Point], height: float) -> list[Point]:
    top = float(np.mean([y for _, y in rim]))
    return [*rim, *((lean + width * np.cos(a), top - height * np.sin(a)) for a in np.linspace(0, np.pi, 30))]


def _headscarf(canvas: Canvas) -> Float64Array:
    """A scarf tied around the forehead, low over the brows, with folds across and a knot at one side."""
    random, lean = canvas.random, canvas.nose[0] * 0.4
    edge, tilt, width = random.uniform(-0.33, -0.16), random.normal() * 0.06, random.uniform(1.1, 1.35)
    rim = [(lean + width * x, edge + tilt * x + 0.06 * x**2) for x in np.linspace(-1, 1, 25)]
    outline, side = _crown(lean, width, rim, 1.6), 1 if random.random() < 0.5 else -1
    canvas.shadow(canvas.shape([(x, y + 0.05) for x, y in outline], soft=0.05), 0.3)
    folds = 1 - 0.2 * np.exp(-((np.mod((canvas.y - tilt * canvas.x + 0.1 * canvas.x**2) / 0.22, 1) / 0.3) ** 2))
    alpha, surface = canvas.shape(outline, soft=0.01), cloth(canvas, held_out=True)
    canvas.lay(alpha, surface, folds * (1.05 - 0.25 * np.clip(np.abs(canvas.x - lean), 0, 1.4) ** 2))
    for reach in (0.5, 0.8):
        end = (lean + side * (width + 0.2), edge + reach)
        tail = canvas.stroke([(lean + side * width * 0.97, edge - 0.05), end], 0.22)
        canvas.lay(tail, surface, 0.85)
        alpha = np.maximum(alpha, tail)
    return alpha


def _bucket(canvas: Canvas) -> Float64Array:
    """A soft hat with a brim that hangs down all around, stitched in rows."""
    random, lean = canvas.random, canvas.nose[0] * 0.4
    edge, width, drop = random.uniform(-0.33, -0.16), random.uniform(1.25, 1.5), random.uniform(0.05, 0.3)
    rim = [(lean + width * x, edge + drop * x**2) for x in np.linspace(-1, 1, 25)]
    band = edge - random.uniform(0.35, 0.5)
    outline = [*rim, (lean + 0.95, band), (lean + 0.75, band - 0.9), (lean - 0.75, band - 0.9), (lean - 0.95, band)]
    canvas.shadow(canvas.shape([(x, y + 0.25) for x, y in outline], soft=0.1), random.uniform(0.15, 0.5))
    bent = canvas.y - drop * ((canvas.x - lean) / width) ** 2
    stitches = 1 - 0.12 * (np.mod(bent / 0.1, 1) < 0.2) * (bent > band)
    shade = np.where(bent > band, 0.8 + 0.5 * (edge - bent), 1.05) - 0.2 * np.abs(canvas.x - lean) ** 2
    alpha = canvas.shape(outline, soft=0.01)
    canvas.lay(alpha, cloth(canvas, held_out=True), np.clip(shade, 0.3, 1.2) * stitches)
    return alpha


def hood(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """A hood over the brows and the cheeks, dark inside, or edged with fur; held out: a stiff pointed one with a cord."""
    random = canvas.random
    top, wide = random.uniform(-0.42, -0.2), random.uniform(0.72, 0.95)
    u, v = (canvas.x - canvas.nose[0] * 0.5) / wide, (canvas.y - 0.75) / np.where(canvas.y < 0.75, 0.75 - top, 1.4)
    far = np.hypot(u, v)
    if held_out:
        far = np.where(
            v < 0, (np.abs(u) ** 1.5 + np.abs(v) ** 1.5) ** (1 / 1.5), np.cbrt(np.abs(u) ** 3 + np.abs(v) ** 3)
        )
    elif random.random() < 0.35:
        far = far + 0.05 * np.sin(np.arctan2(v, u) * 60) * random.uniform(0.5, 1.0)
    alpha = np.clip((far - 1) * wide * canvas.unit + 0.5, 0, 1)
    canvas.shadow(np.clip((far - 0.55) / 0.45, 0, 1), random.uniform(0.25, 0.65))
    rim = 0.75 + 0.35 * np.exp(-(((far - 1.12) / 0.1) ** 2)) - 0.12 * np.mod(far * 4, 1)
    canvas.lay(alpha, cloth(canvas, held_out=held_out), rim)
    if held_out:
        for side in (-1, 1):
            start = canvas.nose[0] * 0.5 + side * wide * 0.9
            cord = canvas.stroke([(start, 1.3), (start * 1.05, 2.2)], 0.06)
            canvas.lay(cord, colour(random))
    return np.asarray(alpha)
