"""What a gallery is going to cost, read off the cohort: error rates when it grows, and how unusual a look-alike is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_oneshot.matching import cohort as rates
from edge_oneshot.matching.threshold import Rule
from edge_oneshot.model.card import CohortScores
from edge_oneshot.types import Candidate

MORE = 100  # people


def growth(rule: Rule, templates: Sequence[int], more: int = MORE) -> list[dict[str, Any]] | None:
    """The gallery now, and with `more` people of one template each; None without a cohort.

    Each entry: identities, threshold, fpir (expected share of strangers' probes that match somebody), fnir (expected share
    of mated probes that are missed, from the cohort's one-shot comparisons; None if it has none), extrapolated.
    """
    cohort = rule.cohort
    if cohort is None:
        return None
    found = []
    for counts in (list(templates), [*templates, *[1] * more]):
        threshold = rule(counts)
        size = rates.effective_size(counts, cohort.template_exponent)
        fnmr = rates.fnmr_at(cohort, threshold.value)
        found.append(
            {
                "identities": sum(k > 0 for k in counts),
                "threshold": round(threshold.value, 4),
                "fpir": _digits(rates.fpir_at(cohort, threshold.value, size)) if size else 0.0,
                "fnir": None if fnmr is None else _digits(fnmr),
                "extrapolated": threshold.extrapolated,
            }
        )
    return found


def nearest(cohort: CohortScores | None, like: Candidate, threshold: float) -> dict[str, Any]:
    """Who of the gallery the new person is most alike to. cohort_share: share of the cohort's strangers who score less."""
    share = None if cohort is None else max(0.0, 1.0 - rates.fmr_at(cohort, like.score))
    return {
        "identity": like.identity_id,
        "score": round(like.score, 4),
        "threshold": round(threshold, 4),
        "cohort_share": None if share is None else round(share, 7),
    }


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
