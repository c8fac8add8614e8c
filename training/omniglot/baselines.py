"""Baselines for one-shot methods: nearest drawing in pixels, and modified Hausdorff distance of strokes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.omniglot.data import Runs


def nearest_pixel(runs: Runs) -> NDArray[np.bool_]:
    """Euclidean distance between the unchanged pictures, (R, items): right or wrong."""
    train = runs.train.reshape(*runs.train.shape[:2], -1).astype(np.float32)  # (R, C, 11025)
    test = runs.test.reshape(*runs.test.shape[:2], -1).astype(np.float32)
    squared = (test**2).sum(2)[:, :, None] + (train**2).sum(2)[:, None] - 2 * test @ train.transpose(0, 2, 1)
    return np.asarray(squared.argmin(2) == runs.answer)


def _strokes(ink: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Positions of the ink, float32 (P, 2), minus their mean. A blank drawing has one point."""
    points = np.argwhere(ink).astype(np.float32)
    return points - points.mean(0) if len(points) else np.zeros((1, 2), np.float32)


def hausdorff(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Modified Hausdorff distance (Dubuisson and Jain 1994): the larger of the two mean distances to the nearest point."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * (a @ b.T)
    nearest_b, nearest_a = squared.min(1), squared.min(0)
    return float(max(np.sqrt(np.maximum(nearest_b, 0)).mean(), np.sqrt(np.maximum(nearest_a, 0)).mean()))


def modified_hausdorff(runs: Runs) -> NDArray[np.bool_]:
    """Lake et al.'s demonstration of the runs: centred ink points, nearest example by that distance, (R, items)."""
    right = np.zeros(runs.answer.shape, bool)
    for r in range(len(runs.train)):
        examples = [_strokes(ink) for ink in runs.train[r]]
        for i, ink in enumerate(runs.test[r]):
            probe = _strokes(ink)
            right[r, i] = np.argmin([hausdorff(probe, example) for example in examples]) == runs.answer[r, i]
    return right
