"""What to store of the frames of an enrollment (a burst): one frame, several templates, or a mean of frames.

    python benchmarks/burst.py --lfw DIR [--workers 2] > benchmarks/results/burst.txt      # --people 6: a quick look

LFW sets 1-4. For every person with at least two usable images, a script moves one image through ten frames of 640x480, and
the device's CaptureSession enrolls from them. If it finds no good frame, the person's next image is tried. What is stored
is compared with the person's other images, unchanged, and with the images of all other people. FNMR gives every person the
same weight, FMR every ordered pair of people. Thresholds come from the card, for the number of templates of each person.
Intervals are 95 %, by bootstrap over people; differences are paired.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from common import headline, in_processes, lfw_images, over_people, shipped, shipped_rule
from day import SIZE, Walk, open_image, render, smear
from PIL import Image

from edge_oneshot.cli.common import progress
from edge_oneshot.errors import EnrollmentError
from edge_oneshot.evaluation.comparisons import score_matrix
from edge_oneshot.evaluation.dataset import EncodedDataset, LabelledImage, encode_images
from edge_oneshot.evaluation.metrics import Ints, weighted_quantiles
from edge_oneshot.matching.compare import References, score_all
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.model.card import Comparator
from edge_oneshot.recognition.enrollment import BURST_FRAMES, BURST_NS, POOLED_FRAMES, CaptureSession, merit, pooled
from edge_oneshot.types import Float32Array, Float64Array, Frame, Identity

FMR, FPIR, ENROLLED = 1e-4, 0.01, 500
COLUMNS = (
    f"{'stored':34}{'each':>5}{'at':>7}{'FNMR, claimed FMR':>21}{'FMR':>10}{'difference':>23}"
    f"{f'FPIR {100 * FPIR:g} %, {ENROLLED} enrolled':>24}{'same measured FMR':>23}"
)
APART = 0.90  # a further template must score less than this with every stored one
NEAR = 1.6  # the 250 px of an LFW image are shown as 400 px
HALF_WIDTH, HALF_HEIGHT = 0.375, 0.45  # of a head, as shares of what `open_image` returns


@dataclass(frozen=True, slots=True)
class Motion:
    """The range of each motion to either side, drawn uniformly. noise: standard deviation in levels. people: None for all."""

    shift_px: float
    scale: float
    roll_deg: float
    yaw_deg: float
    light: float
    noise: float
    smear_px: int = 0
    dimmed_to: float = 1.0
    people: int | None = None


BURSTS = {
    "still": Motion(3, 0.01, 1, 1.5, 0.03, 2),
    "swaying": Motion(15, 0.06, 6, 10, 0.20, 4, smear_px=3),
    "dark, grainy": Motion(8, 0.03, 3, 5, 0, 14, dimmed_to=0.6, people=218),
}


@dataclass(frozen=True, slots=True)
class Burst:
    """good: vectors of the good frames (N, D), best first. stored: what the device stores (D,). source: the image used."""

    good: Float32Array
    stored: Float32Array
    source: int


def turn(image: Image.Image, yaw_deg: float) -> Image.Image:
    """Turn the head, modelled as an upright ellipsoid that is as deep as wide, about its vertical axis. The rest does not move."""
    pixels, yaw = np.asarray(image, np.float32), np.radians(yaw_deg)
    height, width = pixels.shape[:2]
    row, x = np.arange(height)[:, None], np.arange(width) - (width - 1) / 2
    squared = (HALF_WIDTH * width) ** 2 * (1 - ((row - (height - 1) / 2) / (HALF_HEIGHT * height)) ** 2) - x**2
    depth = np.sqrt(np.maximum(squared, 0))
    source = np.where(depth > 0, x * np.cos(yaw) - depth * np.sin(yaw), x) + (width - 1) / 2
    left = np.minimum(source.astype(np.intp), width - 2)
    part = (source - left).astype(np.float32)[..., None]
    return Image.fromarray(((1 - part) * pixels[row, left] + part * pixels[row, left + 1]).astype(np.uint8))


def move(path: Path, motion: Motion, rng: np.random.Generator) -> Walk:
    """BURST_FRAMES frames of a person who stands in the middle."""
    image = open_image(path)
    for _ in range(BURST_FRAMES):
        right, down, nearer, roll, yaw, brighter = rng.uniform(-1, 1, 6)
        scale = NEAR * (1 + motion.scale * nearer)
        size = (round(image.width * scale), round(image.height * scale))
        shown = (
            turn(image, motion.yaw_deg * yaw)
            .resize(size, Image.Resampling.BILINEAR)
            .rotate(motion.roll_deg * roll, Image.Resampling.BILINEAR, fillcolor=(96, 96, 96))
        )
        pixels = np.asarray(shown, np.float32) * motion.dimmed_to * (1 + motion.light * brighter)
        pixels = smear(pixels, int(rng.integers(0, motion.smear_px + 1)))
        middle = ((SIZE[0] - size[0]) / 2, (SIZE[1] - size[1]) / 2)
        corner = (round(middle[0] + motion.shift_px * right), round(middle[1] + motion.shift_px * down))
        yield Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), corner


def enroll(kind: str, person: Sequence[tuple[int, Path]]) -> Burst | None:
    """The burst from the first of a person's images (number, file) that can be enrolled; None if there is none."""
    pipeline = shipped()
    empty = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    for number, path in person:
        rng = np.random.default_rng(list(f"{kind} {path.stem}".encode()))
        subject = Identity(identity_id="subject", name="Subject")
        session = CaptureSession(
            pipeline, subject, empty, shipped_rule()(()).value, prompt_ns=0, timeout_s=BURST_NS / 1e9
        )
        done = None
        for i, pixels in enumerate(render([move(path, BURSTS[kind], rng)], rng, BURSTS[kind].noise), start=1):
            at_ns = i * BURST_NS // (BURST_FRAMES + 1)
            done = session.offer(
                Frame(pixels=pixels, seq=i, captured_ns=at_ns, captured_at=datetime.now(UTC), source=kind)
            )
        try:
            done = done or session.finish_if_due(BURST_NS)
        except EnrollmentError:
            continue
        assert done is not None
        good = sorted((sample for sample, _ in session._good), key=merit, reverse=True)
        return Burst(np.stack([pipeline.encode(s).vector for s in good]), done.template.embedding.vector, number)
    return None


