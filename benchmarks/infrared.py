"""Enrolled by day, seen by infrared: recognized with a day template, an infrared one, and both (`enroll --add`).

    python benchmarks/infrared.py --lfw DIR [--sets 56] [--people N] > benchmarks/results/infrared.txt

Infrared is rendered (edge_oneshot/evaluation/conditions/degrade.py): grey, lit from the lens, noise of 6 grey levels, 43 px between the
eyes in a frame of 640x480. Each person has three pictures: the day template, the infrared template, and the probe, by day and
by infrared. Templates pass the gates for enrollment, probes those of recognition. Each probe is compared with all people.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from common import headline, in_processes, lfw_images, over_people, shipped, shipped_rule
from numpy.typing import NDArray

from edge_oneshot.cameras.images import load_image
from edge_oneshot.evaluation.conditions.catalogue import CONDITIONS
from edge_oneshot.evaluation.conditions.scene import Portrait
from edge_oneshot.evaluation.conditions.trials import subject_of
from edge_oneshot.evaluation.dataset import off_centre
from edge_oneshot.types import Float32Array, Frame, Sample, UInt8Array

DAY, INFRARED = CONDITIONS["eyes-43"], CONDITIONS["infrared"]


@dataclass(frozen=True, slots=True)
class Person:
    """Unit vectors; a probe is None if it was not found or refused."""

    name: str
    day: Float32Array
    infrared: Float32Array
    day_probe: Float32Array | None
    infrared_probe: Float32Array | None


def seen(portrait: Portrait, infrared: bool) -> Sample | None:
    """The person in a rendered frame."""
    scene, (pixels, *_) = (INFRARED if infrared else DAY).render(portrait)
    return subject_of(shipped().all_samples(frame(pixels)), scene)


def frame(pixels: UInt8Array) -> Frame:
    return Frame(
        pixels=np.array(pixels, order="C"), seq=0, captured_ns=1, captured_at=datetime.now(UTC), source="infrared"
    )


def measure(task: tuple[str, list[Path]]) -> Person | None:
    """None for a person without three pictures that show a face, two of which can be enrolled."""
    name, paths = task
    templates: list[Float32Array] = []
    for seed, path in enumerate(paths):
        picture = load_image(path)
        samples = [s for s in shipped().picture_samples(picture) if s.face is not None]
        if not samples:
            continue
        face = min(samples, key=lambda s: off_centre(s, picture)).face
        assert face is not None
        portrait = Portrait.of(picture.pixels, face, seed)
        if len(templates) < 2:
            sample = seen(portrait, infrared=len(templates) == 1)
            if sample is not None and not sample.reference_faults:
                templates.append(shipped().encode(sample).vector)
            continue
        probes = [seen(portrait, infrared) for infrared in (False, True)]
        vectors = [None if s is None or s.faults else shipped().encode(s).vector for s in probes]
        return Person(name, *templates, *vectors)
    return None


def report(people: list[Person]) -> None:
    rule = shipped_rule()
    day, infrared = np.stack([p.day for p in people]), np.stack([p.infrared for p in people])
    other = ~np.eye(len(people), dtype=bool)
    print(
        f"{len(people)} people, {other.sum()} comparisons with other people; FMR in 1e-4, recognized in % (95 % over people)\n"
    )
    print(f"{'probe':12}{'templates':20}{'threshold':>10}{'found':>8}{'recognized':>24}{'FMR':>8}{'false':>7}")
    for name, probes in (("by day", [p.day_probe for p in people]), ("infrared", [p.infrared_probe for p in people])):
        found = np.array([v is not None for v in probes])
        vectors = np.stack([np.zeros_like(day[0]) if v is None else v for v in probes])
        both = np.maximum(vectors @ day.T, vectors @ infrared.T)
        for label, scores, count in (
            ("day", vectors @ day.T, 1),
            ("infrared", vectors @ infrared.T, 1),
            ("day and infrared", both, 2),
        ):
            threshold = rule([count] * len(people)).value
            hits: NDArray[np.bool_] = scores >= threshold
            wrong = int((hits & other)[found].sum())
            rate = 1e4 * wrong / max(1, int(other[found].sum()))
            right = over_people((hits.diagonal() & found).astype(np.float64))
            print(f"{name:12}{label:20}{threshold:10.3f}{int(found.sum()):8}{right:>24}{rate:8.1f}{wrong:7}")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--sets", default="56", help='such as "34"')
    options.add_argument("--people", type=int, help="so many people with three pictures or more, drawn at random")
    options.add_argument("--workers", type=int, default=2)
    o = options.parse_args()
    own: dict[str, list[Path]] = {}
    for image in lfw_images(o.lfw, o.sets):
        own.setdefault(image.person, []).append(image.path)
    tasks = sorted((name, paths[:6]) for name, paths in own.items() if len(paths) >= 3)
    chosen = np.random.default_rng(0).permutation(len(tasks))[: o.people]
    found = in_processes(measure, [tasks[i] for i in chosen], o.workers, "people")
    print(headline("Day and infrared (benchmarks/infrared.py)"))
    print(
        f"LFW sets {o.sets}, encoder {shipped().encoder.encoder_id[:19]}: {len(found)} people with three pictures or more"
    )
    report([p for p in found if p is not None])
    return 0


if __name__ == "__main__":
    sys.exit(main())
