"""How often a stranger who stays matches an enrolled person: FPIR per visit by the number of different views.

    python benchmarks/stay.py --lfw DIR --utkface DIR [--sets 56] [--part report] [--keep FILE] > benchmarks/results/stay.txt

Few people have dozens of photographs, so visits of adults of UTKFace, who have one picture each, are drawn from a model:
embedding = person + view (Prince and Elder 2007, "Probabilistic linear discriminant analysis", with full covariances). A person is
drawn from the posterior, given the picture; each view is the deviation of a photograph of some person of LFW from that person's mean.
`--check` compares visits of the model with real ones of LFW. Galleries and strangers are of one sex and labelled group; the
threshold gives an FPIR of CLAIM for one view of the same strangers. Rules are the daemon's own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import headline, in_processes, lfw_images, shipped
from evidence import Visit
from numpy.typing import NDArray

from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import DecisionConfig
from edge_oneshot.evaluation.dataset import off_centre
from edge_oneshot.matching.evidence import RAISE, Evidence
from edge_oneshot.types import Float64Array
from training.face import utkface

Vectors = NDArray[np.float32]
Random = np.random.Generator
CLAIM, CONFIG = 0.01, DecisionConfig()
VIEWS = (3, 10, 20, 40, 80, 160)
MIN_AGE, MIN_PICTURES, MOST_PICTURES = 16, 4, 20
SMALLEST = 100  # of a pool
STRANGERS, ENROLLED = 150, 40  # of each draw


def encode(path: Path) -> Vectors | None:
    """The embedding of the face in the middle of a picture, float32 (D,)."""
    frame = load_image(path)
    samples = [s for s in shipped().picture_samples(frame) if not s.faults]
    return shipped().encode(min(samples, key=lambda s: off_centre(s, frame))).vector if samples else None


def embeddings(paths: list[Path], keep: Path | None, workers: int) -> dict[str, Vectors]:
    """File name -> embedding. keep: a file of an earlier run, or the one to write; it holds biometric data."""
    if keep is None or not keep.exists():
        found = in_processes(encode, paths, workers, "encoding")
        own = {p.name: v for p, v in zip(paths, found, strict=True) if v is not None}
        if keep is not None:
            np.savez(keep, names=list(own), vectors=np.stack(list(own.values())))
        return own
    with np.load(keep) as data:
        return dict(zip(data["names"].tolist(), data["vectors"], strict=True))


Match = tuple[int, int] | None  # (frames until the match is reported, place in the gallery)


class Model:
    """people: (N, D), one picture of each. views: (K, D), deviations of photographs from the mean of their person."""

    def __init__(self, people: Vectors, views: Vectors) -> None:
        self._mean, self._views = people.mean(axis=0), views
        within = views.T @ views / len(views)
        centred = people - self._mean
        values, vectors = np.linalg.eigh(centred.T @ centred / len(people) - within)
        between = (vectors * np.maximum(values, 1e-6)) @ vectors.T
        self._gain = between @ np.linalg.inv(between + within)
        values, vectors = np.linalg.eigh(between - self._gain @ between)
        self._spread = vectors * np.sqrt(np.maximum(values, 0))

    def visit(self, picture: Vectors, count: int, random: Random) -> Vectors:
        """So many views of the person of a picture, unit float32 (count, D)."""
        person = self._mean + self._gain @ (picture - self._mean) + self._spread @ random.standard_normal(len(picture))
        views = person + self._views[random.integers(0, len(self._views), count)]
        found: Vectors = (views / np.linalg.norm(views, axis=1, keepdims=True)).astype(np.float32)
        return found


def deviations(people: dict[str, list[Vectors]], random: Random) -> Vectors:
    """(K, D), of the people with MIN_PICTURES or more; as many as independent draws would have."""
    found = []
    for pictures in people.values():
        if len(pictures) >= MIN_PICTURES:
            chosen = np.stack(pictures)[random.permutation(len(pictures))[:MOST_PICTURES]]
            found.append((chosen - chosen.mean(axis=0)) * np.sqrt(len(chosen) / (len(chosen) - 1)))
    return np.concatenate(found)


def matched_at(visit: Visit, rise: float) -> Match:
    if visit.scores().max() < visit.threshold:
        return None
    evidence = Evidence(CONFIG.window_frames, visit.score, unit=True, rise=rise)
    for number, observation in enumerate(visit.observations(), 1):
        evidence.add(observation)
        if (who := evidence.judge(CONFIG.confirm_frames).identity_id) is not None:
            return number, int(who)
    return None


def threshold_of(visits: list[Vectors], gallery: Vectors) -> float:
    """The score that a share of CLAIM of all views reaches; each visit has the same weight."""
    best = [(v @ gallery.T).max(axis=1) for v in visits]
    weight = np.concatenate([np.full(len(b), 1 / len(b) / len(best)) for b in best])
    scores = np.concatenate(best)
    order = np.argsort(-scores)
    return float(scores[order][np.searchsorted(np.cumsum(weight[order]), CLAIM)])


class Rates:
    """(rise, number of views) -> person -> whether it happened, draw by draw."""

    def __init__(self) -> None:
        self._seen: dict[tuple[float, int], dict[str, list[bool]]] = {}

    def add(
        self, rise: float, person: str, found: Match, own: int | None = None, views: tuple[int, ...] = VIEWS
    ) -> None:
        """own: count misses of this place in the gallery; None: count matches."""
        for count in views:
            matched = found is not None and found[0] <= count and own in (None, found[1])
            self._seen.setdefault((rise, count), {}).setdefault(person, []).append(matched == (own is None))

    def show(self, label: str) -> None:
        """One line for each rise: the mean over people in %, with the interval, by the number of views."""
        for rise in sorted({rise for rise, _ in self._seen}):
            cells = []
            for (own, count), people in self._seen.items():
                if own == rise:
                    rate = np.array([np.mean(happened) for happened in people.values()], dtype=np.float64)
                    cells.append(f"{count}: {fine(rate)}")
            print(
                f"{label}, rise {rise:g}, {len(next(iter(self._seen.values())))} people: {'  '.join(cells)}", flush=True
            )


def fine(rates: Float64Array) -> str:
    """The mean of one rate for each person in %, with its 95 % interval by bootstrap over people."""
    draws = np.random.default_rng(0).multinomial(len(rates), np.full(len(rates), 1 / len(rates)), size=1000)
    low, high = np.percentile(draws @ rates / len(rates), [2.5, 97.5])
    return f"{100 * rates.mean():.2f} ({100 * low:.2f} to {100 * high:.2f})"


def pools(names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The adults of UTKFace by sex and group, without the group of few."""
    own: dict[str, list[str]] = {}
    for name in names:
        labels = utkface.labels_of(name)
        if labels is not None and labels.group != "other":
            own.setdefault(f"{labels.group} {labels.sex}", []).append(name)
    yield from sorted(own.items())


