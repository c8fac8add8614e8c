"""Hidden parts of a face: their FNMR, what the enrollment gate refuses, and whether other measures would detect them.

    python benchmarks/occlusion.py --lfw DIR [--sets 4] [--workers 2] > benchmarks/results/occlusion.txt

Dark glasses, a mask, a scarf, and a hand over one half of the face are drawn onto images (at most two for each person). The
images go through the device's recognition path, and are compared with the person's first image, unchanged, and with the
first images of all other people. The shapes are drawn, not worn: flat and of one colour. The limit of a measure is where it
would refuse 1 % of the images with nothing drawn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from common import headline, in_processes, lfw_images, percent, shipped, shipped_rule
from crops import MIDDLE
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge_oneshot.cameras.images import load_image
from edge_oneshot.evaluation.dataset import LabelledImage
from edge_oneshot.evaluation.metrics import rate_over_people
from edge_oneshot.matching.compare import score_all
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.types import Face, Float32Array, Frame, UInt8Array

KINDS = ("nothing", "dark glasses", "mask", "scarf", "hand")
# name -> whether a low value is suspicious
MEASURES = {
    "probability of a hidden landmark": False,
    "likeness to its mirror image": True,
    "length of the raw embedding": True,
    "detection score": True,
    "shift from second look to landmark network": False,
}
REFUSED = 0.01
FMR = 1e-3  # high enough to count false matches of strangers; at the card's threshold for it
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """score: with the person's first image; -inf: not acquired. measures: in the order of MEASURES. vector: (D,)."""

    person: str
    score: float
    measures: tuple[float, ...] = ()
    vector: Float32Array | None = None


def draw(pixels: UInt8Array, face: Face, kind: str, random: np.random.Generator) -> UInt8Array:
    """The image with one object drawn over the face. Lengths are in inter-eye distances, along and across the eye line."""
    left, right, nose, mouth = (
        np.array(face.landmark(n)) for n in ("image_left_eye", "image_right_eye", "nose", "mouth")
    )
    apart, middle = face.inter_eye_px, (left + right) / 2
    along = (right - left) / apart
    across = np.array([-along[1], along[0]])
    nose_y, mouth_y = float((nose - middle) @ across) / apart, float((mouth - middle) @ across) / apart

    def at(x: float, y: float) -> Point:
        return tuple((middle + apart * (x * along + y * across)).tolist())

    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    if kind == "dark glasses":
        for x in (-0.5, 0.5):
            pen.polygon(
                [at(x + 0.4 * np.cos(a), 0.02 + 0.27 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 24)],
                fill=(20, 20, 22),
            )
        pen.line([at(-0.12, -0.05), at(0.12, -0.05)], fill=(20, 20, 22), width=max(1, round(apart * 0.06)))
    elif kind == "mask":
        colours = [(150, 190, 215), (235, 235, 235), (30, 30, 35)]
        pen.polygon(
            [
                at(-0.85, nose_y - 0.25),
                at(0, nose_y - 0.35),
                at(0.85, nose_y - 0.25),
                at(0.8, mouth_y + 0.35),
                at(0.35, mouth_y + 0.8),
                at(-0.35, mouth_y + 0.8),
                at(-0.8, mouth_y + 0.35),
            ],
            fill=colours[random.integers(3)],
        )
    elif kind == "scarf":
        red, green, blue = random.integers(20, 200, 3).tolist()
        top, bottom = mouth_y - 0.3, mouth_y + 1.3
        pen.polygon([at(-1.2, top), at(1.2, top), at(1.2, bottom), at(-1.2, bottom)], fill=(red, green, blue))
    elif kind == "hand":
        side = random.choice([-1, 1])
        x, y = round(middle[0]), round(middle[1])
        skin = pixels[y : y + round(apart), x - round(apart / 2) : x + round(apart / 2)].mean((0, 1))
        pen.polygon(
            [at(side * 0.08, -0.9), at(side * 1.2, -0.9), at(side * 1.2, 1.9), at(side * 0.08, 1.9)],
            fill=tuple(round(v) for v in skin.tolist()),
        )
    return np.asarray(image)


def look(pixels: UInt8Array, reference: Float32Array, person: str) -> tuple[Look, Face | None]:
    """The look of the subject, and its face."""
    pipeline = shipped()
    assert pipeline.locator is not None
    frame = Frame(
        pixels=np.array(pixels, order="C"), seq=0, captured_ns=1, captured_at=datetime.now(UTC), source="occlusion"
    )
    near = [(s.face.box.iou(MIDDLE), s) for s in pipeline.samples(frame) if s.face is not None and not s.faults]
    overlap, sample = max(near, key=lambda n: n[0], default=(0.0, None))
    if sample is None or sample.face is None or overlap == 0:
        return Look(person, -np.inf), None
    face, vector = sample.face, pipeline.encode(sample).vector
    plain, mirrored = (
        pipeline.encoder._model(np.ascontiguousarray(v)) for v in (sample.chip.pixels, sample.chip.pixels[:, ::-1])
    )
    length = float(np.linalg.norm(plain))
    seconds = [
        f for f in (pipeline.locator.confirm(frame, first) for first in pipeline.locator.find(frame)) if f is not None
    ]
    shift = (
        min(float(np.linalg.norm(f.landmarks[:4] - face.landmarks[:4], axis=1).max()) for f in seconds)
        / face.inter_eye_px
    )
    likeness = float(plain @ mirrored) / length / float(np.linalg.norm(mirrored))
    score = float(score_all(pipeline.encoder.card.comparator, reference[None], vector)[0])
    return Look(person, score, (face.hidden, likeness, length, face.detection_score, shift), vector), face


