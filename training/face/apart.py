"""Refit the last layer of the face encoder so that strangers of one sex and group score lower.

Strangers of one sex, group or age share directions of the embedding. These raise their scores and do not distinguish them.
The target of a picture is the network's own embedding (mean of the picture and its mirror image), from which the mean of
adult strangers is subtracted and in which the directions between the groups are reduced. The last layer, which is linear, is
solved for these targets by ridge regression on the features before it. All other layers stay as they are.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Array

REDUCE = 0.4  # share by which the directions between groups shrink
RIDGE = 100.0  # penalty, for rows of unit mean norm and mean weight 1


def unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def group_directions(cells: list[Array], adults: int) -> tuple[Array, Array]:
    """(centre, directions): the mean of the first `adults` cells (D,), every cell with the same weight; and an orthonormal
    basis (K, D) of the differences between the cells' means and the centre.

    cells: vectors (n, D) of strangers of one sex, age band and group each.
    """
    means = np.array([cell.mean(0) for cell in cells])
    centre = means[:adults].mean(0)
    _, spread, basis = np.linalg.svd(means - centre, full_matrices=False)
    return centre, basis[spread > 1e-6 * spread[0]]


def targets_of(vectors: Array, cells: list[Array], adults: int, reduce: float = REDUCE) -> Array:
    """Targets (N, D), unit, of embeddings (N, D), unit. cells: row numbers of strangers, as `group_directions` has them."""
    centre, between = group_directions([vectors[c] for c in cells], adults)
    centred = vectors - centre
    return unit(centred - reduce * (centred @ between.T) @ between)


def solve(features: Array, targets: Array, weights: Array, ridge: float = RIDGE) -> tuple[Array, Array]:
    """(matrix (D, F), bias (D,)) of the last layer: ridge regression of targets (N, D) on features (N, F).

    weights: (N,), mean 1.
    """
    scale = float(np.linalg.norm(features, axis=1).mean())
    rows = np.concatenate([features / scale, np.ones((len(features), 1))], axis=1)
    weighted = rows * weights[:, None]
    solved = np.linalg.solve(rows.T @ weighted + ridge * np.eye(rows.shape[1]), weighted.T @ targets)
    return solved[:-1].T / scale, solved[-1]
