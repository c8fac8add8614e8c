"""Hidden parts of a face: what enrollment lets through, and what it costs, by rendered masks, glasses, hats and hands.

    python benchmarks/occlusion.py --lfw DIR [--sets 56] [--utkface DIR] [--skip N] [--people N] > benchmarks/results/occlusion.txt

One object of each kind is rendered onto a picture of each person (edge_oneshot/evaluation/occluders), in shapes and textures
that no training uses, and the result goes through the device's own path of a still picture. UTKFace: the part `report` of
training/face/utkface.py, people of 10 years and more. Pictures that show nothing rendered are the free faces, with all the
glasses, beards, hats and hands that they happen to show.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from common import headline, in_processes, lfw_images, shipped, shipped_rule
from numpy.typing import NDArray

from edge_oneshot.cameras.images import load_image
from edge_oneshot.evaluation.metrics import wilson
from edge_oneshot.evaluation.occluders import KINDS, occlude
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.types import Face, Float32Array, Frame, UInt8Array
from training.face import utkface
from training.landmarks.network import NAMES

FREE = "nothing"
FMR = 1e-3  # high enough to count false matches of strangers; at the card's threshold for it
OLDEST_CHILD = 9  # years: small children are refused for another reason


@dataclass(frozen=True, slots=True)
class Look:
    """outcome: "enrolled", "hidden", "other gate" or "not found" (no face, or several). hidden: -1 if not found."""

    person: str
    kind: str
    outcome: str
    hidden: float = -1.0
    vector: Float32Array | None = None


def look(pixels: UInt8Array, person: str, kind: str) -> tuple[Look, Face | None]:
    """What enrollment does with a picture."""
    pipeline = shipped()
    frame = Frame(
        pixels=np.array(pixels, order="C"), seq=0, captured_ns=1, captured_at=datetime.now(UTC), source="occlusion"
    )
    samples = pipeline.picture_samples(frame)
    if len(samples) != 1:
        return Look(person, kind, "not found"), None
    codes = {fault.code for fault in samples[0].reference_faults}
    outcome = "enrolled" if not codes else "hidden" if codes == {"hidden"} else "other gate"
    return Look(person, kind, outcome, samples[0].quality.hidden, pipeline.encode(samples[0]).vector), samples[0].face


def measure(task: tuple[Path, str, int]) -> list[Look]:
    """The looks of one picture: free, and under `count` of KINDS, chosen by its name. Only the first if it is not enrolled
    when free, unless it is for what is hidden."""
    path, person, count = task
    pixels = load_image(path).pixels
    free, face = look(pixels, person, FREE)
    if face is None or free.outcome == "other gate":
        return [free]
    marks, random = np.array([face.landmark(n) for n in NAMES]), np.random.default_rng(list(path.stem.encode()))
    chosen = random.choice(list(KINDS), min(count, len(KINDS)), replace=False)
    return [free, *(look(occlude(pixels, marks, k, random, held_out=True), person, k)[0] for k in chosen)]


def tasks(o: argparse.Namespace) -> list[tuple[Path, str, int]]:
    """First pictures of the people, in a fixed random order, without the first `skip`."""
    found = [(p.path, p.person) for p in lfw_images(o.lfw, o.sets) if p.number == 1]
    if o.utkface:
        for path in sorted(o.utkface.iterdir()):
            labels = utkface.labels_of(path.name)
            known = labels is not None and labels.age > OLDEST_CHILD and utkface.part_of(path.name) == o.part
            if known and utkface.digest(path.name) not in utkface.left_out():
                found.append((path, path.name))
    order = np.random.default_rng(0).permutation(len(found))[o.skip :][: o.people]
    return [(*found[i], o.kinds) for i in order]


def share(hits: int, count: int) -> str:
    """The share in percent with its 95 % interval."""
    interval = wilson(hits, count)
    return f"{100 * hits / count:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def false_matches(probes: Sequence[Look], names: NDArray[np.str_], references: Float32Array, threshold: float) -> str:
    """FMR in 1e-3 of probes with the references of other people."""
    if not len(references) or not probes:
        return "-"
    scores = np.stack([p.vector for p in probes if p.vector is not None]) @ references.T
    other = np.array([p.person for p in probes if p.vector is not None])[:, None] != names
    return f"{1e3 * float((scores[other] >= threshold).mean()):.2f}" if other.any() else "-"


def table(looks: Sequence[Look], threshold: float) -> list[str]:
    """One row for each kind."""
    free = [s for s in looks if s.kind == FREE and s.outcome == "enrolled" and s.vector is not None]
    names = np.array([s.person for s in free])
    clean = np.stack([s.vector for s in free if s.vector is not None])
    rows = []
    for kind in (FREE, *KINDS):
        own = [s for s in looks if s.kind == kind]
        found = [s for s in own if s.vector is not None]
        worn = np.array([s.person for s in found]), np.stack([s.vector for s in found if s.vector is not None])
        counts = [sum(s.outcome == o for s in own) for o in ("not found", "other gate", "hidden", "enrolled")]
        missing, other, hidden, enrolled = counts
        ready = hidden + enrolled
        shown = share(hidden, ready) if kind == FREE else share(enrolled, len(own))
        rows.append(
            f"{kind:15}{len(own):7}{missing:11}{other:12}{hidden:8}{enrolled:10}{shown:>24}"
            f"{false_matches(found, names, clean, threshold):>9}{false_matches(found, *worn, threshold):>9}"
        )
    return rows


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--sets", default="56", help='such as "34"')
    options.add_argument("--utkface", type=Path, help="folder with the pictures of UTKFace")
    options.add_argument("--part", default="report", choices=utkface.PARTS[1:], help="of UTKFace")
    options.add_argument("--people", type=int, help="so many people, drawn at random")
    options.add_argument(
        "--skip", type=int, default=0, help="leave out the first N people of the order: those seen before"
    )
    options.add_argument("--kinds", type=int, default=3, help="kinds rendered onto each picture; 0: free faces only")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--scores", type=Path, help="write the measures as JSON, one line a look")
    o = options.parse_args()
    rows: list[list[Look]] = in_processes(measure, tasks(o), o.workers, "people")
    looks = [s for row in rows for s in row]
    if o.scores:
        lines = (json.dumps([s.person, s.kind, s.outcome, round(s.hidden, 5)]) for s in looks)
        o.scores.write_text("\n".join(lines) + "\n")
    rule = shipped_rule()
    moderate = Rule(target=Target(fmr=FMR), thresholds=rule.thresholds, cohort=rule.cohort)(())
    gate = shipped().gates.reference.max_hidden
    print(headline("Hidden parts of a face (benchmarks/occlusion.py)"))
    print(
        f"LFW sets {o.sets}{f' and UTKFace {o.part}' if o.utkface else ''}: {len({s.person for s in looks})} people; "
        f"limit of `hidden` {gate:g}; encoder {shipped().encoder.encoder_id[:19]}\n\n"
        "share: of the free faces that pass the other gates, those refused as hidden; of the covered, those enrolled; % (95 %)\n"
        f"FMR in 1e-3 at the threshold {moderate.value:.3f} ({moderate.rate.words}): with the templates\n"
        "of free faces, and with those of faces covered by the same kind, as if no gate refused them\n"
    )
    print(
        f"{'rendered':15}{'people':>7}{'not found':>11}{'other gate':>12}{'hidden':>8}{'enrolled':>10}{'share':>24}{'FMR':>9}{'covered':>9}"
    )
    print("\n".join(table(looks, moderate.value)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
