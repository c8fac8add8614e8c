"""Embeddings -> comparison scores (higher = more alike) -> decision on one capture. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from copy import copy

import numpy as np

from edge_oneshot.matching.adaptation import Adaptation, shifted
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.model.card import Comparator, EncoderCard, Platt
from edge_oneshot.types import Candidate, Comparison, Decision, DecisionKind, Embedding, Fault, Float32Array, Template

EMPTY_GALLERY = Fault(code="empty_gallery", message="the gallery holds no template that can be compared")


def score_all(comparator: Comparator, vectors: Float32Array, probe: Float32Array) -> Float32Array:
    """Scores, float32 (N,), of one probe, float32 (D,), against references, float32 (N, D).

    cosine: dot product of unit vectors, in [-1, 1]. weighted-l1: bias - sum_i w_i |a_i - b_i|, the logit of "same"
    (Koch, Zemel, Salakhutdinov 2015, section 3.1). Since w_i >= 0, a vector scores highest against itself.
    """
    if comparator.kind == "cosine":
        scores: Float32Array = vectors @ probe
        return scores
    weights = np.asarray(comparator.weights, dtype=np.float32)
    distances: Float32Array = np.abs(vectors - probe) @ weights
    return np.float32(comparator.bias) - distances


class References:
    """The comparable templates of a gallery, as one matrix, and the identity of each.

    The rows of one identity lie together, in the order of `identity_ids`. Templates of another encoder are skipped and counted in
    `foreign`. They are never compared.
    adaptation: what is subtracted from templates and probes when they are compared; None: nothing.
    """

    def __init__(
        self,
        comparator: Comparator,
        encoder_id: str,
        templates: Sequence[Template],
        adaptation: Adaptation | None = None,
    ) -> None:
        own = sorted((t for t in templates if t.encoder_id == encoder_id), key=lambda t: t.identity_id)
        self.comparator, self.encoder_id, self.adaptation = comparator, encoder_id, adaptation
        self.foreign = len(templates) - len(own)
        counts = Counter(t.identity_id for t in own)  # in the order of the identities
        self._set(list(counts), list(counts.values()), self._matrix(own))

    def _set(self, identity_ids: list[str], counts: Sequence[int], vectors: Float32Array) -> None:
        """vectors: float32 (N, D), adapted; counts: number of rows of each identity."""
        self.identity_ids, self._vectors = identity_ids, vectors
        self._index = {identity: i for i, identity in enumerate(identity_ids)}
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.intp)])  # of each identity's rows, and the end

    def _matrix(self, own: Sequence[Template]) -> Float32Array:
        """The adapted vectors of these templates, float32 (N, D)."""
        if not own:
            return np.zeros((0, 0), dtype=np.float32)
        return self._adapted(np.stack([t.embedding.vector for t in own]))

    def with_person(self, identity_id: str, templates: Sequence[Template]) -> References:
        """The same references, but one identity has these templates, all of this encoder; none: without the identity.

        The result is that of a gallery that was read anew. A gallery of 100,000 is copied in the time of some comparisons.
        """
        counts = dict(zip(self.identity_ids, self.template_counts, strict=True))
        place = bisect_left(self.identity_ids, identity_id)
        start, old = int(self._starts[place]), counts.pop(identity_id, 0)
        rows = self._matrix(templates)
        parts = [v for v in (self._vectors[:start], rows, self._vectors[start + old :]) if len(v)]
        if templates:
            counts[identity_id] = len(templates)
        ids = sorted(counts)
        new = copy(self)
        new._set(ids, [counts[i] for i in ids], np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32))
        return new

    @property
    def version(self) -> str:
        """Of the adaptation; empty: none."""
        return "" if self.adaptation is None else self.adaptation.version

    def _adapted(self, vectors: Float32Array) -> Float32Array:
        return vectors if self.adaptation is None else shifted(vectors, self.adaptation.subtract)

    def _scores(self, vectors: Float32Array, probe: Embedding) -> Float32Array:
        return score_all(self.comparator, vectors, self._adapted(probe.vector))

    def between(self, a: Embedding, b: Embedding) -> float:
        """The comparison score of two embeddings of this encoder."""
        return float(self._scores(self._adapted(a.vector)[None], b)[0])

    def __len__(self) -> int:
        """Number of comparable templates."""
        return len(self._vectors)

    @property
    def template_counts(self) -> list[int]:
        """Number of comparable templates of each identity, in the order of `identity_ids`."""
        return [int(n) for n in np.diff(self._starts)]

    def alike(self, threshold: float) -> list[tuple[str, str, float]]:
        """Pairs of identities whose best templates score at least `threshold`: (id, id, score), highest score first."""
        best: dict[tuple[int, int], float] = {}
        owner = np.repeat(np.arange(len(self.identity_ids)), np.diff(self._starts))
        for i in range(len(self)):
            scores = score_all(self.comparator, self._vectors[i + 1 :], self._vectors[i])
            for j in np.flatnonzero(scores >= threshold):
                a, b = sorted((int(owner[i]), int(owner[i + 1 + j])))
                if a != b:
                    best[a, b] = max(best.get((a, b), -np.inf), float(scores[j]))
        ranked = sorted(best.items(), key=lambda item: -item[1])
        return [(self.identity_ids[a], self.identity_ids[b], score) for (a, b), score in ranked]

    def score(self, identity_id: str, probe: Embedding) -> float | None:
        """The score of the best template of one identity; None if it has no comparable one."""
        if identity_id not in self._index or probe.encoder_id != self.encoder_id:
            return None
        place = self._index[identity_id]
        rows = self._vectors[self._starts[place] : self._starts[place + 1]]
        return float(self._scores(rows, probe).max())

    def best(self, probe: Embedding) -> Float32Array:
        """The score of the best template of each identity, float32, in the order of `identity_ids`; not for no template."""
        scores = self._scores(self._vectors, probe)
        if len(scores) == len(self.identity_ids):
            return scores
        best: Float32Array = np.maximum.reduceat(scores, self._starts[:-1])
        return best

    def rank(self, probe: Embedding, limit: int = 2) -> list[Candidate]:
        """The `limit` best identities, each with the score of its best template; equal scores in order of identity_id.

        Raises ValueError for a probe of another encoder.
        """
        if probe.encoder_id != self.encoder_id:
            raise ValueError(
                f"probe: expected an embedding of {self.encoder_id[:19]}…, got one of {probe.encoder_id[:19]}…"
            )
        if not len(self):
            return []
        best = self.best(probe)
        order = first(best, limit)
        return [Candidate(identity_id=self.identity_ids[i], score=float(best[i])) for i in order]


def first(scores: Float32Array, limit: int) -> list[int]:
    """The indices of the `limit` highest scores, highest first; of equal scores the lower index first.

    Searching the maximum `limit` times is hundreds of times faster than sorting ten thousand scores.
    """
    left = scores.copy()
    places = []
    for _ in range(min(limit, len(left))):
        place = int(left.argmax())  # the first of equal scores
        places.append(place)
        left[place] = -np.inf
    return places


def decide(probe: Embedding, references: References, threshold: Threshold, card: EncoderCard) -> Decision:
    """Open-set identification, 1:N. An empty gallery gives NON_MATCH without a candidate: the person is unknown."""
    ranked = references.rank(probe)
    if not ranked:
        return Decision(
            kind=DecisionKind.NON_MATCH,
            threshold=threshold.value,
            target_fmr=threshold.target_fmr,
            target_fpir=threshold.target_fpir,
            rate=threshold.rate,
            faults=(EMPTY_GALLERY,),
            encoder_id=references.encoder_id,
        )
    best = ranked[0]
    return Decision(
        kind=DecisionKind.MATCH if best.score >= threshold.value else DecisionKind.NON_MATCH,
        threshold=threshold.value,
        target_fmr=threshold.target_fmr,
        target_fpir=threshold.target_fpir,
        rate=threshold.rate,
        candidate=best,
        runner_up=ranked[1] if len(ranked) > 1 else None,
        same_probability=None if card.probability is None else same_probability(card.probability, best.score),
        encoder_id=references.encoder_id,
        adaptation=references.version,
    )


def by_margin(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one sample by several encoders, highest margin over the threshold first: that one decides.

    Scores of different encoders are not comparable. The margin is chosen since its sign is the decision: a sample
    matches if and only if it matches by some encoder, so this order never changes whether there is a match. Of equal
    margins the earlier comes first; an encoder without a template comes last.
    """
    return sorted(
        comparisons, key=lambda c: -math.inf if c.decision.margin is None else c.decision.margin, reverse=True
    )


def same_probability(platt: Platt, score: float) -> float:
    """The probability that both captures are of one person, for equally many mated and non-mated pairs (Platt 1999)."""
    z = max(-60.0, min(60.0, platt.slope * score + platt.intercept))
    return 1.0 / (1.0 + math.exp(-z))


def not_compared(faults: tuple[Fault, ...], threshold: Threshold) -> Decision:
    """A failure to acquire: the capture failed a quality gate, so no comparison took place."""
    return Decision(
        kind=DecisionKind.NOT_COMPARED,
        threshold=threshold.value,
        target_fmr=threshold.target_fmr,
        target_fpir=threshold.target_fpir,
        rate=threshold.rate,
        faults=faults,
    )