def stay(model: Model, adults: dict[str, Vectors], draws: int) -> None:
    """Strangers and enrolled people of one sex and group; visits of the model."""
    strangers, missed = Rates(), Rates()
    for number, (_, pool) in enumerate(pools(list(adults))):
        if len(pool) < SMALLEST:
            continue
        size = 100 if len(pool) >= 250 else 50
        for draw in range(draws):
            random = np.random.default_rng([draw, number])
            order = [pool[i] for i in random.permutation(len(pool))]
            gallery = np.stack([adults[name] for name in order[:size]])
            seen = {n: model.visit(adults[n], VIEWS[-1], random) for n in order[size : size + STRANGERS]}
            known = {n: model.visit(adults[n], VIEWS[-1], random) for n in order[:ENROLLED]}
            threshold = threshold_of(list(seen.values()), gallery)
            for rise in (0.0, RAISE):
                for name, views in seen.items():
                    found = matched_at(Visit(views, gallery, threshold), rise)
                    strangers.add(rise, name, found)
                for place, (name, views) in enumerate(known.items()):
                    found = matched_at(Visit(views, gallery, threshold), rise)
                    missed.add(rise, name, found, place)
    strangers.show("FPIR per visit in %, by views")
    missed.show("FNIR per visit in %, by views")


def check(model: Model, people: dict[str, list[Vectors]], draws: int) -> None:
    """The model against real visits: strangers of LFW with enough photographs, galleries of 100 people of LFW."""
    for least, views in ((5, (3, 5)), (10, (3, 5, 10)), (20, (3, 5, 10, 20))):
        real, drawn = Rates(), Rates()
        for draw in range(draws):
            random = np.random.default_rng([draw, least])
            enrolled = set(random.permutation(list(people))[:100])
            gallery = np.stack([people[name][int(random.integers(len(people[name])))] for name in sorted(enrolled)])
            own = {n: np.stack(p) for n, p in people.items() if len(p) >= least and n not in enrolled}
            shown = {n: p[random.permutation(len(p))[: views[-1]]] for n, p in own.items()}
            made = {n: model.visit(p[int(random.integers(len(p)))], views[-1], random) for n, p in own.items()}
            for rates, visits in ((real, shown), (drawn, made)):
                threshold = threshold_of(list(visits.values()), gallery)
                for name, seen in visits.items():
                    found = matched_at(Visit(seen, gallery, threshold), 0.0)
                    rates.add(0.0, name, found, views=views)
        real.show(f"real photographs, {least} or more")
        drawn.show(f"the model, {least} or more")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--utkface", type=Path, required=True, help="folder with the pictures of UTKFace")
    options.add_argument("--sets", default="56", help="of LFW, for the views")
    options.add_argument("--part", default="report", choices=utkface.PARTS[1:], help="of UTKFace")
    options.add_argument("--people", type=int, help="so many of UTKFace")
    options.add_argument("--draws", type=int, default=6, help="of a gallery, in each group")
    options.add_argument("--check", action="store_true", help="compare the model with real visits instead")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--keep", type=Path, help="keep the embeddings in this .npz file, and use them if it exists")
    o = options.parse_args()
    photographs = [image.path for image in lfw_images(o.lfw, o.sets)]
    adults = [p for p in sorted(o.utkface.iterdir()) if wanted(p.name, o.part)][: o.people]
    found = embeddings([*photographs, *adults], o.keep, o.workers)
    people: dict[str, list[Vectors]] = {}
    for path in photographs:
        if path.name in found:
            people.setdefault(path.parent.name, []).append(found[path.name])
    views = deviations(people, np.random.default_rng(0))
    print(headline("A stranger who stays (benchmarks/stay.py)"))
    print(f"views of LFW sets {o.sets}: {len(views)}; UTKFace {o.part}; FPIR of one view {100 * CLAIM:g} %")
    if o.check:
        check(Model(np.stack([p[0] for p in people.values()]), views), people, o.draws)
    else:
        single = {p.name: found[p.name] for p in adults if p.name in found}
        stay(Model(np.stack(list(single.values())), views), single, o.draws)
    return 0


def wanted(name: str, part: str) -> bool:
    labels = utkface.labels_of(name)
    adult = labels is not None and labels.age >= MIN_AGE
    return adult and utkface.part_of(name) == part and utkface.digest(name) not in utkface.left_out()


if __name__ == "__main__":
    sys.exit(main())
