"""False positive identification rates over every gallery that could be drawn, computed without drawing one.

A gallery of N identities is any N of the M other identities. If k of the M score at or above the threshold with a probe,
the probe is a false positive in all galleries except C(M - k, N) of the C(M, N).
"""

from __future__ import annotations

import numpy as np

from edge_oneshot.evaluation.metrics import Ints
from edge_oneshot.types import Float32Array, Float64Array


def _log_factorials(up_to: int) -> Float64Array:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, up_to + 1)))])


def gallery_curves(
    score: Float32Array, weight: Ints, edges: Float64Array, sizes: tuple[int, ...], others: Ints | None = None
) -> Float32Array:
    """The FPIR of each probe, for galleries of `sizes` identities, at the thresholds edges[:-1]: (sizes, probes, bins).

    score: float32 (n, n), the probe of identity i with the reference of identity j; the diagonal is ignored.
    weight: (n,), how many times each identity was drawn: 1, or the count of a bootstrap. others: (n,), how many the galleries
    of each probe are drawn from; None: all other identities. The score with any further identity must be -inf.
    """
    n, bins = len(score), len(edges) - 1
    place = np.floor((score - edges[0]) * (bins / (edges[-1] - edges[0])))
    np.fill_diagonal(place, -1)
    i, j = np.nonzero(place >= 0)
    at = i * bins + np.minimum(place[i, j], bins - 1).astype(np.intp)
    counts = np.bincount(at, weights=weight[j], minlength=n * bins).reshape(n, bins)
    above = np.rint(np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]).astype(np.int32)
    # The rate depends on M and k only, and M has few values: look it up in one table for each size.
    others, row = np.unique(int(weight.sum()) - weight if others is None else others, return_inverse=True)
    log_factorial = _log_factorials(int(weight.sum()))
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


def false_positive_rates(score: Float32Array, weight: Ints, points: list[tuple[float, int]]) -> Float64Array:
    """The FPIR of each probe at each (threshold, gallery size) of `points`: (points, n).

    score, weight: as in gallery_curves.
    """
    n, total = len(score), int(weight.sum())
    others = total - weight
    log_factorial = _log_factorials(total)
    found = np.zeros((len(points), n))
    for p, (threshold, size) in enumerate(points):
        hit = score >= threshold
        np.fill_diagonal(hit, False)
        left = others - np.rint(hit @ weight.astype(np.float64)).astype(np.int64)
        some = (left < others) & (others >= size)
        few = left[some]
        log_clean = np.where(
            few < size,
            -np.inf,
            log_factorial[few]
            - log_factorial[np.maximum(few - size, 0)]
            - log_factorial[others[some]]
            + log_factorial[others[some] - size],
        )
        found[p, some] = -np.expm1(log_clean)
    return found
