"""Error rates of decisions on several frames of one visit; the visits consist of different photographs of one person.

    python benchmarks/evidence.py --images DIR [--gallery 100 300] [--frames 5 8] [--draws 20]

DIR/Name/Name_0001.jpg. Half of the people with enough images are enrolled from one of them; other people fill the gallery.
The rest are strangers. A visit shows `frames` other photographs of one person in random order. These differ more than the
frames of any camera, so they are the worst case for a rule that combines many frames. The threshold gives an FPIR of 1 % for
single images of all strangers of that draw; all rules use it. The evidence rule is the daemon's own, with the limits of the
default configuration; credits other than the default are for comparison.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from common import headline, shipped
from numpy.typing import NDArray

from edge_oneshot.cli.common import progress
from edge_oneshot.config import DecisionConfig
from edge_oneshot.evaluation.dataset import encode_images, find_images
from edge_oneshot.evaluation.metrics import wilson
from edge_oneshot.matching.evidence import CREDIT, Evidence
from edge_oneshot.types import Candidate, Chip, Decision, DecisionKind, Embedding, Observation, Quality, Sample

Vectors = NDArray[np.float32]
CLAIM, CREDITS = 0.01, sorted({0.0, 0.15, 0.35, 0.5, CREDIT})
SHIPPED = DecisionConfig()
# Evidence uses embeddings and decisions only.
SAMPLE = Sample(
    face=None,
    chip=Chip(pixels=np.zeros((1, 1, 3), np.uint8), transform=np.eye(2, 3)),
    quality=Quality(inter_eye_px=0, sharpness=0, luma=0, contrast=0, yaw_deg=0),
)


@dataclass(frozen=True, slots=True)
class Visit:
    """frames: unit vectors (frames, D). gallery: (N, D), one for each person. A rule returns a place in the gallery, or None."""

    frames: Vectors
    gallery: Vectors
    threshold: float

    def scores(self) -> Vectors:
        """(frames, N)"""
        return self.frames @ self.gallery.T

    def singly(self) -> list[int | None]:
        """The match of each frame alone."""
        return [int(s.argmax()) if s.max() >= self.threshold else None for s in self.scores()]

    def observations(self) -> list[Observation]:
        """The frames as the pipeline passes them to a track."""
        found = []
        for vector, scores in zip(self.frames, self.scores(), strict=True):
            best = Candidate(identity_id=str(scores.argmax()), score=float(scores.max()))
            kind = DecisionKind.MATCH if best.score >= self.threshold else DecisionKind.NON_MATCH
            decision = Decision(kind=kind, threshold=self.threshold, target_fmr=None, candidate=best)
            found.append(
                Observation(sample=SAMPLE, embedding=Embedding(vector=vector, encoder_id="sha256:"), decision=decision)
            )
        return found

    def score(self, identity_id: str, probe: Embedding) -> float:
        return float(self.gallery[int(identity_id)] @ probe.vector)


def evidence(visit: Visit, credit: float = CREDIT) -> int | None:
    together = Evidence(SHIPPED.window_frames, visit.score, unit=True, credit=credit)
    for observation in visit.observations():
        together.add(observation)
        identity_id = together.judge(SHIPPED.confirm_frames).identity_id
        if identity_id is not None:
            return int(identity_id)
    return None


def votes(visit: Visit) -> int | None:
    """Three of the last five frames match the same identity: the former rule."""
    alone = visit.singly()
    for n in range(1, len(alone) + 1):
        window = alone[max(0, n - 5) : n]
        for who in window:
            if who is not None and window.count(who) >= 3:
                return who
    return None


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=Path, required=True)
    options.add_argument("--gallery", type=int, nargs="+", default=[100, 300])
    options.add_argument("--frames", type=int, nargs="+", default=[5, 8])
    options.add_argument("--draws", type=int, default=20)
    o = options.parse_args()
    images = find_images(o.images)
    with progress(len(images), "encoding") as done:
        dataset = encode_images(images, shipped.__wrapped__, 1, done)
    used = dataset.acquired
    vectors, who = dataset.vectors[used], np.array([images[i].person for i in used])
    print(headline("Evidence over time (benchmarks/evidence.py)"))
    for size in o.gallery:
        for frames in o.frames:
            measure(vectors, who, size, frames, o.draws)
    return 0


def measure(vectors: Vectors, who: NDArray[np.str_], size: int, frames: int, draws: int) -> None:
    rules: dict[str, Callable[[Visit], int | None]] = {
        "first frame": lambda visit: visit.singly()[0],
        "3 of 5 votes": votes,
        **{f"evidence, credit {credit}": partial(evidence, credit=credit) for credit in CREDITS},
    }
    positive: dict[str, list[bool]] = {r: [] for r in rules}
    missed: dict[str, list[bool]] = {r: [] for r in rules}
    names, counts = np.unique(who, return_counts=True)
    many = names[counts > frames]
    for seed in range(draws):
        random = np.random.default_rng(seed)
        enrolled = list(random.permutation(many)[: len(many) // 2])
        fill = random.permutation(names[counts <= frames])
        enrolled += list(fill[: size - len(enrolled)])
        references = np.array([random.choice(np.flatnonzero(who == p)) for p in enrolled])
        gallery = vectors[references]
        threshold = float(
            np.quantile((vectors[~np.isin(who, enrolled)] @ gallery.T).max(axis=1), 1 - CLAIM, method="higher")
        )
        for person in many:
            shown = random.permutation(np.setdiff1d(np.flatnonzero(who == person), references))[:frames]
            visit = Visit(vectors[shown], gallery, threshold)
            own = enrolled.index(person) if person in enrolled else None
            for name, rule in rules.items():
                found = rule(visit)
                if own is None:
                    positive[name].append(found is not None)
                else:
                    missed[name].append(found != own)
    print(
        f"\ngallery {size}, {frames} photographs per visit, {len(many)} people with enough images, {draws} draws: "
        f"{len(positive['3 of 5 votes'])} visits of strangers, {len(missed['3 of 5 votes'])} of enrolled people"
    )
    for name in rules:
        bounds = wilson(sum(positive[name]), len(positive[name]))
        print(
            f"  {name:22} FPIR per visit {100 * np.mean(positive[name]):5.2f} % ({100 * bounds.low:.2f} to {100 * bounds.high:.2f})   "
            f"FNIR {100 * np.mean(missed[name]):5.2f} %",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