def stored_variants(burst: Burst, comparator: Comparator, threshold: float) -> dict[str, Float32Array]:
    """What could be stored of a burst: vectors (templates, D) by description."""
    good, apart = burst.good, [0]
    for i in range(1, len(good)):
        if len(apart) < POOLED_FRAMES and score_all(comparator, good[apart], good[i]).max() < APART:
            apart.append(i)
    sure = good[score_all(comparator, good, good[0]) >= threshold]
    return {
        "the best frame": good[:1],
        f"{POOLED_FRAMES} templates, the best frames": good[:POOLED_FRAMES],
        f"the best and up to {POOLED_FRAMES - 1} below {APART:.2f}": good[apart],
        "the mean of all good frames": pooled(sure, "sha256:").vector[None],
        f"the mean of the {POOLED_FRAMES} best, as stored": burst.stored[None],
    }


def measure(bursts: list[Burst], vectors: Float32Array, people: Ints, rule: Rule, comparator: Comparator) -> list[str]:
    """One line for each variant. vectors: of all usable images. people: the identity number of each image."""
    sources = np.array([b.source for b in bursts])[:, None]
    own = people == people[sources]
    mated = own & (np.arange(len(people)) != sources)
    weight = np.where(own, 0.0, 1.0 / np.bincount(people)[people])
    weight /= weight.sum()
    gallery_rule = Rule(target=Target(fpir=FPIR), thresholds=rule.thresholds, cohort=rule.cohort)
    kept = [stored_variants(b, comparator, rule(()).value) for b in bursts]
    best: list[Float64Array] = []
    lines = [f"{mated.sum()} mated probes; {people.max()} other people for each person", COLUMNS]
    for variant in kept[0]:
        templates = [k[variant] for k in kept]
        counts = [len(t) for t in templates]
        score = np.maximum.reduceat(
            score_matrix(vectors, comparator, np.concatenate(templates)), np.cumsum([0, *counts[:-1]]), axis=0
        )
        thresholds = [
            rule(counts).value,
            gallery_rule(np.resize(counts, ENROLLED).tolist()).value,
            weighted_quantiles(score[~own], weight[~own], (1 - FMR,))[0],
        ]
        missed = [((score < t) & mated).sum(axis=1) / mated.sum(axis=1) for t in thresholds]
        line = f"{variant:34}{np.mean(counts):5.2f}{thresholds[0]:7.3f}{over_people(missed[0]):>21}"
        line += f"{weight[score >= thresholds[0]].sum():10.2e}"
        if best:
            line += "".join(
                f"{over_people(m - b, '+'):>{w}}" for m, b, w in zip(missed, best, (23, 24, 23), strict=True)
            )
        best = best or missed
        lines.append(line)
    return lines


def usable_images(images: list[LabelledImage], people: int | None, workers: int) -> EncodedDataset:
    """The images that were acquired. people: take so many people with several images, and ten times as many others."""
    if people is not None:
        several, names = ({image.person for image in images if image.number == n} for n in (2, 1))
        random = np.random.default_rng(0)
        names = {
            *random.choice(sorted(several), people, replace=False),
            *random.choice(sorted(names), 10 * people, replace=False),
        }
        images = [image for image in images if image.person in names]
    with progress(len(images), "encoding") as done:
        dataset = encode_images(images, shipped.__wrapped__, workers, done)
    used = dataset.acquired
    return replace(dataset, images=[images[i] for i in used], vectors=dataset.vectors[used], faults={}, qualities=())


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--people", type=int, help="quick run: so many people enrolled, and ten times as many others")
    options.add_argument("--workers", type=int, default=2)
    o = options.parse_args()
    dataset = usable_images(lfw_images(o.lfw, "1234"), o.people, o.workers)
    images, vectors, people = dataset.images, dataset.vectors, dataset.people
    persons = [
        [(int(n), images[int(n)].path) for n in np.flatnonzero(people == person)] for person in range(people.max() + 1)
    ]
    several = [persons[i] for i in np.random.default_rng(0).permutation(len(persons)) if len(persons[i]) > 1]
    comparator, rule = shipped().encoder.card.comparator, shipped_rule()
    text = [
        headline("What to store of an enrollment (benchmarks/burst.py)"),
        f"LFW sets 1-4: {len(images)} usable images, {len(persons)} people, encoder {dataset.encoder_id[:19]}",
        "FNMR, and its difference from that of the best frame, in per cent and percentage points (95 % interval): at the "
        f"card's threshold for FMR {FMR:g},",
        f"at that for FPIR {100 * FPIR:g} % with {ENROLLED} enrolled, and at the threshold where FMR {FMR:g} was measured",
    ]
    for kind, motion in BURSTS.items():
        chosen = several[: min(motion.people or len(several), o.people or len(several))]
        found = in_processes(partial(enroll, kind), chosen, o.workers, kind)
        bursts = [b for b in found if b is not None]
        text.append(
            f"\n{kind}: {len(bursts)} of {len(chosen)} people enrolled, {np.mean([len(b.good) for b in bursts]):.1f} good frames "
            f"of {BURST_FRAMES}"
        )
        text += measure(bursts, vectors, people, rule, comparator)
    print("\n".join(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
