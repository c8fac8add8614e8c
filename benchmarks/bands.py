"""Does a poor capture match strangers more often? False match rates with poor probes, and with probe and template both poor.

    python benchmarks/bands.py --images DIR --labels DIR/labels.csv [--people N] [--workers 2] > benchmarks/results/bands.txt

DIR/Name/Name_0001.jpg with labels of sex, age and group (`python -m training.face.utkface` arranges UTKFace so). The first
picture of each person is located and aligned by the device's recognition path, with every gate open. The aligned face is made
poor, and encoded as the daemon encodes it. It is compared with the aligned faces of all others of the same sex, age band and
group, as they are and as poor, at the default thresholds.
`rise`: how much higher the threshold would have to be for the rate of good probes.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from common import headline, in_processes, shipped, shipped_rule
from PIL import Image

from edge_oneshot.cameras.images import load_image
from edge_oneshot.evaluation.conditions import degrade
from edge_oneshot.evaluation.dataset import find_images, off_centre
from edge_oneshot.evaluation.discard import GATES_OPEN
from edge_oneshot.evaluation.labels import read_labels
from edge_oneshot.matching.threshold import Target
from edge_oneshot.types import BoolArray, Float32Array, UInt8Array
from edge_oneshot.vision.align import LUMA

FMRS = (1e-2, 1e-3, 1e-4)
Poor = Callable[[UInt8Array, np.random.Generator], UInt8Array]


def far(chip: UInt8Array, random: np.random.Generator, px: float) -> UInt8Array:
    """As if the eyes were `px` apart in the frame."""
    points = np.array([shipped().encoder.card.alignment[n] for n in ("image_left_eye", "image_right_eye")])
    size = max(8, round(len(chip) * px / float(np.linalg.norm(points[1] - points[0]))))
    small = Image.fromarray(chip).resize((size, size), Image.Resampling.BOX if size < 56 else Image.Resampling.BILINEAR)
    return np.asarray(small.resize(chip.shape[1::-1], Image.Resampling.BILINEAR))


def covered(chip: UInt8Array, random: np.random.Generator, box: tuple[int, int, int, int], colour: int) -> UInt8Array:
    """With a plain rectangle, (x0, y0, x1, y1) in per cent of the chip."""
    height, width = chip.shape[:2]
    x0, y0, x1, y1 = (round(v * n / 100) for v, n in zip(box, (width, height, width, height), strict=True))
    changed = chip.copy()
    changed[y0:y1, x0:x1] = colour
    return changed


POOR: dict[str, Poor] = {
    "as it is": lambda chip, _: chip,
    **{f"{px} px between the eyes": partial(far, px=px) for px in (24, 18, 14, 12, 10, 8)},
    **{
        f"brightness x {share:g}, noise 4": lambda chip, random, s=share: degrade.darken(chip, s, random)
        for share in (0.5, 0.25, 0.12)
    },
    "infrared-like grey, noise 6": lambda chip, random: degrade.infrared(chip, 6.0, random),
    "motion blur 5 px of the chip": lambda chip, _: degrade.move(chip, 5),
    "motion blur 9 px of the chip": lambda chip, _: degrade.move(chip, 9),
    "18 px, brightness x 0.25, noise 4": lambda chip, random: degrade.darken(far(chip, random, 18), 0.25, random),
    "24 px, JPEG quality 15": lambda chip, random: degrade.compress(far(chip, random, 24), 15),
    "nose and mouth covered": partial(covered, box=(7, 59, 93, 100), colour=180),
    "eyes covered": partial(covered, box=(18, 36, 82, 55), colour=25),
    "20 % cut off at the side": partial(covered, box=(0, 0, 20, 100), colour=0),
    "20 % cut off below": partial(covered, box=(0, 80, 100, 100), colour=0),
    "30 % cut off below": partial(covered, box=(0, 70, 100, 100), colour=0),
}


def encoded(path: Path) -> list[Float32Array] | None:
    """One embedding for each of POOR; None without a face."""
    pipeline, frame = shipped(**{k: getattr(GATES_OPEN, k) for k in GATES_OPEN.__slots__}), load_image(path)
    samples = pipeline.picture_samples(frame)
    if not samples:
        return None
    sample = min(samples, key=lambda s: off_centre(s, frame))
    found = []
    for name, poor in POOR.items():
        pixels = poor(sample.chip.pixels, np.random.default_rng(zlib.crc32(f"{path.name} {name}".encode())))
        quality = replace(sample.quality, luma=float((pixels @ LUMA).mean()))
        found.append(pipeline.encode(replace(sample, chip=replace(sample.chip, pixels=pixels), quality=quality)).vector)
    return found


def row(name: str, poor: Float32Array, good: Float32Array, pairs: BoolArray, thresholds: list[float]) -> str:
    probes, both = (poor @ good.T)[pairs], (poor @ poor.T)[pairs]
    base = np.sort((good @ good.T)[pairs])[::-1]
    ranked = np.sort(probes)[::-1]
    rises = [ranked[n] - base[n] for t in thresholds[:2] if (n := int((base >= t).sum())) < len(base)]
    rates = " ".join(f"{(scores >= t).mean():8.2e}" for scores in (probes, both) for t in thresholds)
    return f"{name:36s} {rates}  {' '.join(f'{r:+.3f}' for r in rises)}"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=Path, required=True)
    options.add_argument("--labels", type=Path, required=True)
    options.add_argument("--people", type=int, help="only N people, drawn by a fixed seed")
    options.add_argument("--workers", type=int, default=2)
    o = options.parse_args()
    images = find_images(o.images)
    matched = read_labels(o.labels, {i.person for i in images}).matched("sex", "age", "group")
    first = {i.person: i.path for i in reversed(images) if i.person in matched}
    people = sorted(first)
    if o.people is not None:
        people = sorted(np.random.default_rng(0).permutation(people)[: o.people].tolist())
    found = in_processes(encoded, [first[p] for p in people], o.workers, "encoding")
    people = [p for p, e in zip(people, found, strict=True) if e is not None]
    vectors = np.array([e for e in found if e is not None])
    key = np.array([" ".join(matched[p]) for p in people])
    pairs = key[:, None] == key
    np.fill_diagonal(pairs, False)
    rule = shipped_rule()
    thresholds = [replace(rule, target=Target(fmr=f))([1]).value for f in FMRS]
    print(headline("Poor captures and false matches (benchmarks/bands.py)"))
    print(
        f"{len(people)} people, {int(pairs.sum())} ordered pairs of the same sex, age band and group; thresholds",
        end=" ",
    )
    print(", ".join(f"{t:.3f} (claimed FMR {f:g})" for t, f in zip(thresholds, FMRS, strict=True)))
    print(f"{'':36s} {'poor probe, good template':26s} {'both poor':26s}  rise at the first two")
    for i, name in enumerate(POOR):
        print(row(name, vectors[:, i], vectors[:, 0], pairs, thresholds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
