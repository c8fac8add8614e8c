"""Simulated doors for benchmarks/adaptation.py: streams of visits, error rates before and after, and attacks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.matching.adaptation import STEP, Adaptation, Visitors, shifted
from edge_oneshot.matching.threshold import Target, threshold_for
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.types import Float32Array, Float64Array

VISITS, PER_DAY = 200, 10
ATTACKS = 200  # visits of the attacker, in 30 days or less
FMRS = (1e-2, 1e-3)  # claims of the card whose thresholds are reported
MOST = 600  # people of the other half who are compared
Random = np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Door:
    """Pictures before one camera, or of one group of people. vectors: (N, D), people: (N,)."""

    name: str
    vectors: Float32Array
    people: NDArray[np.str_]

    def of(self, person: str) -> Float32Array:
        return self.vectors[self.people == person]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Of one half of a door: strangers' pairs; own: pairs of one person; hard: the same as `harder` makes them, with strangers;
    lfw: mated pairs of LFW, with the same subtracted."""

    strangers: Float32Array
    own: Float32Array
    hard: Float32Array
    hard_strangers: Float32Array
    lfw: Float32Array


def unit(vectors: Float32Array) -> Float32Array:
    found: Float32Array = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return found


def visit(door: Door, person: str, random: Random) -> Float32Array:
    """The mean of up to three pictures."""
    own = door.of(person)
    return unit(own[random.permutation(len(own))[:3]].mean(axis=0))


def learned(visits: Iterable[tuple[Float32Array, int]], dimension: int) -> Float32Array:
    """What is subtracted after these visits (vector, day)."""
    visitors, found = Visitors(dimension), None
    for vector, day in visits:
        if visitors.add(vector, day) and visitors.counted % STEP == 0:
            found = visitors.learned()
    return subtracted(found, dimension)


def subtracted(found: Adaptation | None, dimension: int) -> Float32Array:
    return np.zeros(dimension, np.float32) if found is None else found.subtract


