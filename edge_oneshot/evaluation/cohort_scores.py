"""How high the people of a cohort score with each other, counted over identities.

Every ordered pair of two people has the same weight, however many images they have. Otherwise the few people with
hundreds of images would decide the thresholds of all users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.comparisons import score_matrix
from edge_oneshot.evaluation.dataset import EncodedDataset, identity_numbers
from edge_oneshot.evaluation.gallery_rates import gallery_curves
from edge_oneshot.evaluation.metrics import Ints, effective_number
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float32Array, Float64Array

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1000)  # of galleries
COUNTED = 30  # errors that a ratio of rates needs (the rule of 30, Doddington et al. 2000)
DRAWS = 20  # of one image for each person
ROUNDS = 60  # of the bootstrap over identities
MIN_IDENTITIES = 20


@dataclass(frozen=True, slots=True)
class GalleryCurves:
    """fpir: (sizes, scores), the rate at each of `scores`. carriers: (sizes, scores), the effective number of people."""

    scores: Float64Array
    fpir: Float64Array
    carriers: Float64Array


class EncodedCohort:
    """The embeddings of a cohort by identity: random draws of one image for each person, and weighted counts."""

    def __init__(self, dataset: EncodedDataset, comparator: Comparator, seed: int = 0) -> None:
        """Raises EdgeOneshotError for fewer than MIN_IDENTITIES people."""
        kept = dataset.acquired
        self.comparator = comparator
        self.vectors = dataset.vectors[kept]
        self.people = identity_numbers([dataset.images[i] for i in kept]) if kept else np.zeros(0, np.intp)
        self.count = int(self.people.max()) + 1 if kept else 0
        if self.count < MIN_IDENTITIES:
            raise EdgeOneshotError(
                f"a cohort of {self.count} people with a usable image: expected at least {MIN_IDENTITIES}",
                "collect images of more people who will not be enrolled, one folder for each person",
            )
        self.image_counts = np.bincount(self.people)
        self._start = np.concatenate([[0], np.cumsum(self.image_counts)[:-1]])
        self._order = np.argsort(self.people, kind="stable")
        self._random = np.random.default_rng(seed)
        self.sizes = tuple(s for s in SIZES if s <= (self.count - 1) // 2)

    def one_each(self) -> Float32Array:
        """A random image of every person: float32 (identities, D)."""
        at = self._start + self._random.integers(0, self.image_counts)
        return self.vectors[self._order[at]]

    def draw(self) -> Float32Array:
        """Scores of one random probe of every person with one random reference of every person: float32 (n, n)."""
        return score_matrix(self.one_each(), self.comparator, self.one_each())

    def galleries(self, edges: Float64Array, draws: int = DRAWS) -> GalleryCurves:
        """The FPIR of galleries of `sizes` identities at the thresholds edges[:-1]."""
        ones = np.ones(self.count, dtype=np.intp)
        total = np.zeros((len(self.sizes), self.count, len(edges) - 1), dtype=np.float32)
        for _ in range(draws):
            total += gallery_curves(self.draw(), ones, edges, self.sizes) / np.float32(draws)
        carriers = np.stack([effective_number(t.astype(np.float64)) for t in total])
        return GalleryCurves(edges[:-1], total.mean(axis=1, dtype=np.float64), carriers)

    def bootstrap(self, edges: Float64Array, rounds: int = ROUNDS) -> Float64Array:
        """FPIR curves of resampled people: (rounds, sizes, bins). Probes and galleries are resampled together."""
        found = np.empty((rounds, len(self.sizes), len(edges) - 1))
        for r in range(rounds):
            weight = np.bincount(self._random.integers(0, self.count, self.count), minlength=self.count)
            share = weight / weight.sum()
            found[r] = np.einsum("snb,n->sb", gallery_curves(self.draw(), weight, edges, self.sizes), share)
        return found

    def pair_counts(self, edges: Float64Array, block: int = 512) -> Float64Array:
        """The share of ordered pairs of identities in each bin of `edges`; the sum is 1. All images are used."""
        weight = 1.0 / self.image_counts[self.people]
        total = np.zeros(len(edges) - 1)
        low, width = edges[0], edges[1] - edges[0]
        for start in range(0, len(self.people), block):
            part = slice(start, start + block)
            score = score_matrix(self.vectors, self.comparator, self.vectors[part])
            place = np.clip(((score - low) / width).astype(np.int32), 0, len(edges) - 2)
            w = weight[part, None] * weight[None, :] * (self.people[part, None] != self.people[None, :])
            total += np.bincount(place.ravel(), weights=w.ravel(), minlength=len(edges) - 1)
        share: Float64Array = total / total.sum()
        return share

    def exceedances(self, score: float, block: int = 512) -> tuple[Float64Array, Float64Array, Ints, Ints]:
        """(scores, weights, person, person) of the pairs of images at or above `score`, highest first.

        A weight is a share of all pairs of identities.
        """
        weight = 1.0 / self.image_counts[self.people]
        found: list[tuple[Float32Array, Float64Array, Ints, Ints]] = []
        for start in range(0, len(self.people), block):
            s = score_matrix(self.vectors, self.comparator, self.vectors[start : start + block])
            i, j = np.nonzero((s >= score) & (self.people[start : start + block, None] < self.people[None, :]))
            found.append((s[i, j], weight[start + i] * weight[j], self.people[start + i], self.people[j]))
        s, w, a, b = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(-s, kind="stable")
        pairs = self.count * (self.count - 1) / 2
        return s[order].astype(np.float64), w[order] / pairs, a[order], b[order]

    def mated(self) -> tuple[Float64Array, Float64Array, Ints]:
        """(scores, weights, person) of the pairs of images of one person; every person with a pair has the same weight."""
        scores, weights, owners = [], [], []
        for person in np.flatnonzero(self.image_counts >= 2):
            start = self._start[person]
            own = self.vectors[self._order[start : start + self.image_counts[person]]]
            a, b = np.triu_indices(len(own), 1)
            s = score_matrix(own, self.comparator, own)[a, b]
            scores.append(s)
            weights.append(np.full(s.size, 1.0 / s.size))
            owners.append(np.full(s.size, person))
        if not scores:
            return np.zeros(0), np.zeros(0), np.zeros(0, np.intp)
        w = np.concatenate(weights)
        return np.concatenate(scores).astype(np.float64), w / w.sum(), np.concatenate(owners)

    def template_exponent(self, scores: list[float], draws: int = 10) -> tuple[float, list[dict[str, float]]]:
        """How the false match rate of the best of k templates grows: rate(k) = rate(1) * k ** exponent.

        Measured with k = 2, 3, 5 random images of every person with at least k images, at each of `scores` (rising). The
        exponent grows with the score. The result is the mean at the highest score that could be counted, with all
        measurements; 1, the safe value, if none could be counted.
        """
        found: list[dict[str, float]] = []
        for k in (2, 3, 5):
            rich = np.flatnonzero(self.image_counts >= k)
            if len(rich) < 10:
                continue
            single, best = self._best_of(k, rich, scores, draws)
            found += [
                {
                    "templates": k,
                    "identities": len(rich),
                    "score": round(float(score), 4),
                    "ratio": round(float(best[t] / single[t]), 4),
                    "exponent": round(float(np.log(best[t] / single[t]) / np.log(k)), 4),
                }
                for t, score in enumerate(scores)
                if single[t] >= COUNTED * draws
            ]
        top_score = max((f["score"] for f in found), default=0.0)
        exponent = float(np.mean([f["exponent"] for f in found if f["score"] == top_score])) if found else 1.0
        return round(min(1.0, max(0.0, exponent)), 3), found

    def _best_of(self, k: int, rich: Ints, scores: list[float], draws: int) -> tuple[Float64Array, Float64Array]:
        """False matches with one template, and with the best of k, summed over `draws`: (scores,) each."""
        single, best = np.zeros(len(scores)), np.zeros(len(scores))
        for _ in range(draws):
            probes = self.one_each()
            picks = np.stack(
                [self._start[p] + self._random.choice(self.image_counts[p], k, replace=False) for p in rich]
            )
            references = self.vectors[self._order[picks.ravel()]]
            s = score_matrix(references, self.comparator, probes).reshape(self.count, len(rich), k)
            s[rich, np.arange(len(rich))] = -np.inf
            top = s.max(axis=2)
            for t, score in enumerate(scores):
                single[t] += float((s >= score).sum()) / k
                best[t] += float((top >= score).sum())
        return single, best
