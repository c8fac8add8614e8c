"""How high the people of a cohort score with each other, counted over identities.

Every ordered pair of two people has the same weight, however many images they have. Otherwise the few people with
hundreds of images would decide the thresholds of all users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
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
    """The embeddings of a cohort by identity: random draws of one image for each person, and weighted counts.

    Non-mated pairs are pairs of matched people: those with the same key. cell: the number of each person's key (n,).
    """

    def __init__(
        self,
        dataset: EncodedDataset,
        comparator: Comparator,
        seed: int = 0,
        matched: Mapping[str, Hashable] | None = None,
    ) -> None:
        """matched: person -> key; other people, and keys of fewer than MIN_IDENTITIES people, are left out. None: all pairs.

        Raises EdgeOneshotError for fewer than MIN_IDENTITIES people.
        """
        keys = _large_cells(dataset, matched)
        kept = [i for i in dataset.acquired if dataset.images[i].person in keys]
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
        names = np.unique([dataset.images[i].person for i in kept])
        self.cell: Ints = np.array([keys[name] for name in names], dtype=np.intp)
        counts = np.bincount(self.cell)
        others = counts[self.cell] - 1
        self.pairs = int(others.sum()) // 2  # of matched people
        self.share = others / others.sum()  # of the ordered pairs that begin with each person (n,)
        self.sizes = tuple(s for s in SIZES if s <= (int(counts.min()) - 1) // 2)

    def one_each(self) -> Float32Array:
        """A random image of every person: float32 (identities, D)."""
        at = self._start + self._random.integers(0, self.image_counts)
        return self.vectors[self._order[at]]

    def draw(self) -> Float32Array:
        """Scores of one random probe of every person with one random reference of every person: float32 (n, n).

        -inf for people who are not matched.
        """
        score = score_matrix(self.one_each(), self.comparator, self.one_each())
        score[self.cell[:, None] != self.cell] = -np.inf
        return score

    def others(self, weight: Ints) -> Ints:
        """The number of matched people of each person (n,), if person i was drawn weight[i] times."""
        total: Ints = np.bincount(self.cell, weights=weight).astype(np.intp)[self.cell] - weight
        return total

    def galleries(self, edges: Float64Array, draws: int = DRAWS) -> GalleryCurves:
        """The FPIR of galleries of `sizes` identities at the thresholds edges[:-1]."""
        ones = np.ones(self.count, dtype=np.intp)
        total = np.zeros((len(self.sizes), self.count, len(edges) - 1), dtype=np.float32)
        for _ in range(draws):
            total += gallery_curves(self.draw(), ones, edges, self.sizes, self.others(ones)) / np.float32(draws)
        # Each probe counts like its share of the pairs, so that a gallery of one gives the rate of one comparison.
        total *= (self.count * self.share).astype(np.float32)[None, :, None]
        carriers = np.stack([effective_number(t.astype(np.float64)) for t in total])
        return GalleryCurves(edges[:-1], total.mean(axis=1, dtype=np.float64), carriers)

    def bootstrap(self, edges: Float64Array, rounds: int = ROUNDS) -> Float64Array:
        """FPIR curves of resampled people: (rounds, sizes, bins). Probes and galleries are resampled together."""
        found = np.empty((rounds, len(self.sizes), len(edges) - 1))
        for r in range(rounds):
            weight = np.bincount(self._random.integers(0, self.count, self.count), minlength=self.count)
            share = weight * self.share / (weight @ self.share)
            curves = gallery_curves(self.draw(), weight, edges, self.sizes, self.others(weight))
            found[r] = np.einsum("snb,n->sb", curves, share)
        return found

    def pair_counts(self, edges: Float64Array, block: int = 512) -> Float64Array:
        """The share of ordered pairs of identities in each bin of `edges`; the sum is 1. All images are used."""
        weight, cell = 1.0 / self.image_counts[self.people], self.cell[self.people]
        total = np.zeros(len(edges) - 1)
        low, width = edges[0], edges[1] - edges[0]
        for start in range(0, len(self.people), block):
            part = slice(start, start + block)
            score = score_matrix(self.vectors, self.comparator, self.vectors[part])
            place = np.clip(((score - low) / width).astype(np.int32), 0, len(edges) - 2)
            pair = (self.people[part, None] != self.people) & (cell[part, None] == cell)
            w = weight[part, None] * weight[None, :] * pair
            total += np.bincount(place.ravel(), weights=w.ravel(), minlength=len(edges) - 1)
        share: Float64Array = total / total.sum()
        return share

    def exceedances(self, score: float, block: int = 512) -> tuple[Float64Array, Float64Array, Ints, Ints]:
        """(scores, weights, person, person) of the pairs of images at or above `score`, highest first.

        A weight is a share of all pairs of identities.
        """
        weight, cell = 1.0 / self.image_counts[self.people], self.cell[self.people]
        found: list[tuple[Float32Array, Float64Array, Ints, Ints]] = []
        for start in range(0, len(self.people), block):
            part = slice(start, start + block)
            s = score_matrix(self.vectors, self.comparator, self.vectors[part])
            pair = (self.people[part, None] < self.people) & (cell[part, None] == cell)
            i, j = np.nonzero((s >= score) & pair)
            found.append((s[i, j], weight[start + i] * weight[j], self.people[start + i], self.people[j]))
        s, w, a, b = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(-s, kind="stable")
        return s[order].astype(np.float64), w[order] / self.pairs, a[order], b[order]

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


def _large_cells(dataset: EncodedDataset, matched: Mapping[str, Hashable] | None) -> dict[str, int]:
    """Person -> number of the key, for the people with an acquired image and a key of MIN_IDENTITIES people or more."""
    names = {dataset.images[i].person for i in dataset.acquired}
    if matched is None:
        return dict.fromkeys(names, 0)
    sizes = Counter(matched[name] for name in names if name in matched)
    large = sorted((key for key, size in sizes.items() if size >= MIN_IDENTITIES), key=str)
    number = {key: i for i, key in enumerate(large)}
    return {name: number[matched[name]] for name in names if name in matched and matched[name] in number}
