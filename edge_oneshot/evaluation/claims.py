"""Claimed against measured error rates: what `edge-oneshot evaluate calibration` reports.

The thresholds come from the card, or from model.cohort; the rates are measured on other people. Everything is counted
over identities, as the cohort was: one random picture of everybody as probe and as reference, many times over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_oneshot.evaluation.cohort import CohortScores, kish
from edge_oneshot.evaluation.dataset import Embedded
from edge_oneshot.evaluation.metrics import Ints
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float32Array, Float64Array

FMRS = (1e-2, 1e-3, 1e-4, 1e-5)
FPIRS = (0.1, 0.01, 0.001)
SIZES = (10, 100, 300)
DRAWS, ROUNDS = 20, 200
RESOLVED = 10  # a rate counts as measured when so many people carry it


def false_positive_rates(score: Float32Array, weight: Ints, claims: list[tuple[float, int]]) -> Float64Array:
    """For each (threshold, gallery size): the rate of each identity's probe, (claims, n), over all galleries of the others.

    score, weight: as evaluation.cohort.gallery_curves takes them, whose formula this is, at given thresholds.
    """
    n, total = len(score), int(weight.sum())
    others = total - weight
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    found = np.zeros((len(claims), n))
    for c, (threshold, size) in enumerate(claims):
        hit = score >= threshold
        np.fill_diagonal(hit, False)
        left = others - np.rint(hit @ weight.astype(np.float64)).astype(np.int64)
        some = (left < others) & (others >= size)
        few = left[some]
        log_clean = np.where(
            few < size,
            -np.inf,
            log_factorial[few]
            - log_factorial[np.maximum(few - size, 0)]
            - log_factorial[others[some]]
            + log_factorial[others[some] - size],
        )
        found[c, some] = -np.expm1(log_clean)
    return found


def report(
    embedded: Embedded, comparator: Comparator, rule: Rule, groups: Mapping[str, str] | None = None, seed: int = 0
) -> dict[str, Any]:
    """The report as JSON values. groups: person -> group; the rates within each group of 20 people or more are added.

    agreement: "within" a factor of two of the claim, "outside" it (and the interval, too), or "cannot tell".
    Raises EdgeOneshotError for too few people.
    """
    people = CohortScores(embedded, comparator, seed)
    claims: list[dict[str, Any]] = []
    for fmr in FMRS:
        t = Rule(target=Target(fmr=fmr), thresholds=rule.thresholds, cohort=rule.cohort)([1])
        claims.append(
            {"kind": "fmr", "identities": 1, "claimed": fmr, "threshold": t.value, "extrapolated": t.extrapolated}
        )
    for size in (s for s in SIZES if s <= (people.count - 1) // 2):
        for fpir in FPIRS:
            t = Rule(target=Target(fpir=fpir), thresholds=rule.thresholds, cohort=rule.cohort)([1] * size)
            claims.append(
                {
                    "kind": "fpir",
                    "identities": size,
                    "claimed": fpir,
                    "threshold": t.value,
                    "extrapolated": t.extrapolated,
                }
            )
    wanted = [(float(c["threshold"]), int(c["identities"])) for c in claims]
    ones, random = np.ones(people.count, dtype=np.intp), np.random.default_rng(seed)
    each = np.mean([false_positive_rates(people.draw(), ones, wanted) for _ in range(DRAWS)], axis=0)
    rounds = np.empty((ROUNDS, len(claims)))
    for r in range(ROUNDS):
        weight = np.bincount(random.integers(0, people.count, people.count), minlength=people.count)
        rounds[r] = false_positive_rates(people.draw(), weight, wanted) @ weight / weight.sum()
    # People drawn twice make a resampled gallery smaller than it says; the interval is brought back to the measured rate.
    drawn = rounds.mean(axis=0)
    rounds *= np.divide(each.mean(axis=1), drawn, out=np.ones(len(claims)), where=drawn > 0)
    low, high = np.percentile(rounds, [2.5, 97.5], axis=0)
    carriers = kish(each, axis=1)
    for c, claim in enumerate(claims):
        claim |= {
            "threshold": round(claim["threshold"], 5),
            "measured": float(f"{each[c].mean():.3g}"),
            "ci95": [float(f"{low[c]:.3g}"), float(f"{high[c]:.3g}")],
            "carried_by": round(float(carriers[c]), 1),
        }
        claim["agreement"] = _agreement(claim)
    found: dict[str, Any] = {
        "claims": claims,
        "identities": people.count,
        "pictures": len(people.people),
        "failures_to_acquire": len(embedded.faults),
        "encoder_id": embedded.encoder_id,
        "protocol": None if rule.cohort is None else rule.cohort.protocol,
    }
    if groups is not None:
        found["groups"] = _by_group(embedded, people, groups, wanted[: len(FMRS)])
    return found


def _agreement(claim: dict[str, Any]) -> str:
    low, high = claim["claimed"] / 2, claim["claimed"] * 2
    if claim["carried_by"] < RESOLVED:
        return "cannot tell"
    if low <= claim["measured"] <= high:
        return "within"
    return "outside" if claim["ci95"][0] > high or claim["ci95"][1] < low else "cannot tell"


def _by_group(
    embedded: Embedded, people: CohortScores, groups: Mapping[str, str], wanted: list[tuple[float, int]]
) -> list[dict[str, Any]]:
    """The false match rate among the people of each group, highest first at the first claim."""
    names = np.unique([embedded.pictures[i].person for i in embedded.acquired])
    member = np.array([groups.get(name, "") for name in names])
    draws = [people.draw() for _ in range(DRAWS)]
    found = []
    for group in sorted(set(member) - {""}):
        at = np.flatnonzero(member == group)
        if len(at) < 20:
            continue
        ones = np.ones(len(at), dtype=np.intp)
        rates = np.mean([false_positive_rates(d[np.ix_(at, at)], ones, wanted).mean(axis=1) for d in draws], axis=0)
        found.append(
            {
                "group": group,
                "identities": len(at),
                "fmr": {f"{fmr:g}": float(f"{rate:.3g}") for fmr, rate in zip(FMRS, rates, strict=True)},
            }
        )
    return sorted(found, key=lambda g: -max(g["fmr"].values()))
