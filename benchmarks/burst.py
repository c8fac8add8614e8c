"""What to keep of an enrollment's burst: one frame, several templates, or a mean of frames.

    python benchmarks/burst.py --lfw DIR [--workers 2] > benchmarks/results/burst.txt      # --people 6: a quick look

LFW sets 1-4. One picture of everybody who has two usable ones or more is moved by script into ten frames of 640x480, which
the device's own CaptureSession takes; if it finds no good frame, the person's next picture is tried. What is kept of the
good frames is compared with the person's other pictures as they are, and with the pictures of everybody else. FNMR weighs
every person alike, FMR every ordered pair of people. Thresholds come from the card, for as many templates as each person
has. Intervals are 95 %, people drawn again; differences are paired.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from common import headline, in_processes, lfw_pictures, over_people, shipped
from day import SIZE, Walk, film, picture, smear
from PIL import Image

from edge_oneshot.cli.common import progress
from edge_oneshot.errors import EnrollmentError
from edge_oneshot.evaluation.cohort import rows, weighted_quantiles
from edge_oneshot.evaluation.comparisons import identity_numbers
from edge_oneshot.evaluation.dataset import embed
from edge_oneshot.evaluation.metrics import Ints
from edge_oneshot.matching.compare import References, score_all
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.model.card import Comparator
from edge_oneshot.recognition.enrollment import BURST_FRAMES, BURST_NS, POOLED_FRAMES, CaptureSession, _merit, pooled
from edge_oneshot.types import Float32Array, Float64Array, Frame, Identity

FMR, FPIR, ENROLLED = 1e-4, 0.01, 500
COLUMNS = (
    f"{'kept of it':34}{'each':>5}{'at':>7}{'FNMR, claimed FMR':>21}{'FMR':>10}{'difference':>23}"
    f"{f'FPIR {100 * FPIR:g} %, {ENROLLED} enrolled':>24}{'same measured FMR':>23}"
)
APART = 0.90  # a further template must score less with every one that is kept
NEAR = 1.6  # the 250 px of an LFW picture are shown as 400
HALF_WIDTH, HALF_HEIGHT = 0.375, 0.45  # of a head, as shares of what `picture` shows


@dataclass(frozen=True, slots=True)
class Motion:
    """How far a frame may lie to either side, drawn evenly; noise: standard deviation, levels; people: so many, None: everybody."""

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
    """Good frames, best first, as vectors (N, D); what the device stores (D,); which of the usable pictures was moved."""

    good: Float32Array
    stored: Float32Array
    source: int


def turn(image: Image.Image, yaw_deg: float) -> Image.Image:
    """The head as an upright ellipsoid, as deep as wide, that turns about its own axis; around it nothing moves."""
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
    """BURST_FRAMES long: somebody who stands in the middle."""
    image = picture(path)
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
    """The burst of the first of a person's pictures (its number, its file) that gives one; None: of none."""
    pipeline = shipped()
    nobody = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    for number, path in person:
        rng = np.random.default_rng(list(f"{kind} {path.stem}".encode()))
        session = CaptureSession(
            pipeline, Identity(identity_id="somebody", name="Somebody"), nobody, prompt_ns=0, timeout_s=BURST_NS / 1e9
        )
        done = None
        for i, pixels in enumerate(film([move(path, BURSTS[kind], rng)], rng, BURSTS[kind].noise), start=1):
            at_ns = i * BURST_NS // (BURST_FRAMES + 1)
            done = session.offer(
                Frame(pixels=pixels, seq=i, captured_ns=at_ns, captured_at=datetime.now(UTC), source=kind)
            )
        try:
            done = done or session.finish_if_due(BURST_NS)
        except EnrollmentError:
            continue
        assert done is not None
        good = sorted((sample for sample, _ in session._good), key=_merit, reverse=True)
        return Burst(np.stack([pipeline.encode(s).vector for s in good]), done.template.embedding.vector, number)
    return None


