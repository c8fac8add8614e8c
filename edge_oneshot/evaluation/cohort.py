"""Embeddings of a cohort -> the card's `cohort`: how often strangers score how high, pair by pair and gallery by gallery.

Everything is counted over identities, not over pictures: every ordered pair of two people weighs the same however many
pictures they have. Otherwise the few people with hundreds of pictures would set everybody's threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.comparisons import identity_numbers
from edge_oneshot.evaluation.dataset import Embedded
from edge_oneshot.evaluation.metrics import Ints
from edge_oneshot.matching.compare import score_all
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float32Array, Float64Array

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1000)
FPIRS = (0.3, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 1e-6)
FMRS = (0.9, 0.7, 0.5, 0.3, 0.2, *FPIRS[1:])
FNMRS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)
CARRIERS = 50  # a rate is measured while at least so many people carry it (an effective number)
COUNTED = 30  # errors that a ratio of rates needs (the rule of 30, Doddington et al. 2000)
DRAWS = 20  # of one picture per person
ROUNDS = 60  # of the bootstrap over identities
BINS = 400
TAIL_RATE = 2e-3  # where the extreme-value tail begins
MAX_SHAPE = 0.5
MIN_IDENTITIES = 20


@dataclass(frozen=True, slots=True)
class Curves:
    """fpir: (sizes, scores) the rate at each of `scores`. carriers: the effective number of identities behind it."""

    scores: Float64Array
    fpir: Float64Array
    carriers: Float64Array


def rows(vectors: Float32Array, comparator: Comparator, probes: Float32Array) -> Float32Array:
    """Scores float32 (P, N) of probes (P, D) against references (N, D)."""
    if comparator.kind == "cosine":
        scores: Float32Array = probes @ vectors.T
        return scores
    return np.stack([score_all(comparator, vectors, probe) for probe in probes])


def kish(weights: Float64Array, axis: int = 0) -> Float64Array:
    """Effective number of carriers of a sum: (sum w)^2 / sum w^2 (Kish 1965)."""
    total, squares = weights.sum(axis=axis), (weights**2).sum(axis=axis)
    return np.asarray(np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0))


def gallery_curves(score: Float32Array, weight: Ints, edges: Float64Array, sizes: tuple[int, ...]) -> Float32Array:
    """FPIR of each probe against galleries of `sizes` identities, at the thresholds edges[:-1]: (sizes, probes, bins).

    score: float32 (n, n), probe of identity i against the reference of identity j; the diagonal is left out.
    weight: how often each identity was drawn (1, or the bootstrap's). A gallery of N is any N of the other identities,
    so a probe with k of M others at or above the threshold is a false positive in all galleries but
    C(M - k, N) of C(M, N): the mean over every gallery that could be drawn, without drawing one.
    """
    n, bins = len(score), len(edges) - 1
    place = np.floor((score - edges[0]) * (bins / (edges[-1] - edges[0])))
    np.fill_diagonal(place, -1)
    i, j = np.nonzero(place >= 0)
    at = i * bins + np.minimum(place[i, j], bins - 1).astype(np.intp)
    counts = np.bincount(at, weights=weight[j], minlength=n * bins).reshape(n, bins)
    above = np.rint(np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]).astype(np.int32)
    # The share depends on M and k alone, and M takes few values: one table for each size, looked up.
    others, row = np.unique(int(weight.sum()) - weight, return_inverse=True)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, int(weight.sum()) + 1)))])
    k = np.arange(int(above.max(initial=0)) + 1)
    found = np.empty((len(sizes), n, bins), dtype=np.float32)
    for s, size in enumerate(sizes):
        left = others[:, None] - k
        certain = left < size
        left = np.where(certain, size, left)
        log_clean = (
            log_factorial[left]
            - log_factorial[left - size]
            - log_factorial[others, None]
            + log_factorial[np.maximum(others - size, 0), None]
        )
        table = np.where(certain, 1.0, -np.expm1(np.minimum(log_clean, 0.0))).astype(np.float32)
        found[s] = table[row[:, None], above]
    return found


def thresholds(curve: Float64Array, scores: Float64Array, rates: tuple[float, ...]) -> Float64Array:
    """The scores at which a falling curve passes each rate, linear in log(rate); NaN where it never falls that low."""
    depth = -np.log(np.maximum(curve, 1e-15))
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(depth)) > 0])
    last = depth[curve > 0].max() if (curve > 0).any() else -math.inf
    wanted = -np.log(np.asarray(rates))
    out = np.interp(wanted, np.maximum.accumulate(depth)[keep], scores[keep])
    out[wanted > last] = np.nan
    return np.asarray(out)


class CohortScores:
    """The cohort's embeddings by identity: draws of one picture a person, and weighted counts over all pairs."""

    def __init__(self, embedded: Embedded, comparator: Comparator, seed: int = 0) -> None:
        """Raises EdgeOneshotError when there are too few people to say anything."""
        kept = embedded.acquired
        self.comparator = comparator
        self.vectors = embedded.vectors[kept]
        self.people = identity_numbers([embedded.pictures[i] for i in kept]) if kept else np.zeros(0, np.intp)
        self.count = int(self.people.max()) + 1 if kept else 0
        if self.count < MIN_IDENTITIES:
            raise EdgeOneshotError(
                f"a cohort of {self.count} people with a usable picture: expected at least {MIN_IDENTITIES}",
                "collect pictures of more people who will not be enrolled, a folder each",
            )
        self.pictures = np.bincount(self.people)
        self._start = np.concatenate([[0], np.cumsum(self.pictures)[:-1]])
        self._order = np.argsort(self.people, kind="stable")
        self._random = np.random.default_rng(seed)
        self.sizes = tuple(s for s in SIZES if s <= (self.count - 1) // 2)

    def one_each(self) -> Float32Array:
        """A random picture of every person: float32 (identities, D)."""
        at = self._start + self._random.integers(0, self.pictures)
        return self.vectors[self._order[at]]

    def draw(self) -> Float32Array:
        """Scores of a random probe of everybody against a random reference of everybody: float32 (n, n)."""
        return rows(self.one_each(), self.comparator, self.one_each())

    def galleries(self, edges: Float64Array, draws: int = DRAWS) -> Curves:
        ones = np.ones(self.count, dtype=np.intp)
        total = np.zeros((len(self.sizes), self.count, len(edges) - 1), dtype=np.float32)
        for _ in range(draws):
            total += gallery_curves(self.draw(), ones, edges, self.sizes) / np.float32(draws)
        return Curves(
            edges[:-1], total.mean(axis=1, dtype=np.float64), np.stack([kish(t.astype(np.float64)) for t in total])
        )

    def bootstrap(self, edges: Float64Array, rounds: int = ROUNDS) -> Float64Array:
        """FPIR curves of resampled people: (rounds, sizes, bins). Probes and galleries are drawn again together."""
        found = np.empty((rounds, len(self.sizes), len(edges) - 1))
        for r in range(rounds):
            weight = np.bincount(self._random.integers(0, self.count, self.count), minlength=self.count)
            share = weight / weight.sum()
            found[r] = np.einsum("snb,n->sb", gallery_curves(self.draw(), weight, edges, self.sizes), share)
        return found

    def pair_counts(self, edges: Float64Array, block: int = 512) -> Float64Array:
        """Share of ordered pairs of identities per bin of `edges`, all pictures of both weighing alike: sums to 1."""
        weight = 1.0 / self.pictures[self.people]
        total = np.zeros(len(edges) - 1)
        low, width = edges[0], edges[1] - edges[0]
        for start in range(0, len(self.people), block):
            part = slice(start, start + block)
            score = rows(self.vectors, self.comparator, self.vectors[part])
            place = np.clip(((score - low) / width).astype(np.int32), 0, len(edges) - 2)
            w = weight[part, None] * weight[None, :] * (self.people[part, None] != self.people[None, :])
            total += np.bincount(place.ravel(), weights=w.ravel(), minlength=len(edges) - 1)
        share: Float64Array = total / total.sum()
        return share

    def exceedances(self, score: float, block: int = 512) -> tuple[Float64Array, Float64Array, Ints, Ints]:
        """(scores, weights, person, person) of the pictures' pairs at or above `score`; a weight is a share of all pairs."""
        weight = 1.0 / self.pictures[self.people]
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(self.people), block):
            s = rows(self.vectors, self.comparator, self.vectors[start : start + block])
            i, j = np.nonzero((s >= score) & (self.people[start : start + block, None] < self.people[None, :]))
            found.append((s[i, j], weight[start + i] * weight[j], self.people[start + i], self.people[j]))
        s, w, a, b = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(-s, kind="stable")
        pairs = self.count * (self.count - 1) / 2
        return s[order].astype(np.float64), w[order] / pairs, a[order], b[order]

    def mated(self) -> tuple[Float64Array, Float64Array, Ints]:
        """(scores, weights, person) of the pairs of pictures of one person; every person with a pair weighs the same."""
        scores, weights, who = [], [], []
        for person in np.flatnonzero(self.pictures >= 2):
            own = self.vectors[self._order[self._start[person] : self._start[person] + self.pictures[person]]]
            a, b = np.triu_indices(len(own), 1)
            s = rows(own, self.comparator, own)[a, b]
            scores.append(s)
            weights.append(np.full(s.size, 1.0 / s.size))
            who.append(np.full(s.size, person))
        if not scores:
            return np.zeros(0), np.zeros(0), np.zeros(0, np.intp)
        w = np.concatenate(weights)
        return np.concatenate(scores).astype(np.float64), w / w.sum(), np.concatenate(who)

    def template_exponent(self, scores: list[float], draws: int = 10) -> tuple[float, list[dict[str, float]]]:
        """How the false match rate of the best of k templates grows: rate(k) = rate(1) * k ** exponent.

        Measured with k = 2, 3, 5 random pictures of everybody who has so many, at each of `scores` (rising). It grows
        with the score, so the mean at the highest score that could be counted is returned (1, the safe side, if none
        could), with everything that was measured.
        """
        found = []
        for k in (2, 3, 5):
            rich = np.flatnonzero(self.pictures >= k)
            if len(rich) < 10:
                continue
            single, best = np.zeros(len(scores)), np.zeros(len(scores))
            for _ in range(draws):
                probes = self.one_each()
                picks = np.stack(
                    [self._start[p] + self._random.choice(self.pictures[p], k, replace=False) for p in rich]
                )
                s = rows(self.vectors[self._order[picks.ravel()]], self.comparator, probes).reshape(
                    self.count, len(rich), k
                )
                s[rich, np.arange(len(rich))] = -np.inf
                top = s.max(axis=2)
                for t, score in enumerate(scores):
                    single[t] += float((s >= score).sum()) / k
                    best[t] += float((top >= score).sum())
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


def fit_tail(scores: Float64Array, weights: Float64Array, start: float, end: float) -> tuple[float, float]:
    """(shape, scale) of the generalized Pareto distribution of the excesses over `start`, by maximum likelihood.

    Scores above `end` are only counted, not looked at (right-censored): so few lie there that a handful of mislabelled
    pictures would bend the tail.
    """
    y, w = scores - start, weights
    inside = (scores < end) & (y >= 0)
    y_in, w_in = y[inside], w[inside]
    beyond, top = float(w[scores >= end].sum()), max(end - start, 1e-9)
    total = float(w_in.sum())
    if total <= 0.0:
        return 0.0, top  # nothing between the two: an exponential tail as wide as what is known
    mean = float((w_in @ y_in + beyond * top) / max(total, 1e-300))
    # Grimshaw (1993): with theta = shape / scale the best shape has a closed form, so one search is left.
    best, answer = -total * np.log(mean) - total, (0.0, mean)
    for theta in np.linspace(max(-0.999 / max(top, float(y_in.max(initial=0.0))), -1.0 / mean), 1.0 / mean, 400):
        if abs(theta * mean) < 1e-6:
            continue
        inner, outer = float(w_in @ np.log1p(theta * y_in)), beyond * np.log1p(theta * top)
        shape = (inner + outer) / total
        if abs(shape) > MAX_SHAPE or shape / theta <= 0:
            continue
        value = -total * np.log(shape / theta) - inner - total
        if value > best:
            best, answer = float(value), (float(shape), float(shape / theta))
    return answer


def fit(
    embedded: Embedded, comparator: Comparator, protocol: str, seed: int = 0, rounds: int = ROUNDS
) -> dict[str, Any]:
    """The card's `cohort` (card.Cohort says what each field means). The same pictures and seed give the same values."""
    c = CohortScores(embedded, comparator, seed)
    sample = c.draw()
    np.fill_diagonal(sample, -np.inf)
    finite = sample[np.isfinite(sample)]
    low, high = (
        float(finite.min()) - 1e-3,
        max(float(rows(c.vectors, comparator, c.vectors).max()), float(finite.max())) + 1e-3,
    )
    fine = np.linspace(low, high, 20001)
    survival = np.cumsum(c.pair_counts(fine)[::-1])[::-1]
    at_fmr = thresholds(survival, fine[:-1], FMRS)
    start = float(thresholds(survival, fine[:-1], (max(TAIL_RATE, 200 / (c.count * (c.count - 1))),))[0])
    scores, weights, a, b = c.exceedances(start)
    measured = _measured_fmr(scores, weights, a, b, c.count)
    end = (
        float(scores[np.searchsorted(np.cumsum(weights), measured)])
        if measured < float(weights.sum())
        else float(scores[-1])
    )
    shape, scale = fit_tail(scores, weights, start, end)
    kept_fmr = [(f, s) for f, s in zip(FMRS, at_fmr, strict=True) if f > measured * 1.001 and np.isfinite(s)]
    kept_fmr.append((measured, end))
    edges = np.linspace(float(at_fmr[2]), high, BINS + 1)  # from where half of all strangers match
    curves = c.galleries(edges)
    resampled = c.bootstrap(edges, rounds)
    gallery_scores, limits, intervals = [], [], []
    for s in range(len(c.sizes)):
        at = thresholds(curves.fpir[s], curves.scores, FPIRS)
        carriers = np.interp(at, curves.scores, curves.carriers[s], right=0.0)
        good = np.isfinite(at) & (carriers >= CARRIERS)
        count = int(np.argmin(good)) if not good.all() else len(good)
        count = max(count, 1)
        gallery_scores.append([round(float(v), 5) for v in at[:count]])
        limits.append(FPIRS[count - 1])
        each = np.stack([thresholds(curve[s], curves.scores, FPIRS[:count]) for curve in resampled])
        intervals.append([_interval(column) for column in each.T])
    exponent, templates = c.template_exponent([s for f, s in kept_fmr if f in (1e-2, 1e-3, 1e-4)])
    mated, mated_weights, _ = c.mated()
    fnmr_scores = weighted_quantiles(mated, mated_weights, FNMRS)
    return {
        "protocol": protocol,
        "identities": c.count,
        "pictures": len(c.people),
        "seed": seed,
        "mated_identities": int((c.pictures >= 2).sum()),
        "measured_to_fmr": _digits(measured),
        "fmrs": [_digits(f) for f, _ in kept_fmr],
        "fmr_scores": [round(float(s), 5) for _, s in kept_fmr],
        "tail": {
            "kind": "gpd",
            "from_score": round(start, 5),
            "rate": _digits(float(weights.sum())),
            "shape": round(shape, 4),
            "scale": round(scale, 5),
            "fitted_to_score": round(end, 5),
        },
        "gallery_sizes": list(c.sizes),
        "fpirs": list(FPIRS),
        "gallery_scores": gallery_scores,
        "measured_to_fpir": limits,
        "gallery_ci95": intervals,
        "template_exponent": exponent,
        "template_exponent_measured": templates,
        "fnmrs": list(FNMRS) if mated.size else [],
        "fnmr_scores": [round(float(s), 5) for s in fnmr_scores],
    }


def _interval(resampled: Float64Array) -> list[float] | None:
    """The central 95 %; None where fewer than half of the resampled cohorts could count the rate."""
    found = resampled[np.isfinite(resampled)]
    if 2 * found.size < resampled.size:
        return None
    low, high = np.quantile(found, [0.025, 0.975])
    return [round(float(low), 5), round(float(high), 5)]


def weighted_quantiles(scores: Float64Array, weights: Float64Array, shares: tuple[float, ...]) -> list[float]:
    """The scores below which each share of the weight lies."""
    if not scores.size:
        return []
    order = np.argsort(scores, kind="stable")
    below = np.cumsum(weights[order])
    return [float(v) for v in scores[order][np.minimum(np.searchsorted(below, shares), scores.size - 1)]]


def _measured_fmr(scores: Float64Array, weights: Float64Array, a: Ints, b: Ints, people: int) -> float:
    """The lowest rate that at least CARRIERS people carry: beyond it, a few faces (or labels) decide the threshold."""
    rates = np.cumsum(weights)
    for rate in np.geomspace(1e-7, float(rates[-1]), 400):
        n = int(np.searchsorted(rates, rate)) + 1
        carried = (np.bincount(a[:n], weights[:n], people) + np.bincount(b[:n], weights[:n], people)).astype(np.float64)
        if float(kish(carried)) >= CARRIERS:
            return float(rate)
    return float(rates[-1])


def _digits(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")
