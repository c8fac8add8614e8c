"""Hands and phones before the face."""

from __future__ import annotations

import numpy as np

from edge_oneshot.evaluation.occluders.canvas import Canvas, Point
from edge_oneshot.evaluation.occluders.textures import cloth, colour, noise
from edge_oneshot.types import Float64Array

FINGER = 0.29  # thickness


def _skin(canvas: Canvas) -> Float64Array:
    """The colour of the face without its light, slightly varied: (H, W, 3)."""
    tone = canvas.skin / max(float(np.median(canvas.light[(np.abs(canvas.x) < 0.7) & (np.abs(canvas.y) < 0.7)])), 0.2)
    tone = tone * np.exp(canvas.random.normal() * 0.12) + canvas.random.normal(size=3) * 4
    return np.asarray(np.clip(tone, 12, 250) * (1 + 0.04 * noise(canvas, 0.25))[..., None])


def _limb(canvas: Canvas, points: list[Point], width: float, skin: Float64Array) -> Float64Array:
    """A finger or an arm: a thick line, lighter along its middle, with a shadow beside it."""
    canvas.shadow(canvas.stroke([(x + 0.02, y + 0.04) for x, y in points], width * 1.06), 0.2)
    shade = 0.8 + sum(0.05 * canvas.stroke(points, width * share) for share in (0.9, 0.75, 0.55, 0.35))
    alpha = canvas.stroke(points, width)
    canvas.lay(alpha, skin, shade)
    return alpha


def _hand(canvas: Canvas, palm: Point, direction: float, spread: float) -> Float64Array:
    """Palm and forearm, and four fingers from there in a direction (radians), `spread` apart."""
    random, skin = canvas.random, _skin(canvas)
    scale = random.uniform(0.85, 1.15)
    ahead = np.array([np.cos(direction), np.sin(direction)]) * scale
    side = np.array([-ahead[1], ahead[0]])
    base = np.array(palm)
    arm = [tuple((base - 2.5 * ahead).tolist()), tuple((base - 0.2 * ahead).tolist())]
    covered = _limb(canvas, arm, 0.95 * scale, skin)
    covered = np.maximum(
        covered,
        _limb(canvas, [tuple((base - 0.1 * ahead).tolist()), tuple((base + 0.25 * ahead).tolist())], 1.1 * scale, skin),
    )
    thumb = 1 if random.random() < 0.5 else -1
    fingers = [
        (f, 0.3 * spread * f, length)
        for f, length in zip((-0.41, -0.14, 0.14, 0.41), (0.8, 1.0, 0.95, 0.7), strict=True)
    ]
    for place, angle, length in fingers:
        start = base + 0.35 * ahead + place * side * (1 + 0.2 * spread)
        way = np.cos(angle) * ahead + np.sin(angle) * side
        bend = start + way * length * 0.55
        tip = bend + (way + side * random.normal() * 0.08) * length * 0.5
        line = [tuple(p.tolist()) for p in (start, bend, tip)]
        covered = np.maximum(covered, _limb(canvas, line, FINGER * scale, skin))
        nail = canvas.stroke([tuple((tip - 0.03 * way).tolist()), tuple((tip + 0.05 * way).tolist())], 0.13 * scale)
        canvas.lay(nail * 0.5, np.clip(skin * 1.12 + 8, 0, 255))
    start = base + thumb * 0.45 * side
    line = [tuple(p.tolist()) for p in (start, start + thumb * 0.35 * side + 0.4 * ahead)]
    return np.maximum(covered, _limb(canvas, line, FINGER * 1.1 * scale, skin))


