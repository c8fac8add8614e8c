"""What frames of one visit are worth together: visits made of different photographs of one person.

    python benchmarks/evidence.py --images DIR [--gallery 100 300] [--frames 5 8] [--draws 20]

DIR/Name/Name_0001.jpg. Half of the people with enough pictures are enrolled from one of them, others fill the gallery.
The rest are strangers. A visit shows `frames` other photographs of one person in random order: less alike than the frames
of any camera, so the worst case for a rule that takes many looks. The threshold is the one that gives an FPIR of 1 % for
single pictures of all strangers of that draw; every rule is held against it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from common import headline
from numpy.typing import NDArray

from edge_oneshot.cli.common import progress
from edge_oneshot.compose import build_pipeline
from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.evaluation.metrics import wilson
from edge_oneshot.evaluation.pictures import embed, find_pictures
from edge_oneshot.matching.evidence import MAX_VIEWS

Scores = NDArray[np.float32]
CLAIM, CONFIRM, CREDITS = 0.01, 3, (0.0, 0.15, 0.25, 0.35, 0.5)


def evidence(scores: Scores, likeness: Scores, threshold: float, credit: float) -> int | None:
    """The gallery's place that a visit is told as, or None. scores (frames, N); likeness (frames, frames) of the frames."""
    for n in range(CONFIRM, len(scores) + 1):
        mean = scores[:n].mean(axis=0)
        best = int(scores[n - 1].argmax())
        views = max(n * n / float(likeness[:n, :n].sum()), 1.0)
        views = views if views <= MAX_VIEWS else 1.0
        alone = scores[:n].argmax(axis=1)[scores[:n].max(axis=1) >= threshold]
        if mean[best] * views**credit >= threshold and 3 * int((alone == best).sum()) > 2 * len(alone):
            return best
    return None


def votes(scores: Scores, threshold: float) -> int | None:
    """Three of the last five frames that match the same identity."""
    alone = np.where(scores.max(axis=1) >= threshold, scores.argmax(axis=1), -1).tolist()
    for n in range(1, len(alone) + 1):
        window = [w for w in alone[max(0, n - 5) : n] if w >= 0]
        for who in set(window):
            if window.count(who) >= CONFIRM:
                return int(who)
    return None


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=Path, required=True)
    options.add_argument("--gallery", type=int, nargs="+", default=[100, 300])
    options.add_argument("--frames", type=int, nargs="+", default=[5, 8])
    options.add_argument("--draws", type=int, default=20)
    o = options.parse_args()
    pictures = find_pictures(o.images)
    with progress(len(pictures), "encoding") as done:
        embedded = embed(pictures, lambda: build_pipeline(Config(model=ModelConfig(threads=1))), 1, done)
    used = embedded.acquired
    vectors, who = embedded.vectors[used], np.array([pictures[i].person for i in used])
    print(headline("Evidence over time (benchmarks/evidence.py)"))
    for size in o.gallery:
        for frames in o.frames:
            measure(vectors, who, size, frames, o.draws)
    return 0


def measure(vectors: Scores, who: NDArray[np.str_], size: int, frames: int, draws: int) -> None:
    rules: dict[str, Callable[[Scores, Scores, float], int | None]] = {
        "first frame": lambda scores, likeness, threshold: int(scores[0].argmax()) if scores[0].max() >= threshold else None,
        "3 of 5 votes": lambda scores, likeness, threshold: votes(scores, threshold),
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
        threshold = float(np.quantile((vectors[~np.isin(who, enrolled)] @ gallery.T).max(axis=1), 1 - CLAIM, method="higher"))
        for person in many:
            shown = random.permutation(np.setdiff1d(np.flatnonzero(who == person), references))[:frames]
            scores, likeness = vectors[shown] @ gallery.T, vectors[shown] @ vectors[shown].T
            own = enrolled.index(person) if person in enrolled else None
            for name, rule in rules.items():
                told = rule(scores, likeness, threshold)
                if own is None:
                    positive[name].append(told is not None)
                else:
                    missed[name].append(told != own)
    print(f"\ngallery {size}, {frames} photographs a visit, {len(many)} people with enough, {draws} draws: "
          f"{len(positive['3 of 5 votes'])} visits of strangers, {len(missed['3 of 5 votes'])} of enrolled people")
    for name in rules:
        bounds = wilson(sum(positive[name]), len(positive[name]))
        print(f"  {name:22} FPIR a visit {100 * np.mean(positive[name]):5.2f} % ({100 * bounds.low:.2f} to {100 * bounds.high:.2f})   "
              f"FNIR {100 * np.mean(missed[name]):5.2f} %", flush=True)


if __name__ == "__main__":
    sys.exit(main())
