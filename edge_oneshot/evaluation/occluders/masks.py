"""Masks and scarves: what hides the nose and the mouth."""

from __future__ import annotations

import numpy as np

from edge_oneshot.evaluation.occluders.canvas import Canvas, Point
from edge_oneshot.evaluation.occluders.textures import cloth, colour
from edge_oneshot.types import Float64Array

MEDICAL = (
    (150, 190, 215),
    (120, 170, 205),
    (235, 238, 240),
    (225, 228, 230),
    (35, 36, 42),
    (225, 175, 190),
    (150, 205, 190),
    (175, 210, 225),
    (245, 245, 240),
    (60, 62, 75),
    (190, 175, 215),
    (205, 200, 185),
)
HELD_OUT_MEDICAL = ((190, 220, 190), (215, 235, 250), (110, 120, 130), (215, 185, 165), (140, 60, 80))


def _outline(canvas: Canvas, top: float, bottom: float, side: float, peak: float, chin: float) -> list[Point]:
    """Top edge over the nose, down the cheeks, around the chin. peak: rise over the nose. chin: half width below."""
    middle, lean = canvas.nose[0] * 0.8, canvas.nose[0] * 0.45
    edge = [
        (x * side + lean, top + 0.25 * abs(x) ** 1.6 - peak * np.exp(-(((x * side + lean - middle) / 0.3) ** 2)))
        for x in np.linspace(-1, 1, 25)
    ]
    level = canvas.mouth[1]
    right = [(side * 0.98 + lean, level - 0.1), (chin + (side - chin) * 0.5 + lean, level + 0.35)]
    left = [(-side * 0.98 + lean, level - 0.1), (-chin - (side - chin) * 0.5 + lean, level + 0.35)]
    under = [(chin * x + lean, bottom - 0.22 * x**2) for x in np.linspace(1, -1, 15)]
    return [*edge, *right, *under, *left[::-1]]


def _worn(
    canvas: Canvas, outline: list[Point], surface: Float64Array, shade: Float64Array, loops: bool
) -> Float64Array:
    """Shadow, ear loops and the mask itself. Returns what is covered."""
    random = canvas.random
    canvas.shadow(canvas.shape([(x, y + 0.05) for x, y in outline], soft=0.07), random.uniform(0.15, 0.4))
    alpha = canvas.shape(outline, soft=0.008)
    if loops:
        xs = [x for x, _ in outline]
        tone = colour(random) if random.random() < 0.3 else np.array([228.0, 228, 225])
        for side, edge in ((-1, min(xs)), (1, max(xs))):
            for start, end in ((canvas.nose[1] - 0.05, -0.1), (canvas.mouth[1] + 0.15, 0.35)):
                line = [(edge - side * 0.06, start), (edge + side * 0.25, (start + end) / 2), (edge + side * 0.5, end)]
                canvas.lay(canvas.stroke(line, random.uniform(0.035, 0.07)), tone, 0.85)
    canvas.lay(alpha, surface, shade)
    return alpha


def _round(canvas: Canvas, depth: float) -> Float64Array:
    """The shading of a surface that curves around the face, lighter over the nose."""
    u = (canvas.x - canvas.nose[0] * 0.6) / 1.0
    ridge = np.exp(-((u / 0.25) ** 2) - ((canvas.y - canvas.nose[1]) / 0.35) ** 2)
    return np.asarray(
        1.02 - depth * np.clip(np.abs(u), 0, 1.2) ** 2 + 0.1 * ridge - 0.12 * np.clip(canvas.y - canvas.mouth[1], 0, 1)
    )


def _top(canvas: Canvas) -> float:
    """Height of the top edge: mostly on the bridge of the nose, sometimes low, and now and then below the nose."""
    choice, nose = float(canvas.random.random()), float(canvas.nose[1])
    if choice < 0.08:
        return nose + 0.12
    low, high = (0.0, 0.15) if choice < 0.25 else (0.15, 0.38)
    return nose - float(canvas.random.uniform(low, high))


def _bottom(canvas: Canvas) -> float:
    return float(canvas.mouth[1] + canvas.random.uniform(0.5, 0.9))


