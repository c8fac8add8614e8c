"""Error rates of a gallery as it grows, and how rare a similar person is, from the scores of the cohort. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from edge_oneshot.matching import cohort as rates
from edge_oneshot.matching.compare import References
from edge_oneshot.matching.threshold import Rule
from edge_oneshot.model.card import CohortScores
from edge_oneshot.types import Candidate

MORE = 100  # people


class Forecast(TypedDict):
    """JSON values for one size of the gallery; `growth` describes them."""

    identities: int
    threshold: float
    fpir: float
    everybody_fpir: float
    fnir: float | None
    extrapolated: bool


class Nearest(TypedDict):
    """JSON values for the enrolled identity nearest to a new person; `nearest` describes them."""

    identity: str
    score: float
    threshold: float
    cohort_share: float | None


class TooAlike(TypedDict):
    """JSON values for a pair of enrolled people who match each other; `too_alike` describes them."""

    identities: tuple[str, str]
    score: float
    apart_at: float
    fnmr: float | None


def growth(rule: Rule, templates: Sequence[int], others: int = 0, more: int = MORE) -> list[Forecast] | None:
    """The gallery now, and with `more` people with one template each; None without cohort scores.

    templates: number of comparable templates of each identity. others: as in Rule. Each entry: identities, threshold, fpir
    (expected share of probes of strangers that match an identity; of those strangers that the rate holds against),
    everybody_fpir (the same for any strangers), fnir (expected share of mated probes that are missed, from the one-shot
    comparisons of the cohort; None if there are none), extrapolated.
    """
    cohort = rule.cohort
    if cohort is None:
        return None
    found: list[Forecast] = []
    for counts in (list(templates), [*templates, *[1] * more]):
        threshold = rule(counts, others)
        size = rates.effective_size(counts, cohort.template_exponent)
        strangers = rule.against(threshold.rate) or cohort
        fnmr = rates.fnmr_at(cohort, threshold.value)
        found.append(
            {
                "identities": sum(k > 0 for k in counts),
                "threshold": round(threshold.value, 4),
                "fpir": _digits(rates.fpir_at(strangers, threshold.value, size)) if size else 0.0,
                "everybody_fpir": _digits(rates.fpir_at(cohort, threshold.value, size)) if size else 0.0,
                "fnir": None if fnmr is None else _digits(fnmr),
                "extrapolated": threshold.extrapolated,
            }
        )
    return found


def nearest(cohort: CohortScores | None, like: Candidate, threshold: float) -> Nearest:
    """The enrolled identity with the highest score against a new person, as JSON values.

    cohort_share: share of the non-mated comparisons of the cohort that score lower; None without cohort scores.
    """
    share = None if cohort is None else max(0.0, 1.0 - rates.fmr_at(cohort, like.score))
    return {
        "identity": like.identity_id,
        "score": round(like.score, 4),
        "threshold": round(threshold, 4),
        "cohort_share": None if share is None else round(share, 7),
    }


def too_alike(rule: Rule, references: References, threshold: float) -> list[TooAlike]:
    """The pairs of enrolled people whose templates match each other at the threshold, most alike first.

    apart_at: the lowest threshold, to four digits, at which these templates do not match. fnmr: `missed` there.
    """
    found: list[TooAlike] = []
    for a, b, score in references.alike(threshold):
        apart = math.floor(score * 1e4 + 1) / 1e4
        entry: TooAlike = {
            "identities": (a, b),
            "score": round(score, 4),
            "apart_at": apart,
            "fnmr": missed(rule, apart),
        }
        found.append(entry)
    return found


def missed(rule: Rule, threshold: float) -> float | None:
    """The share of enrolled people's captures that a threshold misses, by the cohort; None if it was not measured."""
    fnmr = None if rule.cohort is None else rates.fnmr_at(rule.cohort, threshold)
    return None if fnmr is None else _digits(fnmr)


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
