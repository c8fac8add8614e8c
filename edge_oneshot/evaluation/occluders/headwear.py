"""Sunglasses, caps and hoods: what hides the eyes and the brows."""

from __future__ import annotations

import numpy as np

from edge_oneshot.evaluation.occluders.canvas import Canvas, Point
from edge_oneshot.evaluation.occluders.textures import cloth, colour
from edge_oneshot.types import Float64Array

TURN = np.linspace(0, 2 * np.pi, 40)


def _lens(canvas: Canvas, side: int, held_out: bool, style: int, size: float) -> list[Point]:
    """The outline of a lens: rectangle with round corners, aviator or wayfarer; held out: round, cat-eye or shield."""
    power = {True: (1.0, 0.8, 0.5), False: (0.55, 0.85, 0.7)}[held_out][style]
    wide, high = {True: ((0.36, 0.36), (0.44, 0.3), (0.52, 0.36)), False: ((0.42, 0.27), (0.42, 0.37), (0.44, 0.3))}[
        held_out
    ][style]
    outline = []
    for a in TURN:
        x, y = (float(np.sign(v) * abs(v) ** power) for v in (np.cos(a), np.sin(a)))
        if style == 1:
            y += -0.35 * x if held_out else 0.25 * (y > 0) * -x  # the outer corner rises; an aviator hangs outside
        if style == 2 and not held_out:
            x *= 1 - 0.12 * y
        outline.append((side * (0.5 + size * wide * x) + canvas.nose[0] * 0.15, 0.06 + size * high * y))
    return outline


def sunglasses(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """Dark lenses with a gradient and reflections; held out: other frames, and mirrors in bright colours."""
    random, style, size = canvas.random, int(canvas.random.integers(3)), canvas.random.uniform(0.88, 1.2)
    dark = np.full(3, random.uniform(10, 45)) + np.abs(random.normal(size=3)) * (22 if random.random() < 0.4 else 4)
    frame = colour(random) if random.random() < 0.4 else np.full(3, random.uniform(15, 60))
    fade = np.clip(0.96 - random.choice([0.0, 0.0, 0.25]) * np.clip(canvas.y / 0.35 + 0.5, 0, 1), 0, 1)
    gloss = random.uniform(0, 90) * np.exp(
        -(((canvas.y + 0.25 * canvas.x - random.uniform(-0.3, 0.2)) / random.uniform(0.04, 0.15)) ** 2)
    )
    sky = random.uniform(0, 45) * np.clip(-canvas.y / 0.3 + 0.4, 0, 1)
    surface = dark + (gloss + sky)[..., None]
    if held_out and random.random() < 0.35:
        upper, lower, t = colour(random), colour(random), np.clip(canvas.y / 0.6 + 0.5, 0, 1)[..., None]
        surface = upper * (1 - t) + lower * t + gloss[..., None]
    covered, rim = np.zeros_like(canvas.x), random.uniform(0.02, 0.1)
    bridge = [
        (-0.2 + canvas.nose[0] * 0.15, -0.06),
        (canvas.nose[0] * 0.25, -0.1),
        (0.2 + canvas.nose[0] * 0.15, -0.06),
    ]
    for side in (-1, 1):
        lens = _lens(canvas, side, held_out, style, size)
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
    """A cap with a visor and its shadow that hides the brows; held out: a knitted hat, or one with a wide brim."""
    random, lean = canvas.random, canvas.nose[0] * 0.4
    edge = random.uniform(-0.33, -0.16)
    surface, width = cloth(canvas, held_out=held_out), random.uniform(1.2, 1.45)
    light = 1.1 - 0.4 * np.clip(np.abs(canvas.x - lean + random.uniform(-0.4, 0.4)) / 1.3, 0, 1.3) ** 2
    knitted = held_out and random.random() < 0.5
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
    reach, high = (1.75, 0.3) if held_out else (random.uniform(0.95, 1.2), random.uniform(0.3, 0.5))
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


def hood(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """A hood drawn over the brows and the cheeks, dark inside; held out: an edge of fur."""
    random = canvas.random
    top, wide = random.uniform(-0.42, -0.2), random.uniform(0.72, 0.95)
    u, v = (canvas.x - canvas.nose[0] * 0.5) / wide, (canvas.y - 0.75) / np.where(canvas.y < 0.75, 0.75 - top, 1.4)
    far = np.hypot(u, v)
    if held_out:
        far = far + 0.05 * np.sin(np.arctan2(v, u) * 60) * random.uniform(0.5, 1.0)
    alpha = np.clip((far - 1) * wide * canvas.unit + 0.5, 0, 1)
    canvas.shadow(np.clip((far - 0.55) / 0.45, 0, 1), random.uniform(0.25, 0.65))
    rim = 0.75 + 0.35 * np.exp(-(((far - 1.12) / 0.1) ** 2)) - 0.12 * np.mod(far * 4, 1)
    canvas.lay(alpha, cloth(canvas, held_out=held_out), rim)
    return np.asarray(alpha)
