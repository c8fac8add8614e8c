"""The evidence of all comparisons of one track: a sequential decision on correlated frames. Pure.

After n frames the evidence for an identity is

    s * neff ** CREDIT        s = mean comparison score of the identity,  neff = n^2 / |e_1 + ... + e_n|^2

with the frames' unit embeddings e. neff is how many independent views the frames are worth: 1 if they all look alike,
more as they differ. With CREDIT = 0 more frames would only average; with 1/2 the evidence would be the score of
the pooled embedding (s sqrt(neff) = cos(e_1 + ... + e_n, template)), the log-likelihood ratio of independent frames up
to a factor. Frames of one person are not independent against one template: whoever resembles bob does so in every frame.
CREDIT lies between: the largest, on LFW sets 1-4, with which visits of strangers kept near the rate that was stated for one
comparison.

A person who stays is compared more often, and the best of many windows is higher than the first. So the threshold for the
evidence of a track is that of one frame, raised by RAISE for each factor of e in the number of different views beyond FREE_VIEWS.
docs/explanation/evaluation.md, "Evidence over time", has the figures.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_oneshot.types import Embedding, Float32Array, Observation, Withheld

CREDIT = 0.25
# LFW sets 1-4: neff of 8 photographs of one person is 1.3 in the median and 1.7 at the 99th percentile (78 people). Frames
# with a larger neff show several people.
MAX_VIEWS = 2.0
# A frame is another view if its cosine with each view before is lower. Photographs of one person have 0.77 in the median.
SAME_VIEW = 0.9
FREE_VIEWS = 3
RAISE = 0.03
MOST_VIEWS = 100  # that are kept for each encoder; the raise ends there

Score = Callable[[str, Embedding], float | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvidenceResult:
    """The result at the newest frame. identity_id: to report as a match, or None; frames: its frames that match alone.

    together: whether all frames together reach the threshold for the best candidate of the newest frame.
    withheld: why there is no match; None also if too few frames match, alone or together.
    """

    together: bool
    identity_id: str | None = None
    frames: Sequence[Observation] = ()
    withheld: Withheld | None = None


class Evidence:
    """The last `limit` compared frames of one track.

    Each frame counts for the identity that its encoder of the highest margin decided for. The scores of all frames
    together are those of one encoder, that of the identity's template, against that encoder's threshold.

    score: (identity_id, embedding) -> comparison score in the present gallery; None if it has no such identity. So a
    removed person has no evidence, and a new template is also compared with earlier frames. unit: embeddings are unit
    vectors (comparator cosine); if not, frames are only averaged. credit, rise:
    benchmarks/evidence.py and stay.py measure other values.
    """

    def __init__(self, limit: int, score: Score, *, unit: bool, credit: float = CREDIT, rise: float = RAISE) -> None:
        self._window: deque[Observation] = deque(maxlen=limit)
        self._score, self._unit, self._credit, self._rise = score, unit, credit, rise
        self._views = defaultdict[str, list[Float32Array]](list)  # encoder_id -> the different views of the whole track

    def __len__(self) -> int:
        return len(self._window)

    def newest(self, count: int) -> list[Observation]:
        return list(self._window)[-count:]

    def add(self, observation: Observation) -> None:
        """Add an observation that was compared."""
        self._window.append(observation)
        if self._unit:
            for comparison in observation.comparisons:
                vector, views = comparison.embedding.vector, self._views[comparison.embedding.encoder_id]
                if len(views) < MOST_VIEWS and all(float(v @ vector) < SAME_VIEW for v in reversed(views)):
                    views.append(vector)

    def keep(self, limit: int) -> None:
        """Keep only the `limit` newest comparisons from now on."""
        self._window = deque(self._window, maxlen=limit)

    def judge(self, confirm_frames: int) -> EvidenceResult:
        """Decide, at the thresholds of the newest frame. A match needs confirm_frames comparisons, all together at the
        threshold of the track, at least one of them alone, more than two in three single-frame matches for the identity, and the newest
        frame with it as the best candidate."""
        newest = self.candidate()
        together = newest is not None and self._reached(newest[0])
        matched = self.matched()
        if newest is None or not matched or len(self) < confirm_frames:
            return EvidenceResult(together=together)
        most = max(matched, key=lambda who: len(matched[who]))
        reached = together if most == newest[0] else self._reached(most)
        # Frames that match another identity indicate two people, or a poor reference.
        if reached and 3 * len(matched[most]) > 2 * sum(map(len, matched.values())):
            if most != newest[0]:
                return EvidenceResult(together=together, withheld=Withheld.NEWEST)
            return EvidenceResult(together=together, identity_id=most, frames=matched[most])
        return EvidenceResult(together=together, withheld=Withheld.DIVIDED if reached or together else None)

    def candidate(self) -> tuple[str, float] | None:
        """(identity_id, evidence) of the best candidate of the newest frame, on the scale of the scores; None: it has none."""
        best = self._window[-1].decision.candidate if self._window else None
        evidence = None if best is None else self._together(best.identity_id)
        return None if best is None or evidence is None else (best.identity_id, evidence[0])

    def matched(self) -> dict[str, list[Observation]]:
        """identity_id -> the frames that have it as the best candidate and reach the threshold alone."""
        thresholds = self._thresholds()
        found = defaultdict[str, list[Observation]](list)
        for observation in self._window:
            candidate, embedding = observation.decision.candidate, observation.embedding
            threshold = None if embedding is None else thresholds.get(embedding.encoder_id)
            if candidate is not None and threshold is not None and candidate.score >= threshold:
                found[candidate.identity_id].append(observation)
        return found

    def raised(self, encoder_id: str) -> float:
        """How much the threshold of the track is above that of one frame, for the scores of an encoder."""
        return self._rise * math.log(max(1.0, len(self._views[encoder_id]) / FREE_VIEWS))

    def _thresholds(self) -> dict[str, float]:
        """encoder_id -> the threshold at the newest frame, for each encoder in use."""
        newest = self._window[-1].comparisons if self._window else ()
        return {c.embedding.encoder_id: c.decision.threshold for c in newest}

    def _reached(self, identity_id: str) -> bool:
        evidence = self._together(identity_id)
        return evidence is not None and evidence[0] >= evidence[1]

    def _together(self, identity_id: str) -> tuple[float, float] | None:
        """(evidence, threshold of the track) by the encoder of the identity's template; None if it did not encode all frames."""
        for encoder_id, threshold in self._thresholds().items():
            embeddings = [c.embedding for o in self._window if (c := o.by(encoder_id)) is not None]
            scores = [s for e in embeddings if (s := self._score(identity_id, e)) is not None]
            if len(scores) == len(self._window):
                views = independent_views(embeddings) if self._unit else 1.0
                return sum(scores) / len(scores) * float(views**self._credit), threshold + self.raised(encoder_id)
        return None


def independent_views(embeddings: Sequence[Embedding]) -> float:
    """neff, in [1, MAX_VIEWS], of unit vectors of one encoder, at least one.

    It is also 1 for frames too different to show one person; those are only averaged.
    """
    total = np.sum([e.vector for e in embeddings], axis=0, dtype=np.float64)
    views = len(embeddings) ** 2 / max(float(np.dot(total, total)), 1e-9)
    return max(views, 1.0) if views <= MAX_VIEWS else 1.0