def surgical(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """Pleats across or in the middle only, a wire over the nose; held out: other colours, pleats from top to bottom."""
    random, top, bottom = canvas.random, _top(canvas), _bottom(canvas)
    outline = _outline(
        canvas, top, bottom, random.uniform(0.85, 1.08), random.uniform(0.05, 0.16), random.uniform(0.4, 0.7)
    )
    tones = HELD_OUT_MEDICAL if held_out else MEDICAL
    surface = (
        np.array(tones[int(random.integers(len(tones)))]) + random.normal(size=3) * 8 + np.zeros((*canvas.x.shape, 1))
    )
    if random.random() < 0.2:
        surface = cloth(canvas, held_out=held_out)
    period, phase = random.uniform(0.2, 0.34), random.random()
    bent = canvas.y + 0.06 * canvas.x**2 - top
    saw = np.mod(bent / period + phase, 1)
    pleats = 1 - random.uniform(0.05, 0.2) * np.exp(-((saw / 0.13) ** 2)) + 0.04 * saw
    if held_out:
        fan = np.mod((canvas.x - canvas.nose[0] * 0.6) / (0.13 + 0.1 * np.clip(canvas.y - top, 0, 1.5)) + phase, 1)
        pleats = 1 - random.uniform(0.05, 0.2) * np.exp(-((fan / 0.2) ** 2))
    elif random.random() < 0.4:
        pleats = np.where(np.abs(canvas.x - canvas.nose[0] * 0.5) < 0.6, pleats, 1 - 0.08 * np.mod(canvas.x * 9, 1))
    wire = 1 - 0.1 * np.exp(-(((bent - 0.08 + 0.1 * np.exp(-((canvas.x / 0.3) ** 2))) / 0.025) ** 2))
    return _worn(
        canvas, outline, surface, _round(canvas, random.uniform(0.15, 0.4)) * pleats * wire, random.random() < 0.85
    )


def ffp2(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """Folded flat with a ridge and a welded edge, a cup with a valve, or a duckbill; held out: a boat of three panels."""
    random, top, bottom = canvas.random, _top(canvas) - 0.05, _bottom(canvas)
    tones = HELD_OUT_MEDICAL if held_out else MEDICAL
    tone = np.array(tones[int(random.integers(2, 5) if random.random() < 0.7 else random.integers(len(tones)))], float)
    surface = tone + random.normal(size=3) * 5 + np.zeros((*canvas.x.shape, 1))
    middle = canvas.nose[0] * 0.8
    if held_out:
        return _boat(canvas, surface, top, bottom)
    style = random.random()
    if style < 0.4:
        outline = _outline(
            canvas, top, bottom, random.uniform(0.85, 1.05), random.uniform(0.12, 0.28), random.uniform(0.2, 0.45)
        )
        ridge = (
            1
            - 0.25 * np.exp(-(((canvas.x - middle) / 0.02) ** 2))
            + 0.1 * np.tanh((canvas.x - middle) / 0.1) * random.choice([-1, 1])
        )
        seam = 1 - 0.1 * (np.abs(np.mod(canvas.y + 0.35 * np.abs(canvas.x - middle), 0.45) - 0.1) < 0.015)
        return _worn(canvas, outline, surface, _round(canvas, 0.3) * ridge * seam, random.random() < 0.8)
    turn = np.linspace(0, 2 * np.pi, 48)
    centre = (top + bottom) / 2
    if style < 0.75:
        wide = random.uniform(0.6, 0.8)
        outline = [(middle + wide * np.cos(a), centre + (bottom - top) * 0.54 * np.sin(a)) for a in turn]
        bulge = np.hypot((canvas.x - middle) / 0.8, (canvas.y - centre) / 0.8)
        covered = _worn(canvas, outline, surface, 1.08 - 0.4 * bulge**2, True)
        if random.random() < 0.4:
            return covered
        valve = [(middle + 0.17 * np.cos(a), centre + 0.1 + 0.15 * np.sin(a)) for a in turn]
        canvas.lay(canvas.shape(valve), tone * 0.8, 1.0)
        canvas.lay(canvas.shape([(x, y + 0.03) for x, y in valve]) * 0.5, tone * 0.5, 1.0)
        return covered
    high = random.uniform(0.2, 0.4)
    outline = [
        (middle - high, top),
        (middle + high, top),
        (middle + 0.9, centre),
        (middle + 0.5, bottom),
        (middle - 0.5, bottom),
        (middle - 0.9, centre),
    ]
    fold = 1.05 - 0.25 * (canvas.y > centre) - 0.2 * np.exp(-(((canvas.y - centre) / 0.03) ** 2))
    return _worn(canvas, outline, surface, fold, True)


def _boat(canvas: Canvas, surface: Float64Array, top: float, bottom: float) -> Float64Array:
    """A stiff panel over nose and mouth that juts out sideways, one above and one below it; a metal strip on top."""
    random, middle = canvas.random, canvas.nose[0] * 0.8
    upper, lower = top + 0.32 * (bottom - top), top + random.uniform(0.62, 0.75) * (bottom - top)
    side, flat = random.uniform(0.85, 1.05), random.uniform(0.2, 0.4)
    outline = [
        *((middle + flat * x, top - 0.05 * np.cos(x)) for x in (-1, -0.5, 0, 0.5, 1)),
        (middle + 0.75 * side, upper - 0.05),
        (middle + side, (upper + lower) / 2),
        (middle + 0.7 * side, lower + 0.05),
        *((middle + 0.45 * x, bottom - 0.05 * x**2) for x in (1, 0.5, 0, -0.5, -1)),
        (middle - 0.7 * side, lower + 0.05),
        (middle - side, (upper + lower) / 2),
        (middle - 0.75 * side, upper - 0.05),
    ]
    panels = np.where(canvas.y < upper, 0.97, np.where(canvas.y < lower, 1.06, 0.82))
    edges = sum(0.15 * np.exp(-(((canvas.y - y) / 0.02) ** 2)) for y in (upper, lower))
    strip = (np.abs(canvas.y - top - 0.07) < 0.025) & (np.abs(canvas.x - middle) < 0.28)
    shade = panels - edges - 0.15 * strip - 0.2 * np.clip(np.abs(canvas.x - middle), 0, 1.2) ** 2
    return _worn(canvas, outline, surface, shade, random.random() < 0.8)


def cloth_mask(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """A fitted mask with a seam, or a square one; held out: one with a piped edge and a pointed chin, gathered at the ears."""
    random, top, bottom = canvas.random, _top(canvas), _bottom(canvas)
    surface, middle = cloth(canvas, held_out=held_out), canvas.nose[0] * 0.8
    if held_out:
        reach = random.uniform(0.75, 1.0)
        outline: list[Point] = [
            *((reach * x, top + 0.22 * abs(x) - 0.08 * np.exp(-((x / 0.3) ** 2))) for x in np.linspace(-1, 1, 15)),
            (reach, canvas.mouth[1]),
            (middle + 0.55, canvas.mouth[1] + 0.4),
            (middle, bottom + 0.15),
            (middle - 0.55, canvas.mouth[1] + 0.4),
            (-reach, canvas.mouth[1]),
        ]
        gathers = 0.12 * np.sin(canvas.y * 30) * np.clip(np.abs(canvas.x) - 0.4, 0, 1)
        covered = _worn(canvas, outline, surface, _round(canvas, 0.3) + gathers, random.random() < 0.7)
        canvas.lay(canvas.stroke([*outline, outline[0]], 0.07), colour(random), 0.95)
        return covered
    if random.random() < 0.35:
        outline = [
            (-0.8, top + 0.05),
            (middle, top - 0.08),
            (0.8, top + 0.05),
            (0.85, bottom - 0.3),
            (0.5, bottom),
            (-0.5, bottom),
            (-0.85, bottom - 0.3),
        ]
        shade = 1.05 - 0.3 * np.clip(np.abs(canvas.x), 0, 1.2) ** 2 - 0.1 * np.sin(canvas.x * 14)
    else:
        outline = _outline(
            canvas, top, bottom, random.uniform(0.78, 1.05), random.uniform(0.08, 0.25), random.uniform(0.3, 0.6)
        )
        seam = np.exp(-(((canvas.x - middle - 0.05 * np.sin(3 * canvas.y)) / 0.018) ** 2))
        shade = _round(canvas, random.uniform(0.2, 0.45)) * (1 - 0.2 * seam)
    return _worn(canvas, outline, surface, shade, random.random() < 0.7)


def scarf(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """Wrapped over the mouth or the nose, with folds, or a smooth tube; held out: a bandana, its point on the chest."""
    random, smooth = canvas.random, canvas.random.random() < 0.3
    top = canvas.mouth[1] - random.uniform(0.22, 0.75)
    curve, tilt = random.uniform(-0.05, 0.3), random.normal() * 0.12
    xs = np.linspace(-1.35, 1.35, 31)
    wave = 0.0 if smooth or held_out else random.uniform(0.0, 0.05)
    edge = [(x, top - curve * 0.3 + curve * x**2 + tilt * x + wave * np.sin(9 * x)) for x in xs]
    outline = [*edge, (1.5, top + 2.6), (-1.5, top + 2.6)]
    if held_out:
        outline = [*edge, (0.95, canvas.mouth[1] + 0.4), (canvas.nose[0], top + 2.2), (-0.95, canvas.mouth[1] + 0.4)]
    bent = canvas.y - curve * canvas.x**2 - tilt * canvas.x
    folds = np.ones_like(bent)
    if held_out:
        folds = 1 - 0.3 * np.exp(-((np.mod((np.abs(canvas.x) + 0.4 * bent) / 0.35, 1) / 0.3) ** 2))
    elif not smooth:
        period = random.uniform(0.18, 0.5)
        folds = 1 - random.uniform(0.15, 0.4) * np.mod((bent + 0.08 * np.sin(3 * canvas.x)) / period, 1) ** 2
    canvas.shadow(canvas.shape([(x, y - 0.06) for x, y in outline], soft=0.06), 0.3)
    alpha = canvas.shape(outline, soft=0.01)
    canvas.lay(alpha, cloth(canvas, held_out=held_out), folds * _round(canvas, 0.25))
    return alpha
