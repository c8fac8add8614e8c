"""Claimed and measured error rates: what `edge-oneshot evaluate calibration` reports.

The thresholds come from the model card, or from model.cohort; the rates are measured on other people. Rates are counted
over identities, as for the cohort: one random image of every person as probe and as reference, in many draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_oneshot.evaluation import strangers
from edge_oneshot.evaluation.cohort_scores import EncodedCohort
from edge_oneshot.evaluation.dataset import EncodedDataset
from edge_oneshot.evaluation.gallery_rates import false_positive_rates
from edge_oneshot.evaluation.labels import Labels
from edge_oneshot.evaluation.metrics import Interval, effective_number
from edge_oneshot.evaluation.results import three_digits
from edge_oneshot.evaluation.strangers import StrangersResult
from edge_oneshot.matching.threshold import Rule, Target, Threshold
from edge_oneshot.model.card import Comparator

FMRS = (1e-2, 1e-3, 1e-4, 1e-5)
FPIRS = (0.1, 0.01, 0.001)
SIZES = (10, 100, 300)
DRAWS, ROUNDS = 20, 200
RESOLVED = 10  # a rate counts as measured if its errors come from at least this effective number of people


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """kind: "fmr" (identities = 1) or "fpir". carried_by: the effective number of people behind the measured rate.

    Measured against everybody. group: the group of matched strangers that decided the threshold; None: everybody decided.
    agreement: "within" a factor of two of the claim; "above" or "below" it, with the whole interval; or "cannot tell".
    """

    kind: str
    identities: int
    claimed: float
    threshold: float
    extrapolated: bool
    measured: float
    ci95: Interval
    carried_by: float
    agreement: str
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsResult:
    """protocol: of the cohort behind the thresholds; None if the card has a table only. strangers: None without labels."""

    claims: tuple[Claim, ...]
    identities: int
    pictures: int
    failures_to_acquire: int
    encoder_id: str
    protocol: str | None
    strangers: StrangersResult | None


def measure(
    dataset: EncodedDataset, comparator: Comparator, rule: Rule, labels: Labels | None = None, seed: int = 0
) -> ClaimsResult:
    """labels: of the people; adds the rates by who the strangers are. People whom they state to be under 16 are no strangers
    of `claims`.

    Raises EdgeOneshotError if there are too few people.
    """
    everybody = None if labels is None else dict.fromkeys(labels.adults(), "")
    people = EncodedCohort(dataset, comparator, seed, everybody)
    claims = _claims(rule, people.count)
    points = [(threshold.value, identities) for _, identities, _, threshold in claims]
    ones, random = np.ones(people.count, dtype=np.intp), np.random.default_rng(seed)
    each = np.mean([false_positive_rates(people.draw(), ones, points) for _ in range(DRAWS)], axis=0)
    rounds = np.empty((ROUNDS, len(claims)))
    for r in range(ROUNDS):
        weight = np.bincount(random.integers(0, people.count, people.count), minlength=people.count)
        rounds[r] = false_positive_rates(people.draw(), weight, points) @ weight / weight.sum()
    # A person drawn twice makes a resampled gallery smaller than its nominal size: scale the rounds to the measured rate.
    drawn = rounds.mean(axis=0)
    rounds *= np.divide(each.mean(axis=1), drawn, out=np.ones(len(claims)), where=drawn > 0)
    low, high = np.percentile(rounds, [2.5, 97.5], axis=0)
    carriers = effective_number(each, axis=1)
    found = []
    for c, (kind, identities, claimed, threshold) in enumerate(claims):
        measured = three_digits(each[c].mean())
        ci95 = Interval(low=three_digits(low[c]), high=three_digits(high[c]))
        carried_by = round(float(carriers[c]), 1)
        found.append(
            Claim(
                kind=kind,
                identities=identities,
                claimed=claimed,
                threshold=round(threshold.value, 5),
                extrapolated=threshold.extrapolated,
                measured=measured,
                ci95=ci95,
                carried_by=carried_by,
                agreement=_agreement(claimed, measured, ci95, carried_by),
                group=threshold.rate.group,
            )
        )
    return ClaimsResult(
        claims=tuple(found),
        identities=people.count,
        pictures=len(people.people),
        failures_to_acquire=len(dataset.faults),
        encoder_id=dataset.encoder_id,
        protocol=None if rule.cohort is None else rule.cohort.protocol,
        strangers=None if labels is None else strangers.measure(dataset, comparator, rule, labels, seed),
    )


def _claims(rule: Rule, people: int) -> list[tuple[str, int, float, Threshold]]:
    """(kind, gallery size, claimed rate, threshold for it)."""
    found = []
    for fmr in FMRS:
        found.append(("fmr", 1, fmr, replace(rule, target=Target(fmr=fmr))([1])))
    for size in (s for s in SIZES if s <= (people - 1) // 2):
        for fpir in FPIRS:
            found.append(("fpir", size, fpir, replace(rule, target=Target(fpir=fpir))([1] * size)))
    return found


def _agreement(claimed: float, measured: float, ci95: Interval, carried_by: float) -> str:
    low, high = claimed / 2, claimed * 2
    if carried_by < RESOLVED:
        return "cannot tell"
    if low <= measured <= high:
        return "within"
    if ci95.low > high:
        return "above"
    return "below" if ci95.high < low else "cannot tell"
