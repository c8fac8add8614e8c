"""Open-set identification of labelled images: what `edge-oneshot evaluate identification` reports.

A gallery holds N identities with one image each. Mated probes: their other images. Non-mated probes: all images of all
other people. The threshold comes from the card, for the claimed FPIR and N; it never depends on the probes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.comparisons import score_matrix
from edge_oneshot.evaluation.dataset import EncodedDataset
from edge_oneshot.evaluation.metrics import Interval, Ints, rate_over_people
from edge_oneshot.evaluation.results import rate, rounded
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """image: the image number of each probe (P,). person: its identity number. best: the highest score in the gallery.

    at: the place of that score in the gallery. A probe that was not acquired has the score -inf: at every threshold it
    is a miss, or not a false positive (generalised rates, ISO/IEC 19795-1).
    """

    image: Ints
    person: Ints
    best: Float32Array
    at: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """One gallery and its probes. references: the image numbers of the gallery (N,). own: whether the best is mated."""

    references: Ints
    mated: Probes
    own: NDArray[np.bool_]
    non_mated: Probes


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentificationResult:
    """rank1: the share of mated probes with the highest score for their own identity, at any threshold.

    misidentified: mated probes that match another identity. fnir_at_measured_fpir: the FNIR at the threshold that gives
    the claimed FPIR on these non-mated probes; no threshold that is chosen beforehand can promise it.
    """

    fpir: float | None
    fnir: float | None
    rank1: float | None
    gallery: int
    mated_probes: int
    non_mated_probes: int
    threshold: float
    claimed_fpir: float
    ci95: dict[str, Interval]
    failures_to_acquire: int
    encoder_id: str
    mated_identities: int
    non_mated_identities: int
    false_positives: int
    misidentified: int
    threshold_extrapolated: bool
    threshold_approximated: bool
    fnir_at_measured_fpir: float | None


def draw(dataset: EncodedDataset, comparator: Comparator, gallery: int, seed: int) -> Trials:
    """Draw a gallery at random and score every probe. Raises EdgeOneshotError if there are too few people.

    People with two images or more are drawn first. If there are fewer than `gallery` of them, people with one image,
    who have no mated probe, fill the gallery. The reference is a random image that was acquired: at enrollment a person
    tries again until one is.
    """
    people, lost = dataset.people, dataset.lost
    random = np.random.default_rng(seed)
    images, usable = np.bincount(people), np.bincount(people, weights=~lost)
    enrollable = np.flatnonzero(usable >= 1)
    if gallery > len(enrollable) - 1:
        raise EdgeOneshotError(
            f"a gallery of {gallery} people: expected at most {len(enrollable) - 1}, since {len(enrollable)} people have a "
            "usable image and the others are the non-mated probes",
            "give a smaller --gallery, or images of more people",
        )
    several = random.permutation(enrollable[images[enrollable] >= 2])
    single = random.permutation(enrollable[images[enrollable] < 2])
    members = np.concatenate([several, single])[:gallery]
    references = np.array([random.choice(np.flatnonzero((people == m) & ~lost)) for m in members])
    inside = np.isin(people, members)

    def score(image: Ints) -> Probes:
        if not image.size:
            return Probes(image=image, person=people[image], best=np.zeros(0, np.float32), at=np.zeros(0, np.intp))
        scores = score_matrix(dataset.vectors[references], comparator, dataset.vectors[image])
        at = scores.argmax(axis=1)
        best = np.where(lost[image], np.float32(-np.inf), scores[np.arange(len(image)), at])
        return Probes(image=image, person=people[image], best=best.astype(np.float32), at=at.astype(np.intp))

    mated = score(np.flatnonzero(inside & ~np.isin(np.arange(len(people)), references)))
    return Trials(
        references=references,
        mated=mated,
        own=people[references][mated.at] == mated.person,
        non_mated=score(np.flatnonzero(~inside)),
    )


def measure(dataset: EncodedDataset, trials: Trials, threshold: Threshold, claimed_fpir: float) -> IdentificationResult:
    """Intervals are 95 %, over the identities of the probes, for this gallery."""
    mated, non_mated = trials.mated, trials.non_mated
    missed = ~(trials.own & (mated.best >= threshold.value))
    positive = non_mated.best >= threshold.value
    confused = ~trials.own & (mated.best >= threshold.value)
    fnir, fnir_ci95 = rate_over_people(missed, mated.person)
    fpir, fpir_ci95 = rate_over_people(positive, non_mated.person)
    first = trials.own & np.isfinite(mated.best)
    return IdentificationResult(
        fpir=rate(fpir),
        fnir=rate(fnir),
        rank1=rate(float(first.mean()) if first.size else float("nan")),
        gallery=len(trials.references),
        mated_probes=len(mated.best),
        non_mated_probes=len(non_mated.best),
        threshold=round(threshold.value, 5),
        claimed_fpir=claimed_fpir,
        ci95={"fpir": rounded(fpir_ci95, 6), "fnir": rounded(fnir_ci95, 6)},
        failures_to_acquire=len(dataset.faults),
        encoder_id=dataset.encoder_id,
        mated_identities=int(np.unique(mated.person).size),
        non_mated_identities=int(np.unique(non_mated.person).size),
        false_positives=int(positive.sum()),
        misidentified=int(confused.sum()),
        threshold_extrapolated=threshold.extrapolated,
        threshold_approximated=threshold.approximated,
        fnir_at_measured_fpir=_fnir_at_measured_fpir(trials, claimed_fpir),
    )


def _fnir_at_measured_fpir(trials: Trials, fpir: float) -> float | None:
    """None if the non-mated probes cannot resolve the FPIR."""
    mated, scores = trials.mated.best, trials.non_mated.best
    allowed = int(np.floor(fpir * scores.size + 1e-9))
    if allowed < 1 or allowed >= scores.size or not mated.size:
        return None
    at = np.sort(scores)[::-1][allowed]
    return rate(float((~(trials.own & (mated > at))).mean()))


def highest_non_mated(dataset: EncodedDataset, trials: Trials, count: int) -> list[tuple[str, str, float]]:
    """(probe, reference, score) of the non-mated probes with the highest scores; people by name."""
    return _named(dataset, trials, trials.non_mated, np.argsort(-trials.non_mated.best)[:count])


def lowest_mated(dataset: EncodedDataset, trials: Trials, count: int) -> list[tuple[str, str, float]]:
    """(probe, best reference, score) of the mated probes with the lowest scores for their own identity."""
    own = np.where(trials.own, trials.mated.best, -1.0)
    low = np.argsort(np.where(np.isfinite(own), own, np.inf))[:count]
    return _named(dataset, trials, trials.mated, low)


def _named(dataset: EncodedDataset, trials: Trials, probes: Probes, places: Ints) -> list[tuple[str, str, float]]:
    name = [image.person for image in dataset.images]
    return [
        (name[probes.image[i]], name[trials.references[probes.at[i]]], round(float(probes.best[i]), 4)) for i in places
    ]
