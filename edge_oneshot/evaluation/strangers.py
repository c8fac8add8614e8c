"""False match rates by who the strangers are: everybody, the same sex, the same sex and age band, one labelled group.

Matched rates and the ratio of the worst group to the others are those of NIST IR 8280 and ISO/IEC 19795-10. Every pair
of people has the same weight: a pair with several images counts with the share of its images that match.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.cohort_scores import COUNTED, MIN_IDENTITIES, EncodedCohort
from edge_oneshot.evaluation.dataset import EncodedDataset
from edge_oneshot.evaluation.labels import ADULTS, BANDS, Labels
from edge_oneshot.evaluation.metrics import ROUNDS, Interval, Ints, wilson
from edge_oneshot.evaluation.results import three_digits
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float64Array

FMRS = (1e-2, 1e-3, 1e-4)
CELLS = 4_000_000  # of the bootstrap, in memory at once
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """expected, observed: false matches, in pairs of people, at the threshold for the claimed FMR. ci95: of fmr.

    enough: whether at least 30 false matches are expected at the claim. Otherwise only the interval says something.
    """

    claimed: float
    threshold: float
    expected: float
    observed: float
    fmr: float
    ci95: Interval
    enough: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """People who are compared with matched people only. kind: everybody, sex, age, group or camera. pairs: of people."""

    kind: str
    name: str
    people: int
    pairs: int
    rates: tuple[Observed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Differential:
    """How far apart the groups are at one claimed FMR, over the `groups` in which enough false matches are expected.

    None: fewer than two such groups, or a group without a false match.
    """

    claimed: float
    groups: int
    worst: str | None
    best: str | None
    worst_to_best: float | None
    worst_to_geometric_mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangersResult:
    """against: whom the claim is made against, in words. populations: the groups with the highest rate first."""

    against: str
    populations: tuple[Population, ...]
    differentials: tuple[Differential, ...]


def measure(
    dataset: EncodedDataset, comparator: Comparator, rule: Rule, labels: Labels, seed: int = 0
) -> StrangersResult:
    """The rates at the thresholds that `rule` gives for FMRS and for its own FMR.

    Raises EdgeOneshotError for too few people, or a card that gives no thresholds.
    """
    claims = _thresholds(rule)
    everybody = EncodedCohort(dataset, comparator, seed)
    names = np.unique([dataset.images[i].person for i in dataset.acquired]).tolist()
    scores, weights, a, b = everybody.exceedances(min(claims.values()))
    pairs = _Pairs(scores, weights * everybody.pairs, a, b)
    found = []
    for kind, name, matched in _populations(labels):
        keys = sorted({matched[n] for n in names if n in matched})
        cell = np.array([keys.index(matched[n]) if n in matched else -1 for n in names], dtype=np.intp)
        if (cell >= 0).sum() >= MIN_IDENTITIES:
            found.append(_population(kind, name, cell, pairs, claims, seed))
    groups = sorted((p for p in found if p.kind == "group"), key=lambda p: -max(r.fmr for r in p.rates))
    ordered = [*(p for p in found if p.kind not in ("group", "camera")), *groups]
    ordered += [p for p in found if p.kind == "camera"]
    rate = replace(rule, target=Target(fmr=FMRS[0]))([1]).rate
    return StrangersResult(
        against="everybody" if rate.group is None else f"matched strangers, {rate.group}",
        populations=tuple(ordered),
        differentials=tuple(_differential(claimed, groups) for claimed in claims),
    )


def _thresholds(rule: Rule) -> dict[float, float]:
    """Claimed FMR -> threshold, the highest rate first."""
    if rule.thresholds is None and rule.cohort is None:
        raise EdgeOneshotError(
            "the model card claims no rate: expected thresholds or a cohort, got none",
            "measure one with `edge-oneshot calibrate`, and set model.cohort",
        )
    claimed = sorted({*FMRS, *([] if rule.target.fmr is None else [rule.target.fmr])}, reverse=True)
    return {fmr: replace(rule, target=Target(fmr=fmr))([1]).value for fmr in claimed}


def _populations(labels: Labels) -> Iterator[tuple[str, str, Mapping[str, Key]]]:
    """(kind, name, person -> key)."""
    adults, sex = labels.adults(), "same sex" if "sex" in labels.columns else ""
    yield "everybody", "everybody", dict.fromkeys(labels.people, ())
    if "age" in labels.columns:
        yield "everybody", ADULTS, dict.fromkeys(adults, ())
    if sex:
        yield "sex", sex, labels.matched("sex")
    for band in [name for _, name in reversed(BANDS)] if "age" in labels.columns else ():
        matched = {name: key for name, key in labels.matched("sex", "age").items() if key[-1] == band}
        yield "age", ", ".join(filter(None, (band, sex))), matched
    for column in ("group", "camera"):
        for value in labels.groups(column) if column in labels.columns else ():
            chosen = labels.matched("sex", "age", column)
            yield column, value, {n: key for n, key in chosen.items() if n in adults and key[-1] == value}


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of images of two people, highest score first: scores, shares of their pair of people, person, person (N,)."""

    scores: Float64Array
    shares: Float64Array
    a: Ints
    b: Ints


