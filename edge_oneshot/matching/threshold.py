"""A stated error rate -> the threshold that keeps it, from the measurements in the card.

The rate is stated in one of two ways. target_fmr: false matches per comparison of a probe with one enrolled person; the
threshold does not depend on the size of the gallery, and the rate against the whole gallery grows with it. target_fpir:
false positives per comparison of a probe with the whole gallery (ISO/IEC 19795-1, FPIR); the threshold rises with every
enrolled person.

It is kept against one of two kinds of strangers. matched: people of the same sex and age band as the enrolled person, in
the labelled group of the cohort with the highest threshold (NIST IR 8280; ISO/IEC 19795-10). everybody: any people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edge_oneshot.matching import cohort as rates
from edge_oneshot.model.card import CohortScores, Thresholds
from edge_oneshot.types.decision import UNSTATED, Rate

MIN_GROUP = 200  # people; a smaller group of a cohort does not decide the threshold
Strangers = Literal["matched", "everybody"]
NO_GROUPS = f"the cohort has no group of {MIN_GROUP} people: the stated rate holds against everybody, not against matched strangers"


# Of the lowest counted rate. The default rate is 0.6 of it, and was measured on other people (docs/explanation/evaluation.md).
NEAR = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """value: comparison score. target_fmr, target_fpir: the rate that it keeps; both None if the score was set by hand.

    extrapolated: the rate is lower, or the gallery larger, than the counts of the card resolve. identities: the size of
    the gallery that it holds for; None if it does not depend on it. approximated: by FPIR = 1 - (1 - FMR)^N, since the
    card has no cohort scores. raised: by how much `value` is above the score of the card, since this door needs it
    (matching/door.py). rate: the stated rate with the people that it holds against; a raise lowers its everybody_fmr only.
    """

    value: float
    target_fmr: float | None
    extrapolated: bool = False
    target_fpir: float | None = None
    identities: int | None = None
    approximated: bool = False
    raised: float = 0.0
    rate: Rate = UNSTATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The accepted error; exactly one of the three is set. score: a threshold set by hand. Raises ValueError otherwise."""

    fmr: float | None = None
    fpir: float | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        if sum(v is not None for v in (self.fmr, self.fpir, self.score)) != 1:
            raise ValueError(f"Target: expected exactly one of fmr, fpir and score, got {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The accepted error, the measurements of the card and the strangers: gives the threshold for any gallery.

    strangers: against whom the error is kept; "matched" means everybody where the cohort has no group that decides.
    raised: by how much each threshold is above the card's. A threshold set by hand is never raised.
    Raises ValueError if the measurements give no threshold for the target.
    """

    target: Target
    thresholds: Thresholds | None
    cohort: CohortScores | None
    strangers: Strangers = "matched"
    raised: float = 0.0

    def __post_init__(self) -> None:
        self(())

    def __call__(self, templates: Sequence[int], others: int = 0) -> Threshold:
        """The threshold for a gallery. templates: number of comparable templates of each identity; empty: an empty gallery.

        others: identities of the same gallery that other encoders compare. Each encoder gets the share of target_fpir that
        its identities are of the gallery. A stranger is a false positive if any encoder matches, with at most the sum of
        the encoders' rates (union bound), so the rate holds for the gallery as a whole. A rate per comparison needs no share.
        """
        found = self._of_the_card(templates, others)
        if not self.raised or self.target.score is not None:
            return found
        value, rate = found.value + self.raised, found.rate
        if self.cohort is not None:
            rate = replace(rate, everybody_fmr=_fmr_at(self.cohort, value, templates))
        return replace(found, value=value, raised=self.raised, rate=rate)

    def _of_the_card(self, templates: Sequence[int], others: int) -> Threshold:
        """The threshold without the raise."""
        if not others or self.target.fpir is None:
            return threshold_for(self.target, self.thresholds, self.cohort, templates, self.strangers)
        part = Target(fpir=self.target.fpir * share(sum(k > 0 for k in templates), others))
        found = threshold_for(part, self.thresholds, self.cohort, templates, self.strangers)
        return replace(found, target_fpir=self.target.fpir, rate=replace(found.rate, fpir=self.target.fpir))

    def counted_to(self, found: Threshold) -> float | None:
        """The lowest rate per comparison that was counted, for an extrapolated threshold that is NEAR it; else None."""
        against = self.against(found.rate)
        if not found.extrapolated or found.target_fmr is None or against is None:
            return None
        counted = against.measured_to_fmr
        return counted if NEAR * counted <= found.target_fmr < counted else None

    @property
    def falls_back(self) -> bool:
        """Whether the rate holds against everybody although matched strangers were asked for: no group decides."""
        return self.strangers == "matched" and self.target.score is None and not deciding_groups(self.cohort)

    def against(self, rate: Rate) -> CohortScores | None:
        """The scores of the people that a rate holds against; None without cohort scores."""
        return self.cohort if rate.group is None or self.cohort is None else self.cohort.groups[rate.group]


def share(own: int, others: int) -> float:
    """The part of target_fpir that an encoder gets which compares `own` identities of a gallery, and others `others`."""
    return max(own, 1) / (max(own, 1) + others)


def deciding_groups(cohort: CohortScores | None) -> dict[str, CohortScores]:
    """The groups of matched strangers that are large enough to decide the threshold."""
    groups = {} if cohort is None else cohort.groups
    return {name: group for name, group in groups.items() if group.identities >= MIN_GROUP}


def threshold_for(
    target: Target,
    thresholds: Thresholds | None,
    cohort: CohortScores | None,
    templates: Sequence[int],
    strangers: Strangers = "matched",
) -> Threshold:
    """The threshold for a gallery. templates: number of comparable templates of each identity; empty: an empty gallery.

    Against matched strangers it is the highest that any deciding group of the cohort gives. Raises ValueError if the
    target is a rate and the card has neither thresholds nor cohort scores.
    """
    found, group = _threshold(target, thresholds, cohort, templates), None
    if target.score is None and strangers == "matched":
        matched = {n: _threshold(target, None, g, templates) for n, g in deciding_groups(cohort).items()}
        if matched:
            group = max(matched, key=lambda name: matched[name].value)
            found = matched[group]
    stated = group is None and found.target_fmr is not None
    rate = Rate(
        against="everybody" if group is None else "matched",
        group=group,
        fmr=found.target_fmr,
        fpir=found.target_fpir,
        everybody_fmr=(
            found.target_fmr if stated else None if cohort is None else _fmr_at(cohort, found.value, templates)
        ),
    )
    return replace(found, rate=rate)


def _fmr_at(cohort: CohortScores, score: float, templates: Sequence[int]) -> float:
    """The false match rate of one comparison with an enrolled person, three significant digits.

    Not below the lowest rate that the cohort resolves: far beyond it a fitted tail says little.
    """
    one = max(rates.fmr_at(cohort, score), cohort.measured_to_fmr)
    return float(f"{min(1.0, one * _templates_each(cohort, templates)):.3g}")


def _templates_each(cohort: CohortScores | None, templates: Sequence[int]) -> float:
    """How much more often than one template an average enrolled person's templates match a stranger, at least 1."""
    exponent = 1.0 if cohort is None else cohort.template_exponent
    return max(1.0, rates.effective_size(templates, exponent) / max(1, sum(k > 0 for k in templates)))


def _threshold(
    target: Target, thresholds: Thresholds | None, cohort: CohortScores | None, templates: Sequence[int]
) -> Threshold:
    """The threshold against the people of one cohort, or of a table; its rate says nothing."""
    if target.score is not None:
        return Threshold(value=target.score, target_fmr=None)
    if thresholds is None and cohort is None:
        raise ValueError("thresholds: expected a table or cohort scores in the card, got none")
    exponent = 1.0 if cohort is None else cohort.template_exponent
    identities = sum(k > 0 for k in templates)
    size = max(1.0, rates.effective_size(templates, exponent))
    if target.fpir is not None:
        if cohort is not None:
            value, extrapolated = rates.score_at_fpir(cohort, target.fpir, size)
            return Threshold(
                value=value, target_fmr=None, target_fpir=target.fpir, extrapolated=extrapolated, identities=identities
            )
        assert thresholds is not None
        found = threshold_for_fmr(thresholds, -math.expm1(math.log1p(-target.fpir) / size))
        return Threshold(
            value=found.value,
            target_fmr=None,
            target_fpir=target.fpir,
            extrapolated=found.extrapolated,
            identities=identities,
            approximated=True,
        )
    assert target.fmr is not None
    # The best of several templates of a person matches a stranger more often than one template.
    fmr = target.fmr / _templates_each(cohort, templates)
    if cohort is not None:
        value, extrapolated = rates.score_at_fmr(cohort, fmr)
        return Threshold(value=value, target_fmr=target.fmr, extrapolated=extrapolated)
    assert thresholds is not None
    found = threshold_for_fmr(thresholds, fmr)
    return Threshold(value=found.value, target_fmr=target.fmr, extrapolated=found.extrapolated)


def threshold_for_fmr(thresholds: Thresholds, fmr: float) -> Threshold:
    """The score for a false match rate per comparison, 0 < fmr < 1, from a table of points.

    Between measured points the score is linear in log(fmr), which fits the tail of a non-mated distribution closely.
    Outside them the line through the nearest two points is continued, and the result is marked as extrapolated.
    """
    points = thresholds.points
    if len(points) == 1:
        return Threshold(value=points[0].threshold, target_fmr=fmr, extrapolated=fmr != points[0].fmr)
    i = next((i for i in range(1, len(points)) if fmr >= points[i].fmr), len(points) - 1)
    high, low = points[i - 1], points[i]
    t = (math.log(fmr) - math.log(high.fmr)) / (math.log(low.fmr) - math.log(high.fmr))
    value = high.threshold + t * (low.threshold - high.threshold)
    return Threshold(value=value, target_fmr=fmr, extrapolated=fmr < thresholds.measured_to_fmr or fmr > points[0].fmr)