def ways(burst: Burst, comparator: Comparator, threshold: float) -> dict[str, Float32Array]:
    """What may be kept of a burst, as vectors (templates, D)."""
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
    """A line for each way. vectors: of all usable pictures; people: whose they are."""
    sources = np.array([b.source for b in bursts])[:, None]
    own = people == people[sources]
    mated = own & (np.arange(len(people)) != sources)
    weight = np.where(own, 0.0, 1.0 / np.bincount(people)[people])
    weight /= weight.sum()
    gallery_rule = Rule(target=Target(fpir=FPIR), thresholds=rule.thresholds, cohort=rule.cohort)
    kept = [ways(b, comparator, rule(()).value) for b in bursts]
    best: list[Float64Array] = []
    lines = [f"{mated.sum()} mated probes; {people.max()} others for each person", COLUMNS]
    for way in kept[0]:
        templates = [k[way] for k in kept]
        counts = [len(t) for t in templates]
        score = np.maximum.reduceat(
            rows(vectors, comparator, np.concatenate(templates)), np.cumsum([0, *counts[:-1]]), axis=0
        )
        thresholds = [
            rule(counts).value,
            gallery_rule(np.resize(counts, ENROLLED).tolist()).value,
            weighted_quantiles(score[~own], weight[~own], (1 - FMR,))[0],
        ]
        missed = [((score < t) & mated).sum(axis=1) / mated.sum(axis=1) for t in thresholds]
        line = f"{way:34}{np.mean(counts):5.2f}{thresholds[0]:7.3f}{over_people(missed[0]):>21}"
        line += f"{weight[score >= thresholds[0]].sum():10.2e}"
        if best:
            line += "".join(
                f"{over_people(m - b, '+'):>{w}}" for m, b, w in zip(missed, best, (23, 24, 23), strict=True)
            )
        best = best or missed
        lines.append(line)
    return lines


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--people", type=int, help="a quick look: so many enrolled, and ten times as many others")
    options.add_argument("--workers", type=int, default=2)
    o = options.parse_args()
    pictures = lfw_pictures(o.lfw, "1234")
    if o.people is not None:
        several, names = ({p.person for p in pictures if p.number == n} for n in (2, 1))
        random = np.random.default_rng(0)
        names = {
            *random.choice(sorted(several), o.people, replace=False),
            *random.choice(sorted(names), 10 * o.people, replace=False),
        }
        pictures = [p for p in pictures if p.person in names]
    with progress(len(pictures), "encoding") as done:
        embedded = embed(pictures, shipped.__wrapped__, o.workers, done)
    used = embedded.acquired
    vectors, people = embedded.vectors[used], identity_numbers([pictures[i] for i in used])
    persons = [
        [(int(n), pictures[used[n]].path) for n in np.flatnonzero(people == person)]
        for person in range(people.max() + 1)
    ]
    several = [persons[i] for i in np.random.default_rng(0).permutation(len(persons)) if len(persons[i]) > 1]
    comparator, rule = shipped().encoder.card.comparator, shipped().rule
    text = [
        headline("What is kept of a burst (benchmarks/burst.py)"),
        f"LFW sets 1-4: {len(used)} of {len(pictures)} pictures usable, {len(persons)} people, encoder {embedded.encoder_id[:19]}",
        "FNMR and its differences against the best frame in percent and points (95 %): at the card's threshold for FMR "
        f"{FMR:g},",
        f"at that for FPIR {100 * FPIR:g} % with {ENROLLED} enrolled, and at the threshold where FMR {FMR:g} was measured",
    ]
    for kind, motion in BURSTS.items():
        asked = several[: min(motion.people or len(several), o.people or len(several))]
        found = in_processes(partial(enroll, kind), asked, o.workers, kind)
        bursts = [b for b in found if b is not None]
        text.append(
            f"\n{kind}: {len(bursts)} of {len(asked)} people enrolled, {np.mean([len(b.good) for b in bursts]):.1f} good frames "
            f"of {BURST_FRAMES}"
        )
        text += measure(bursts, vectors, people, rule, comparator)
    print("\n".join(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
