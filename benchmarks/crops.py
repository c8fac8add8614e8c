"""FNMR of faces that the border of the image cuts off, by the share of the aligned face beyond the border.

    python benchmarks/crops.py --lfw DIR [--workers 2] > benchmarks/results/crops.txt      # --people 6: a quick look

150 people of LFW sets 1-4 with two usable images. The second is cut on each of four sides, so that 5 to 40 % of the aligned
face lies beyond the border. It then goes through the device's recognition path, with that gate open, and is compared with
the first image, which is not cut. The share is the one that the device measures after the cut. Every image is one trial;
intervals are 95 %, by bootstrap over people.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from common import headline, in_processes, lfw_images, percent, shipped, shipped_rule

from edge_oneshot.cameras.images import load_image
from edge_oneshot.evaluation.metrics import rate_over_people
from edge_oneshot.matching.compare import score_all
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Box, Frame, Sample, UInt8Array
from edge_oneshot.vision.align import undo

DEPTHS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)  # of the side of the aligned face
SHARES = (0.1, 0.2, 0.25, 0.3, 0.35, 1.0)  # the upper ends of the rows of the table
SPARE = 5  # more people are tried, since some have an image that is not usable
MIDDLE = Box(x0=75, y0=75, x1=175, y1=175)  # of an LFW image: the place of its subject


@dataclass(frozen=True, slots=True)
class Look:
    """score: with the person's first image. share: of the aligned face beyond the border. lost: why there is no score."""

    share: float = 0.0
    score: float = -np.inf
    lost: str = ""


def subject(pipeline: Pipeline, pixels: UInt8Array, place: Box) -> Sample | None:
    """The face with the largest overlap with a place; None if no face overlaps it."""
    frame = Frame(
        pixels=np.array(pixels, order="C"), seq=0, captured_ns=1, captured_at=datetime.now(UTC), source="crops"
    )
    near = [(s.face.box.iou(place), s) for s in pipeline.samples(frame) if s.face is not None]
    overlap, best = max(near, key=lambda n: n[0], default=(0.0, None))
    return best if overlap > 0 else None


def looks(paths: tuple[Path, Path]) -> list[Look] | None:
    """The second image uncut, then with all cuts; None if one of the two images is not usable."""
    pipeline = shipped(max_cropped=1.0)
    pixels = load_image(paths[1]).pixels
    first, second = (subject(pipeline, p, MIDDLE) for p in (load_image(paths[0]).pixels, pixels))
    if first is None or first.faults or second is None or second.faults:
        return None
    assert second.face is not None
    reference, comparator = pipeline.encode(first), pipeline.encoder.card.comparator

    def compare(sample: Sample | None) -> Look:
        if sample is None:
            return Look(lost="not found")
        if faults := {f.code for f in sample.faults}:
            return Look(lost="without an eye, nose or mouth" if "cropped" in faults else "refused by another gate")
        score = score_all(comparator, reference.vector[None], pipeline.encode(sample).vector)[0]
        return Look(share=sample.quality.cropped, score=float(score))

    height, width = pixels.shape[:2]
    chip = second.chip.pixels.shape[0]
    (x, y), (corner_x, corner_y) = undo(second.chip.transform, np.array([(chip / 2, chip / 2), (0.0, 0.0)])).tolist()
    side = np.hypot(corner_x - x, corner_y - y) * np.sqrt(2)  # of the aligned face, in the image
    box, found = second.face.box, [compare(second)]
    for depth in DEPTHS:
        reach = side * (0.5 - depth)
        left, top, right, bottom = (
            max(0, round(x - reach)),
            max(0, round(y - reach)),
            round(x + reach),
            round(y + reach),
        )
        for x0, y0, x1, y1 in (
            (left, 0, width, height),
            (0, top, width, height),
            (0, 0, right, height),
            (0, 0, width, bottom),
        ):
            place = Box(x0=box.x0 - x0, y0=box.y0 - y0, x1=box.x1 - x0, y1=box.y1 - y0)
            found.append(compare(subject(pipeline, pixels[y0:y1, x0:x1], place)))
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--people", type=int, default=150)
    options.add_argument("--workers", type=int, default=2)
    o = options.parse_args()
    path = {(p.person, p.number): p.path for p in lfw_images(o.lfw, "1234")}
    several = np.random.default_rng(0).permutation(sorted(person for person, number in path if number == 2)).tolist()
    tried = several[: o.people + SPARE]
    usable = [
        found
        for found in in_processes(looks, [(path[p, 1], path[p, 2]) for p in tried], o.workers, "people")
        if found is not None
    ]
    usable = usable[: o.people]
    people = np.repeat(np.arange(len(usable)), [len(found) for found in usable])
    share, score = (
        np.array([getattr(look, name) for found in usable for look in found]) for name in ("share", "score")
    )
    whole = np.concatenate([np.arange(len(found)) == 0 for found in usable])
    lost = Counter(look.lost for found in usable for look in found if look.lost)
    pipeline = shipped(max_cropped=1.0)
    threshold = shipped_rule()(()).value
    print(headline("Cropped by the border (benchmarks/crops.py)"))
    print(
        f"LFW sets 1-4: {len(usable)} people, {(~whole).sum()} cut images, of which "
        + (", ".join(f"{n} {why}" for why, n in lost.most_common()) or "none lost")
    )
    print(f"FNMR at threshold {threshold:.3f}, encoder {pipeline.encoder.encoder_id[:19]}\n")
    print(f"{'beyond the border':24}{'FNMR, % (95 %)':>22}{'images':>10}{'people':>8}")
    seen = np.isfinite(score)
    rows = {"0 (not cut)": whole}
    for i, high in enumerate(SHARES):
        rows[f"to {100 * high:.0f} %" if high < 1 else "more"] = seen & ~whole & (np.searchsorted(SHARES, share) == i)
    for name, use in rows.items():
        missed, interval = rate_over_people(score[use] < threshold, people[use])
        print(f"{name:24}{percent(missed, interval):>22}{use.sum():>10}{len(np.unique(people[use])):>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
