"""What the comparisons of one track say together: a sequential decision on correlated frames. Pure.

After n frames the evidence for an identity is

    s * neff ** CREDIT        s = mean comparison score of the identity,  neff = n^2 / |e_1 + ... + e_n|^2

with the frames' unit embeddings e. neff is how many independent views the frames are worth: 1 if they all look alike,
n if none resembles another. With CREDIT = 0 more frames would only average; with 1/2 the evidence would be the score of
the pooled embedding (s sqrt(neff) = cos(e_1 + ... + e_n, template)), the log-likelihood ratio of independent frames up
to a factor. Frames of one person are not independent against one template: whoever resembles bob does so in every frame.
CREDIT lies between, measured so that a stranger's visit keeps the rate that was stated for one comparison:
docs/evaluation.md, "Evidence over time".
"""

from __future__ import annotations

from collections import defaultdict, deque

import numpy as np

from edge_oneshot.types import Observation

CREDIT = 0.25
MAX_VIEWS = 2.0  # different photographs of one person were worth 1.7; a track that is worth more has mixed people


class Evidence:
    """The last `limit` comparisons of one track. unit: embeddings are unit vectors (cosine); else frames only average."""

    def __init__(self, limit: int, *, unit: bool) -> None:
        self._window: deque[Observation] = deque(maxlen=limit)
        self._unit = unit

    def __len__(self) -> int:
        return len(self._window)

    @property
    def window(self) -> tuple[Observation, ...]:
        return tuple(self._window)

    def add(self, observation: Observation) -> None:
        """An observation that was compared."""
        self._window.append(observation)

    def keep(self, limit: int) -> None:
        """Look at so many of the newest comparisons from now on."""
        self._window = deque(self._window, maxlen=limit)

    def best(self) -> tuple[str, float] | None:
        """(identity_id, evidence) of the strongest identity on the scale of the scores; None: no candidate in any frame.

        A frame names its two best identities. Anybody else scored at most what the second did, and is counted with that.
        """
        floor, above = 0.0, defaultdict[str, float](float)
        for observation in self._window:
            first, second = observation.decision.candidate, observation.decision.runner_up
            if first is not None:
                rest = first.score if second is None else second.score
                floor += rest
                above[first.identity_id] += first.score - rest
        if not above:
            return None
        identity_id = max(above, key=lambda i: (above[i], i))
        mean = (floor + above[identity_id]) / len(self._window)
        return identity_id, mean * self.independent_views() ** CREDIT

    def independent_views(self) -> float:
        """neff, in [1, MAX_VIEWS]."""
        vectors = [o.embedding.vector for o in self._window if o.embedding is not None]
        if not self._unit or not vectors:
            return 1.0
        total = np.sum(vectors, axis=0, dtype=np.float64)
        return min(max(len(vectors) ** 2 / max(float(np.dot(total, total)), 1e-9), 1.0), MAX_VIEWS)

    def matched(self, threshold: float) -> dict[str, list[Observation]]:
        """identity_id -> the frames that reach the threshold alone."""
        found = defaultdict[str, list[Observation]](list)
        for observation in self._window:
            candidate = observation.decision.candidate
            if candidate is not None and candidate.score >= threshold:
                found[candidate.identity_id].append(observation)
        return found

    def forget(self, identity_id: str) -> None:
        """Somebody was removed from the gallery: what spoke for them speaks for nobody."""
        kept = (o for o in self._window if o.decision.candidate is None or o.decision.candidate.identity_id != identity_id)
        self._window = deque(kept, maxlen=self._window.maxlen)