def _population(
    kind: str, name: str, cell: Ints, pairs: _Pairs, claims: Mapping[float, float], seed: int
) -> Population:
    """cell: the number of each person's key (n,); -1: not in the population."""
    inside = (cell[pairs.a] >= 0) & (cell[pairs.a] == cell[pairs.b])
    own = _Pairs(pairs.scores[inside], pairs.shares[inside], pairs.a[inside], pairs.b[inside])
    counts = np.bincount(cell[cell >= 0])
    total, people = int((counts * (counts - 1)).sum()) // 2, int(counts.sum())
    ends = [int(np.searchsorted(-own.scores, -threshold, side="right")) for threshold in claims.values()]
    rounds = _resampled(own, cell, ends, seed)
    found = []
    for (claimed, threshold), end, column in zip(claims.items(), ends, rounds.T, strict=True):
        observed = float(own.shares[:end].sum())
        low, high = np.percentile(column, [2.5, 97.5]) if observed else wilson(0, people)
        found.append(
            Observed(
                claimed=claimed,
                threshold=round(threshold, 5),
                expected=round(claimed * total, 2),
                observed=round(observed, 4),
                fmr=three_digits(observed / max(1, total)),
                ci95=Interval(low=three_digits(low), high=three_digits(high)),
                enough=claimed * total >= COUNTED,
            )
        )
    return Population(kind=kind, name=name, people=people, pairs=total, rates=tuple(found))


def _resampled(pairs: _Pairs, cell: Ints, ends: list[int], seed: int) -> Float64Array:
    """The rates of resampled people: (ROUNDS, claims). A person drawn twice is not compared with themselves."""
    members = np.flatnonzero(cell >= 0)
    place = np.zeros(len(cell), dtype=np.intp)
    place[members] = np.arange(len(members))
    a, b = place[pairs.a], place[pairs.b]
    belongs = np.equal.outer(cell[members], np.unique(cell[members])).astype(np.float64)
    random, found = np.random.default_rng(seed), []
    step = max(1, min(ROUNDS, CELLS // max(1, len(pairs.a), len(members))))
    for start in range(0, ROUNDS, step):
        size = min(step, ROUNDS - start)
        weight = random.multinomial(len(members), np.full(len(members), 1 / len(members)), size=size).astype(np.float64)
        trials = (((weight @ belongs) ** 2).sum(axis=1) - (weight**2).sum(axis=1)) / 2
        hits = weight[:, a] * weight[:, b] * pairs.shares
        found.append(np.stack([hits[:, :end].sum(axis=1) / np.maximum(trials, 1) for end in ends], axis=1))
    return np.concatenate(found)


def _differential(claimed: float, groups: list[Population]) -> Differential:
    rates = {p.name: r.fmr for p in groups for r in p.rates if r.claimed == claimed and r.enough}
    if len(rates) < 2 or not all(rates.values()):
        return Differential(
            claimed=claimed, groups=len(rates), worst=None, best=None, worst_to_best=None, worst_to_geometric_mean=None
        )
    worst, best = max(rates, key=lambda g: rates[g]), min(rates, key=lambda g: rates[g])
    mean = math.exp(sum(math.log(v) for v in rates.values()) / len(rates))
    return Differential(
        claimed=claimed,
        groups=len(rates),
        worst=worst,
        best=best,
        worst_to_best=three_digits(rates[worst] / rates[best]),
        worst_to_geometric_mean=three_digits(rates[worst] / mean),
    )
