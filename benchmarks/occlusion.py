"""What a hidden part of a face costs, what the gate of enrollment refuses, and whether other measures would notice it.

    python benchmarks/occlusion.py --lfw DIR [--sets 4] [--workers 2] > benchmarks/results/occlusion.txt

Dark glasses, a mask, a scarf and a hand over one half are drawn onto pictures of people with two or more (at most two
pictures a person), which then go the device's way and are compared with the person's first picture as it is, and with
those of everybody else. Drawn, not worn: the shapes are flat and of one colour. A measure's limit is where it would refuse
1 % of the pictures with nothing drawn.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from common import headline, in_processes, lfw_pictures, percent, shipped
from crops import MIDDLE
from PIL import Image, ImageDraw

from edge_oneshot.cameras.images import load_image
from edge_oneshot.evaluation.dataset import Picture
from edge_oneshot.evaluation.identification import rate
from edge_oneshot.matching.compare import score_all
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.types import Face, Float32Array, Frame, UInt8Array

KINDS = ("nothing", "dark glasses", "mask", "scarf", "hand")
# name -> whether a low value is the suspicious one
MEASURES = {
    "probability of a hidden landmark": False,
    "likeness to its mirror image": True,
    "length of the raw embedding": True,
    "detection score": True,
    "shift from second look to landmark network": False,
}
REFUSED = 0.01
FMR = 1e-3  # so that strangers can be counted, at the card's threshold for it
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """person, and the score with their first picture; -inf: not acquired. measures: in the order of MEASURES. vector: (D,)."""

    person: str
    score: float
    measures: tuple[float, ...] = ()
    vector: Float32Array | None = None


def draw(pixels: UInt8Array, face: Face, kind: str, random: np.random.Generator) -> UInt8Array:
    """The picture with one thing drawn over the face. Lengths are inter-eye distances, along the eyes and across them."""
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
    """What is seen of the subject, and its face."""
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


def measure(person: list[Picture]) -> tuple[Look, list[list[Look]]]:
    """The first picture as it is; and for each further one a look with each of KINDS, none if the first is not usable."""
    zeros = np.zeros(shipped().encoder.card.dimension, np.float32)
    reference, _ = look(load_image(person[0].path).pixels, zeros, person[0].person)
    found = []
    for picture in person[1:] if reference.vector is not None else []:
        pixels = load_image(picture.path).pixels
        plain, face = look(pixels, reference.vector, picture.person)
        if face is not None:
            random = np.random.default_rng(list(picture.path.stem.encode()))
            found.append(
                [
                    plain,
                    *(
                        look(draw(pixels, face, kind, random), reference.vector, picture.person)[0]
                        for kind in KINDS[1:]
                    ),
                ]
            )
    return reference, found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--sets", default="4", help='such as "34"')
    options.add_argument("--people", type=int, help="a quick look: so many people")
    options.add_argument("--workers", type=int, default=2)
    o = options.parse_args()
    own: dict[str, list[Picture]] = {}
    for p in lfw_pictures(o.lfw, o.sets):
        own.setdefault(p.person, []).append(p)
    everybody = in_processes(measure, [pictures[:3] for pictures in own.values()][: o.people], o.workers, "people")
    looks = [row for _, rows in everybody for row in rows]
    references = [reference for reference, _ in everybody if reference.vector is not None]
    names, vectors = (
        np.array([r.person for r in references]),
        np.stack([r.vector for r in references if r.vector is not None]),
    )
    threshold, rule, comparator = shipped().threshold.value, shipped().rule, shipped().encoder.card.comparator
    moderate = Rule(target=Target(fmr=FMR), thresholds=rule.thresholds, cohort=rule.cohort)(()).value
    print(headline("Hidden parts of a face (benchmarks/occlusion.py)"))
    print(
        f"LFW set {o.sets}: {len({r[0].person for r in looks})} people, {len(looks)} pictures, threshold {threshold:.3f}, "
        f"encoder {shipped().encoder.encoder_id[:19]}\n"
    )
    print(
        f"noticed: share of the acquired, where a measure refuses {100 * REFUSED:g} % with nothing drawn, by {'; '.join(MEASURES)}"
    )
    gate = shipped().gates.max_hidden
    print(
        f"FMR: in 1e-3 (95 %), with the {len(names)} first pictures of others, at the threshold {moderate:.3f} for {FMR:g}"
    )
    print(
        f"refused: share of the acquired whose probability of a hidden landmark is above {gate:g}, as the gate of enrollment has it\n"
    )
    print(f"{'drawn over it':16}{'acquired':>10}{'FNMR of those, % (95 %)':>26}{'refused':>10}{'FMR':>24}   noticed")
    values = [np.array([r[k].measures for r in looks if r[k].measures]) for k in range(len(KINDS))]
    limits = [np.quantile(values[0][:, m], REFUSED if low else 1 - REFUSED) for m, low in enumerate(MEASURES.values())]
    for k, kind in enumerate(KINDS):
        seen = [r[k] for r in looks if r[k].measures]
        missed, interval = rate(
            np.array([s.score < threshold for s in seen]), np.unique([s.person for s in seen], return_inverse=True)[1]
        )
        noticed = [
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
        false, around = rate(np.concatenate(others), owners)
        strangers = f"{1e3 * false:.2f} ({1e3 * around.low:.2f} to {1e3 * around.high:.2f})"
        print(
            f"{kind:16}{100 * len(seen) / len(looks):8.1f} %{percent(missed, interval):>26}{refused:8.1f} %{strangers:>24}   "
            + "; ".join(f"{100 * n:.0f} %" for n in noticed)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
