"""What one site's strangers have in common, learned from their visits and subtracted from embeddings. Pure.

Strangers before one camera, or in one neighbourhood, score higher with each other than the cohort's strangers do: their
embeddings share a mean. A part of it is subtracted from probes and templates when they are compared.

Each visitor adds WEIGHT to this part, up to NEEDED visitors: then half of their mean is subtracted, and nothing that comes
later changes a score. A visit that is like that of an earlier visitor (a score of at least ALIKE) does not count, so a person
counts once, however often or long they come. For this the visitors are kept in memory while learning lasts (Visitors);
only their sum remains (Adaptation). docs/explanation/adaptation.md has the measurements.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from edge_oneshot.types import Float32Array, Float64Array

NEEDED = 150  # visitors
WEIGHT = 0.5 / NEEDED  # of one visitor
STEP = 10  # scores change after as many further visitors
ALIKE = 0.5  # score of two visits at which the later one does not count
PER_DAY = 20  # visitors; visits beyond them do not count


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adaptation:
    """What was learned. visits: looked at, counted or not. total: float64 (D,), sum of the `counted` visitors' unit vectors.

    before, after: mean score of two of the visitors, without and with the adaptation. Raises ValueError for values that
    Visitors cannot have made.
    """

    visits: int
    counted: int
    total: Float64Array
    before: float
    after: float

    def __post_init__(self) -> None:
        length = float(np.linalg.norm(self.total)) if self.total.ndim == 1 else np.nan
        if not length <= self.counted * 1.001:
            raise ValueError(f"Adaptation: expected a sum (D,) of {self.counted} unit vectors, got length {length:.3f}")
        if not 2 <= self.counted <= min(self.visits, NEEDED) or not (-1 <= self.before <= 1 and -1 <= self.after <= 1):
            raise ValueError(f"Adaptation: expected 2 to {NEEDED} visitors and mean scores, got {self}")

    @property
    def subtract(self) -> Float32Array:
        """What to subtract from embeddings before they are compared, float32 (D,)."""
        return _part(self.total)

    @property
    def version(self) -> str:
        """Eight hexadecimal digits that name what is subtracted."""
        return hashlib.sha256(self.total.astype("<f8").tobytes()).hexdigest()[:8]


class Visitors:
    """The visitors of a site who have counted so far, in memory only. One thread may use it."""

    def __init__(self, dimension: int) -> None:
        self._vectors = np.zeros((NEEDED, dimension), dtype=np.float32)
        self._day, self._today = 0, 0
        self.visits, self.counted = 0, 0

    def add(self, visit: Float32Array, day: int) -> bool:
        """Whether a visit counts. visit: the unit vector, float32 (D,), of an unknown visitor. day: any number of the day."""
        self.visits += 1
        if day != self._day:
            self._day, self._today = day, 0
        known = self._vectors[: self.counted]
        if self.counted == NEEDED or self._today >= PER_DAY or (known @ visit >= ALIKE).any():
            return False
        self._vectors[self.counted] = visit
        self._today, self.counted = self._today + 1, self.counted + 1
        return True

    def learned(self) -> Adaptation:
        """What at least two visitors have taught so far."""
        known = self._vectors[: self.counted]
        total = known.sum(axis=0, dtype=np.float64)
        before, after = _mean_score(known), _mean_score(shifted(known, _part(total)))
        return Adaptation(visits=self.visits, counted=self.counted, total=total, before=before, after=after)


def shifted(vectors: Float32Array, subtract: Float32Array) -> Float32Array:
    """Unit vectors float32 (…, D) with `subtract` removed, again of unit length."""
    moved = vectors - subtract
    found: Float32Array = (moved / np.linalg.norm(moved, axis=-1, keepdims=True)).astype(np.float32)
    return found


def _part(total: Float64Array) -> Float32Array:
    found: Float32Array = (total * WEIGHT).astype(np.float32)
    return found


def _mean_score(vectors: Float32Array) -> float:
    """The mean score of two different rows of unit vectors (N, D)."""
    count, total = len(vectors), vectors.sum(axis=0, dtype=np.float64)
    return float((total @ total - count) / (count * (count - 1)))
