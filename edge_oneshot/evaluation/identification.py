"""Open-set identification of labelled pictures: what `edge-oneshot evaluate identification` reports.

A gallery of N identities with one picture each. Mated probes: their other pictures. Non-mated probes: every picture of
everybody else. The threshold comes from the card, for the claimed FPIR and N, and never from the probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.cohort import rows
from edge_oneshot.evaluation.comparisons import identity_numbers
from edge_oneshot.evaluation.dataset import Embedded
from edge_oneshot.evaluation.metrics import Interval, Ints, wilson
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float32Array

ROUNDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """One gallery and its probes. references: picture numbers (N,).

    Mated probes (M,): best, the highest score in the gallery; own, whether that is the probe's own identity; person.
    Non-mated probes (K,): the same without own. A probe that was not acquired scores -inf: it is a miss, or no false
    positive, at every threshold (generalised rates, ISO/IEC 19795-1).
    """

    references: Ints
    mated_best: Float32Array
    mated_own: NDArray[np.bool_]
    mated_person: Ints
    mated_probe: Ints
    mated_at: Ints  # the gallery's place of the best
    other_best: Float32Array
    other_person: Ints
    other_probe: Ints
    other_at: Ints


def draw(embedded: Embedded, comparator: Comparator, gallery: int, seed: int) -> Trials:
    """Draw a gallery and score every probe. Raises EdgeOneshotError if there are too few people.

    People with two pictures or more come first, drawn at random; only if they are fewer than `gallery` do people with one
    picture fill the rest, who have no mated probe. The reference is a random picture that was acquired: at enrollment a
    person is asked again until one is.
    """
    people = identity_numbers(embedded.pictures)
    random = np.random.default_rng(seed)
    lost = np.zeros(len(people), dtype=bool)
    lost[list(embedded.faults)] = True
    pictures, usable = np.bincount(people), np.bincount(people, weights=~lost)
    enrollable = np.flatnonzero(usable >= 1)
    if gallery > len(enrollable) - 1:
        raise EdgeOneshotError(
            f"a gallery of {gallery}: expected at most {len(enrollable) - 1}, with {len(enrollable)} people in the pictures",
            "ask for a smaller --gallery, or name more pictures",
        )
    several = random.permutation(enrollable[pictures[enrollable] >= 2])
    single = random.permutation(enrollable[pictures[enrollable] < 2])
    members = np.concatenate([several, single])[:gallery]
    references = np.array([random.choice(np.flatnonzero((people == m) & ~lost)) for m in members])
    inside = np.isin(people, members)
    mated = np.flatnonzero(inside & ~np.isin(np.arange(len(people)), references))
    other = np.flatnonzero(~inside)

    def best(probes: Ints) -> tuple[Float32Array, Ints]:
        if not probes.size:
            return np.zeros(0, np.float32), np.zeros(0, np.intp)
        score = rows(embedded.vectors[references], comparator, embedded.vectors[probes])
        at = score.argmax(axis=1)
        top = np.where(lost[probes], np.float32(-np.inf), score[np.arange(len(probes)), at])
        return top.astype(np.float32), at.astype(np.intp)

    mated_best, mated_at = best(mated)
    other_best, other_at = best(other)
    return Trials(
        references=references,
        mated_best=mated_best,
        mated_own=people[references][mated_at] == people[mated],
        mated_person=people[mated],
        mated_probe=mated,
        mated_at=mated_at,
        other_best=other_best,
        other_person=people[other],
        other_probe=other,
        other_at=other_at,
    )


def rate(hits: NDArray[np.bool_], person: Ints, seed: int = 0) -> tuple[float, Interval]:
    """Share of hits and its 95 % interval: people drawn again, with all their probes. No hit, or hits only: Wilson's, by people."""
    if not hits.size:
        return float("nan"), Interval(low=0.0, high=1.0)
    _, group = np.unique(person, return_inverse=True)
    count, total = np.bincount(group, weights=hits), np.bincount(group)
    share = float(count.sum() / total.sum())
    if share in (0.0, 1.0):
        return share, wilson(round(share * len(total)), len(total))
    draws = np.random.default_rng(seed).multinomial(len(total), np.full(len(total), 1 / len(total)), size=ROUNDS)
    low, high = np.percentile((draws @ count) / np.maximum(draws @ total, 1), [2.5, 97.5])
    return share, Interval(low=float(low), high=float(high))


def report(embedded: Embedded, trials: Trials, threshold: Threshold, claimed_fpir: float) -> dict[str, Any]:
    """The report as JSON values. Intervals are 95 %, over the probes' identities, for this gallery."""
    missed = ~(trials.mated_own & (trials.mated_best >= threshold.value))
    positive = trials.other_best >= threshold.value
    fnir, fnir_ci = rate(missed, trials.mated_person)
    fpir, fpir_ci = rate(positive, trials.other_person)
    confused = ~trials.mated_own & (trials.mated_best >= threshold.value)
    finite = np.isfinite(trials.mated_best)
    return {
        "fpir": _r(fpir),
        "fnir": _r(fnir),
        "rank1": _r(float((trials.mated_own & finite).mean()) if finite.size else float("nan")),
        "gallery": len(trials.references),
        "mated_probes": len(trials.mated_best),
        "non_mated_probes": len(trials.other_best),
        "threshold": round(threshold.value, 5),
        "claimed_fpir": claimed_fpir,
        "ci95": {"fpir": [_r(fpir_ci.low), _r(fpir_ci.high)], "fnir": [_r(fnir_ci.low), _r(fnir_ci.high)]},
        "failures_to_acquire": len(embedded.faults),
        "encoder_id": embedded.encoder_id,
        "mated_identities": int(np.unique(trials.mated_person).size),
        "non_mated_identities": int(np.unique(trials.other_person).size),
        "false_positives": int(positive.sum()),
        "misidentified": int(confused.sum()),
        "threshold_extrapolated": threshold.extrapolated,
        "threshold_approximated": threshold.approximated,
        "fnir_at_measured_fpir": _oracle(trials, claimed_fpir),
    }


def _oracle(trials: Trials, fpir: float) -> float | None:
    """FNIR with the threshold set on these very non-mated probes: what no threshold set beforehand can promise."""
    allowed = int(np.floor(fpir * trials.other_best.size + 1e-9))
    if allowed < 1 or allowed >= trials.other_best.size or not trials.mated_best.size:
        return None
    at = np.sort(trials.other_best)[::-1][allowed]
    return _r(float((~(trials.mated_own & (trials.mated_best > at))).mean()))


def worst(embedded: Embedded, trials: Trials, count: int = 15) -> dict[str, list[dict[str, Any]]]:
    """The non-mated probes that scored highest and the mated probes that scored lowest, by name, not by picture."""
    name = [p.person for p in embedded.pictures]
    high = np.argsort(-trials.other_best)[:count]
    own = np.where(trials.mated_own, trials.mated_best, -1.0)
    low = np.argsort(np.where(np.isfinite(own), own, np.inf))[:count]
    return {
        "non_mated": [
            {
                "probe": name[trials.other_probe[i]],
                "reference": name[trials.references[trials.other_at[i]]],
                "score": round(float(trials.other_best[i]), 4),
            }
            for i in high
        ],
        "mated": [
            {
                "probe": name[trials.mated_probe[i]],
                "best": name[trials.references[trials.mated_at[i]]],
                "score": round(float(trials.mated_best[i]), 4),
            }
            for i in low
        ],
    }


def _r(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