def by_day(visits: Sequence[Float32Array], per_day: int = PER_DAY) -> list[tuple[Float32Array, int]]:
    return [(v, 1 + i // per_day) for i, v in enumerate(visits)]


def mated(door: Door) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Picture numbers of the pairs of each person's first ten pictures."""
    first, second = [], []
    for person in np.unique(door.people):
        own = np.flatnonzero(door.people == person)[:10]
        a, b = np.triu_indices(len(own), 1)
        first.append(own[a])
        second.append(own[b])
    return np.concatenate(first), np.concatenate(second)


def scores(
    half: Door, subtract: Float32Array, lfw: Float32Array, a: NDArray[np.intp], b: NDArray[np.intp], seed: int
) -> Scores:
    moved = shifted(half.vectors, subtract)
    upper = np.triu_indices(len(moved), 1)
    same = (half.people[:, None] == half.people[None])[upper]
    pairs = (moved @ moved.T)[upper]
    random = np.random.default_rng(seed)
    templates, probes, owner = harder(half, lfw[a] - lfw[b], random)
    hard = shifted(probes, subtract) @ shifted(templates, subtract).T
    own = owner[:, None] == np.arange(len(templates))[None]
    elsewhere = shifted(lfw, subtract)
    return Scores(
        strangers=pairs[~same],
        own=pairs[same],
        hard=hard[own],
        hard_strangers=hard[~own],
        lfw=(elsewhere[a] * elsewhere[b]).sum(axis=1),
    )


def harder(
    half: Door, differences: Float32Array, random: Random
) -> tuple[Float32Array, Float32Array, NDArray[np.intp]]:
    """One template of each person, three probes of each, and the owner of each probe.

    The pictures of these sets are of one day, and all of one person match. A probe is therefore another picture (the same one
    where there is none) with the difference of two LFW pictures of one person added: before this camera, but of another day.
    """
    people = np.unique(half.people)
    own = [half.of(p) for p in people]
    order = [random.permutation(len(v)) for v in own]
    templates = np.stack([v[o[0]] for v, o in zip(own, order, strict=True)])
    probes = np.stack([v[o[-1]] for v, o in zip(own, order, strict=True)])
    added = differences[random.integers(0, len(differences), 3 * len(people))]
    return templates, unit(np.tile(probes, (3, 1)) + 1.3 * added), np.tile(np.arange(len(people)), 3)


def gains(doors: Sequence[Door], lfw: Door, card: EncoderCard, seeds: int) -> tuple[str, dict[str, Any]]:
    """The tables in Markdown, and the values."""
    thresholds = [threshold_for(Target(fmr=f), card.thresholds, card.cohort, ()).value for f in FMRS]
    a, b = mated(lfw)
    ways = ("adapted", "half of the mean", "the mean")
    lines = [
        f"{VISITS} visits of one half of the people, measured on the other half (at most {MOST} people); {seeds} random halves, pooled;",
        "in brackets 95 % of 1,000 draws of these halves with replacement (they overlap: the people are the same). adapted: as shipped.",
        "half of the mean, the mean: subtracted from the first half's people, without any limit for safety. FMR: of strangers of the door.",
        "times fewer: FMR before / after, at the same threshold; at equal TAR of pairs before the same camera made harder (see `harder`);",
        f"and at equal TAR of LFW's pairs (sets 5-6, {len(a)}, other cameras). own TAR: pairs of one person at this door.",
    ]
    values: dict[str, Any] = {"thresholds": thresholds}
    tables = {fmr: list[str]() for fmr in FMRS}
    for door in doors:
        found = halves(door, lfw, seeds, a, b)
        for fmr, t in zip(FMRS, thresholds, strict=True):
            for way in ways:
                result, line = row(found["before"], found[way], t)
                values.setdefault(door.name, {}).setdefault(f"{fmr:g}", {})[way] = result
                tables[fmr].append(f"| {door.name} | {len(np.unique(door.people))} | {way} | {line} |")
            print(*tables[fmr][-3:], sep="\n", file=sys.stderr, flush=True)
    for fmr, t in zip(FMRS, thresholds, strict=True):
        lines += [
            "",
            f"Claim FMR {fmr:g} of matched strangers, threshold {t:.4f}:",
            "",
            "| door | people | what | FMR | after | times fewer, same threshold | at equal TAR, same camera | at equal TAR, LFW "
            "| own TAR | after | TAR made harder | after | LFW TAR | after |",
            "|" + "---|" * 14,
            *tables[fmr],
        ]
    return "\n".join(lines) + "\n", values


def halves(door: Door, lfw: Door, seeds: int, a: NDArray[np.intp], b: NDArray[np.intp]) -> dict[str, list[Scores]]:
    found: dict[str, list[Scores]] = {}
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        people = random.permutation(np.unique(door.people))
        first, others = people[: len(people) // 2], people[len(people) // 2 :][:MOST]
        who = [p for _ in range(1 + VISITS // len(first)) for p in random.permutation(first)][:VISITS]
        seen = by_day([visit(door, p, random) for p in who])
        chosen = np.isin(door.people, others)
        half = Door(name=door.name, vectors=door.vectors[chosen], people=door.people[chosen])
        mean = np.mean([door.of(p).mean(axis=0) for p in first[:VISITS]], axis=0)
        dimension = door.vectors.shape[1]
        ways = {
            "before": np.zeros(dimension, np.float32),
            "adapted": learned(seen, dimension),
            "half of the mean": mean / 2,
            "the mean": mean,
        }
        for way, subtract in ways.items():
            found.setdefault(way, []).append(scores(half, subtract, lfw.vectors, a, b, seed))
    return found


def row(before: list[Scores], after: list[Scores], t: float) -> tuple[dict[str, Any], str]:
    """Pooled rates at a threshold, before and after."""
    hard0, hard1 = (np.concatenate([s.hard for s in of]) for of in (before, after))
    lfw0, lfw1 = (np.concatenate([s.lfw for s in of]) for of in (before, after))
    t_hard = float(np.quantile(hard1, (hard0 < t).mean()))
    t_lfw = float(np.quantile(lfw1, (lfw0 < t).mean()))
    hits = np.array(
        [
            [
                *((x.strangers >= t).sum(), (y.strangers >= t).sum(), (y.strangers >= t_lfw).sum()),
                *((x.hard_strangers >= t).sum(), (y.hard_strangers >= t_hard).sum(), len(x.strangers)),
            ]
            for x, y in zip(before, after, strict=True)
        ],
        dtype=np.float64,
    )
    random = np.random.default_rng(0)
    draws = np.stack([hits[random.integers(0, len(hits), len(hits))].sum(axis=0) for _ in range(1000)])
    total = hits.sum(axis=0)
    ratios = [ratio(total, draws, *pair) for pair in ((0, 1), (3, 4), (0, 2))]
    own = [
        float(np.mean(np.concatenate([s.own for s in of]) >= t)) if len(of[0].own) else None for of in (before, after)
    ]
    fmr = (total[0] / total[5], total[1] / total[5])
    tars = [*own, *(float((v >= t).mean()) for v in (hard0, hard1, lfw0, lfw1))]
    cells = [f"{fmr[0]:.2g}", f"{fmr[1]:.2g}", *(f"{r:.2f} ({low:.2f} to {high:.2f})" for r, low, high in ratios)]
    cells += ["" if v is None else f"{v:.4f}" for v in tars]
    return {"fmr": fmr, "times_fewer": ratios, "tar": tars, "hits": total.tolist()}, " | ".join(cells)


def ratio(total: Float64Array, draws: Float64Array, a: int, b: int) -> tuple[float, float, float]:
    """With half a hit added on both sides, so that no hit gives a number."""
    found = (draws[:, a] + 0.5) / (draws[:, b] + 0.5)
    low, high = np.percentile(found, [2.5, 97.5])
    return float((total[a] + 0.5) / (total[b] + 0.5)), float(low), float(high)


def attacks(doors: Sequence[Door], cameras: Sequence[Door], *, first: bool) -> tuple[str, dict[str, list[float]]]:
    """The greatest change of any score by an attacker, at each door, and the table. first: the first half of the cameras' people
    attacks; else the second.

    Attackers: people with eight or more pictures, whose visits differ; and eight single pictures of each door, whose visits are equal.
    Scores: all pairs of the attacker's pictures and of 40 people of the door, who never came.
    """
    random, some = np.random.default_rng(0), []
    for camera in cameras:
        names, counts = np.unique(camera.people, return_counts=True)
        for person in [n for i, n in enumerate(names) if counts[i] >= 8 and (2 * i < len(names)) is first]:
            own = camera.of(person)
            some.append(([unit(own[random.integers(0, len(own), 3)].mean(axis=0)) for _ in range(ATTACKS)], own[:6]))
    found: dict[str, list[float]] = {}
    for door in doors:
        people = random.permutation(np.unique(door.people))
        bystanders, rest = np.concatenate([door.of(p) for p in people[:40]]), people[40:]
        own_faces = [([v] * ATTACKS, v[None]) for v in door.vectors[random.permutation(len(door.vectors))[:8]]]
        honest = [visit(door, p, random) for p in rest[:800]]
        for seen, own in [*some, *own_faces]:
            one(found, honest, seen, np.concatenate([own, bystanders]))
    lines = [
        f"The greatest change of any score by an attacker, against the same door without: {len(some) + 8} attackers at {len(doors)} doors.",
        "",
        "| scenario | trials | median | 95th percentile | greatest |",
        "|---|---|---|---|---|",
    ]
    for name, c in found.items():
        lines.append(f"| {name} | {len(c)} | {np.median(c):.4f} | {np.quantile(c, 0.95):.4f} | {max(c):.4f} |")
    return "\n".join(lines) + "\n", found


def one(
    found: dict[str, list[float]], honest: list[Float32Array], seen: list[Float32Array], probes: Float32Array
) -> None:
    dimension = probes.shape[1]
    start, at_peace = np.zeros(dimension, np.float32), learned(by_day(honest), dimension)
    streams = {
        "stays for 10,000 frames (one visit)": (at_peace, [*by_day(seen[:1]), *by_day(honest)]),
        "comes 200 times in 30 days, alone": (start, by_day(seen, 7)),
        "200 times, after each 10th honest visit": (at_peace, mixed(honest, seen, 0, 10)),
    }
    for after in (0, 30, 75, 120):
        streams[f"200 times, after each honest visit, from number {after + 1} on"] = (
            at_peace,
            mixed(honest, seen, after, 1),
        )
    for name, (before, visits) in streams.items():
        x, y = (shifted(probes, s) for s in (before, learned(visits, dimension)))
        change = np.abs(y @ y.T - x @ x.T)
        np.fill_diagonal(change, 0)
        found.setdefault(name, []).append(float(change.max()))


def mixed(
    honest: list[Float32Array], attacker: list[Float32Array], first: int, every: int
) -> list[tuple[Float32Array, int]]:
    """The attacker comes after each `every`-th honest visit from the `first` one on."""
    stream, left = list[tuple[Float32Array, int]](), list(attacker)
    for i, (vector, day) in enumerate(by_day(honest)):
        stream.append((vector, day))
        if i >= first and (i - first) % every == 0 and left:
            stream.append((left.pop(0), day))
    return stream