def hand(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """One hand over the mouth, an eye or the nose, or two; held out: the crook of an arm in a sleeve."""
    random, side = canvas.random, 1 if canvas.random.random() < 0.5 else -1
    if held_out:
        return _sleeve(canvas, side)
    if random.random() < 0.35:
        height = random.choice([0.0, canvas.mouth[1] - 0.1]) + random.normal() * 0.06
        total = np.zeros_like(canvas.x)
        for s in (-1, 1):
            palm = (s * random.uniform(0.75, 0.95), height + 0.35)
            total = np.maximum(total, _hand(canvas, palm, float(np.arctan2(-0.45, -s)), random.uniform(0.2, 0.7)))
        return total
    target = ((canvas.mouth), (side * 0.5, 0.0), canvas.nose)[int(random.choice(3, p=(0.5, 0.35, 0.15)))]
    target = (target[0] + random.normal() * 0.12, target[1] + random.normal() * 0.08)
    direction = (
        random.uniform(-np.pi, 0) if random.random() < 0.5 else np.pi / 2 * (1 + side) + random.normal() * 0.5 * side
    )
    back = random.uniform(0.1, 0.75)
    palm = (target[0] - back * np.cos(direction), target[1] - back * np.sin(direction))
    return _hand(canvas, palm, float(direction), random.uniform(0.1, 1.0))


def _sleeve(canvas: Canvas, side: int) -> Float64Array:
    """A bent arm before the mouth and the nose, or before the eyes: two thick strokes with folds that meet at the elbow."""
    random = canvas.random
    height = float(random.choice([0.05, canvas.mouth[1] - 0.1]) + random.normal() * 0.08)
    elbow = (side * random.uniform(0.5, 1.0), height + random.uniform(0.0, 0.15))
    surface, width = cloth(canvas, held_out=True), random.uniform(0.75, 0.95)
    total = np.zeros_like(canvas.x)
    for end in ((-side * 2.2, height + random.uniform(-0.1, 0.5)), (side * 0.4, height + 2.5)):
        line = [elbow, end]
        canvas.shadow(canvas.stroke([(x, y + 0.06) for x, y in line], width * 1.05), 0.25)
        folds = 0.9 + 0.12 * np.sin(noise(canvas, 0.5) * 4) - 0.1 * np.abs(canvas.y - height)
        alpha = canvas.stroke(line, width)
        canvas.lay(alpha, surface, np.clip(folds, 0.5, 1.1))
        total = np.maximum(total, alpha)
    return total


def _microphone(canvas: Canvas, side: int) -> Float64Array:
    """A ball of wire mesh before the mouth, and its handle in a hand."""
    random, (mx, my) = canvas.random, canvas.mouth
    centre = (mx + random.normal() * 0.06, my + random.uniform(-0.05, 0.1))
    end = (centre[0] + side * random.uniform(0.2, 0.8), centre[1] + 1.8)
    handle = canvas.stroke([centre, end], 0.28)
    canvas.lay(handle, np.full(3, random.uniform(15, 60)))
    ball = canvas.stroke([centre, centre], random.uniform(0.65, 0.9))
    canvas.shadow(canvas.stroke([centre, centre], 1.0), 0.2)
    mesh = 0.8 + 0.3 * np.sin(canvas.x * 70) * np.sin(canvas.y * 70)
    canvas.lay(ball, colour(random) if random.random() < 0.3 else np.full(3, random.uniform(40, 150)), mesh)
    grip = [(end[0] * 0.6 + centre[0] * 0.4 + d, my + 1.0 + 0.02 * k) for k, d in enumerate((-0.3, 0.3))]
    return np.maximum(np.maximum(handle, ball), _limb(canvas, grip, 0.5, _skin(canvas)))


def phone(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """A phone before the mouth or an eye, with fingers around it, or a cup; held out: a book, or a microphone."""
    random, side = canvas.random, 1 if canvas.random.random() < 0.5 else -1
    if held_out and random.random() < 0.5:
        return _microphone(canvas, side)
    over = (canvas.mouth, (side * 0.5, 0.05), canvas.nose)[int(random.integers(3))]
    cx, cy = over[0] + random.normal() * 0.1, over[1] + random.normal() * 0.1 + 0.15
    wide, high, turn = random.uniform(0.55, 0.75), random.uniform(1.1, 1.5), random.normal() * 0.15
    if held_out:  # a book
        wide, high, cx, cy = 1.15, random.uniform(0.75, 0.95), cx * 0.2, float(canvas.mouth[1] + 0.25)
    elif random.random() < 0.4:
        cup = random.random() < 0.4
        wide, high, turn = (0.6, 0.6, turn) if cup else (high, wide * 0.8, turn)
        cx, cy = (canvas.mouth[0], canvas.mouth[1] + 0.25) if cup else (cx * 0.3, cy)
    corners = []
    for a in np.linspace(0, 2 * np.pi, 48):
        x, y = (np.sign(v) * abs(v) ** 0.25 * h for v, h in ((np.cos(a), wide), (np.sin(a), high)))
        corners.append((cx + x * np.cos(turn) - y * np.sin(turn), cy + x * np.sin(turn) + y * np.cos(turn)))
    tone = colour(random) if random.random() < 0.5 else np.full(3, random.uniform(12, 60))
    if held_out:
        tone = cloth(canvas, held_out=True)
    canvas.shadow(canvas.shape([(x + 0.04, y + 0.06) for x, y in corners], soft=0.06), 0.35)
    alpha = canvas.shape(corners)
    gloss = 1 + random.uniform(0, 0.5) * np.exp(-(((canvas.x + canvas.y - cx - cy + random.normal() * 0.5) / 0.3) ** 2))
    canvas.lay(alpha, tone, gloss)
    for k in range(0 if held_out else int(random.integers(0, 4))):
        lens = (cx - wide * 0.6, cy - high * 0.75 + 0.22 * k)
        canvas.lay(canvas.stroke([lens, lens], 0.17), (18, 18, 24))
        canvas.lay(canvas.stroke([lens, lens], 0.06), (90, 95, 120))
    skin = _skin(canvas)
    for k in range(4):
        y = cy - 0.2 + 0.3 * k
        line = [(cx - side * (wide + 0.35), y + 0.1), (cx - side * (wide - 0.15), y)]
        alpha = np.maximum(alpha, _limb(canvas, line, FINGER, skin))
    return alpha


def patch(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """Any shape of cloth or skin over an eye, a brow, the nose or the mouth: for training, so that it learns no fixed shapes."""
    random = canvas.random
    over = ((-0.5, 0.0), (0.5, 0.0), (0.0, -0.35), canvas.nose, canvas.mouth)[int(random.integers(5))]
    wide, high = np.exp(random.normal(size=2) * 0.4) * 0.5
    angles, turn = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(5, 12)))), random.uniform(0, np.pi)
    if random.random() < 0.5:
        angles = np.linspace(0, 2 * np.pi, 32)
    x, y = wide * np.cos(angles), high * np.sin(angles)
    outline = [
        (over[0] + a * np.cos(turn) - b * np.sin(turn), over[1] + a * np.sin(turn) + b * np.cos(turn))
        for a, b in zip(x, y, strict=True)
    ]
    surface = cloth(canvas, held_out=held_out) if random.random() < 0.75 else _skin(canvas)
    if random.random() < 0.5:
        canvas.shadow(canvas.shape([(a, b + 0.05) for a, b in outline], soft=0.06), 0.3)
    alpha = canvas.shape(outline, soft=0.01)
    if random.random() < 0.3:
        alpha = np.maximum(alpha, canvas.shape([(-a, b) for a, b in outline], soft=0.01))
    canvas.lay(alpha, surface)
    return alpha


def block(canvas: Canvas, *, held_out: bool) -> Float64Array:
    """One half of the face, left, right or below, behind a straight edge: for training. Often flat, without light or noise."""
    random, tilt = canvas.random, canvas.random.normal() * 0.15
    near, reach = random.uniform(-0.35, 0.3), random.uniform(0.7, 3.0)
    way = int(random.integers(3))
    if way == 2:
        low = canvas.mouth[1] - random.uniform(0.1, 0.75)
        near, reach, tall = low, random.uniform(0.7, 1.6), random.uniform(0.9, 2.0)
        outline = [(-tall, near), (tall, near + tilt), (tall, near + reach), (-tall, near + reach)]
    else:
        side, top, bottom = 2 * way - 1, -random.uniform(0.6, 2.5), random.uniform(1.4, 3.0)
        outline = [(side * near, top), (side * reach, top), (side * reach, bottom), (side * near + tilt, bottom)]
    alpha = canvas.shape(outline)
    if random.random() < 0.6:
        canvas.paint(alpha, colour(random))
        return np.zeros_like(alpha)
    canvas.lay(alpha, cloth(canvas, held_out=held_out) if random.random() < 0.7 else _skin(canvas))
    return alpha