def measure(person: list[LabelledImage]) -> tuple[Look, list[list[Look]]]:
    """The look of the first image; and for each further image, one look for each of KINDS. None if the first is not usable."""
    zeros = np.zeros(shipped().encoder.card.dimension, np.float32)
    reference, _ = look(load_image(person[0].path).pixels, zeros, person[0].person)
    found = []
    for image in person[1:] if reference.vector is not None else []:
        pixels = load_image(image.path).pixels
        plain, face = look(pixels, reference.vector, image.person)
        if face is not None:
            random = np.random.default_rng(list(image.path.stem.encode()))
            found.append(
                [
                    plain,
                    *(look(draw(pixels, face, kind, random), reference.vector, image.person)[0] for kind in KINDS[1:]),
                ]
            )
    return reference, found


def print_rows(
    looks: Sequence[Sequence[Look]], names: NDArray[np.str_], vectors: Float32Array, threshold: float, moderate: float
) -> None:
    """One row for each kind of occlusion. names, vectors: the references. moderate: the threshold for FMR."""
    gate, comparator = shipped().gates.reference.max_hidden, shipped().encoder.card.comparator
    values = [np.array([r[k].measures for r in looks if r[k].measures]) for k in range(len(KINDS))]
    limits = [np.quantile(values[0][:, m], REFUSED if low else 1 - REFUSED) for m, low in enumerate(MEASURES.values())]
    for k, kind in enumerate(KINDS):
        seen = [r[k] for r in looks if r[k].measures]
        missed, interval = rate_over_people(
            np.array([s.score < threshold for s in seen]), np.unique([s.person for s in seen], return_inverse=True)[1]
        )
        detected = [
            np.mean(v < limit if low else v > limit)
            for v, limit, low in zip(values[k].T, limits, MEASURES.values(), strict=True)
        ]
        refused = 100 * np.mean(values[k][:, 0] > gate)
        others = [
            score_all(comparator, vectors[names != s.person], s.vector) >= moderate
            for s in seen
            if s.vector is not None
        ]
        owners = np.repeat(np.unique([s.person for s in seen], return_inverse=True)[1], [len(o) for o in others])
        false, around = rate_over_people(np.concatenate(others), owners)
        strangers = f"{1e3 * false:.2f} ({1e3 * around.low:.2f} to {1e3 * around.high:.2f})"
        print(
            f"{kind:16}{100 * len(seen) / len(looks):8.1f} %{percent(missed, interval):>26}{refused:8.1f} %{strangers:>24}   "
            + "; ".join(f"{100 * n:.0f} %" for n in detected)
        )


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--sets", default="4", help='such as "34"')
    options.add_argument("--people", type=int, help="quick run: so many people")
    options.add_argument("--workers", type=int, default=2)
    o = options.parse_args()
    own: dict[str, list[LabelledImage]] = {}
    for p in lfw_images(o.lfw, o.sets):
        own.setdefault(p.person, []).append(p)
    measured = in_processes(measure, [images[:3] for images in own.values()][: o.people], o.workers, "people")
    looks = [row for _, rows in measured for row in rows]
    references = [reference for reference, _ in measured if reference.vector is not None]
    names, vectors = (
        np.array([r.person for r in references]),
        np.stack([r.vector for r in references if r.vector is not None]),
    )
    rule = shipped_rule()
    threshold = rule(()).value
    moderate = Rule(target=Target(fmr=FMR), thresholds=rule.thresholds, cohort=rule.cohort)(()).value
    print(headline("Hidden parts of a face (benchmarks/occlusion.py)"))
    print(
        f"LFW set {o.sets}: {len({r[0].person for r in looks})} people, {len(looks)} images, threshold {threshold:.3f}, "
        f"encoder {shipped().encoder.encoder_id[:19]}\n"
    )
    print(
        f"detected: share of the acquired images, by measures that refuse {100 * REFUSED:g} % with nothing drawn: {'; '.join(MEASURES)}"
    )
    gate = shipped().gates.reference.max_hidden
    print(
        f"FMR: in 1e-3 (95 %), with the first images of {len(names)} people, at the threshold {moderate:.3f} for FMR {FMR:g}"
    )
    print(
        f"refused: share of the acquired images with a probability of a hidden landmark above {gate:g}, the enrollment gate\n"
    )
    print(f"{'drawn over it':16}{'acquired':>10}{'FNMR of those, % (95 %)':>26}{'refused':>10}{'FMR':>24}   detected")
    print_rows(looks, names, vectors, threshold, moderate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
