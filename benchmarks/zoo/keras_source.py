"""A Keras network of the zoo: statistics as real pictures give them, and its results."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.graph import Array

BATCH = 16


def liven(net: Any, pictures: Array) -> Any:
    """Random factors and offsets in every batch normalisation, and the statistics that real pictures give.

    pictures: (N, H, W, C), normalised.
    """
    rng = np.random.default_rng(1)
    norms = [layer for layer in net.layers if "BatchNormalization" in type(layer).__name__]
    for layer in norms:
        layer.momentum = 0.5
        layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(rng.normal(0, 0.2, layer.beta.shape))
    for _ in range(4):  # after eight batches the initial statistics weigh 1/256
        for i in range(0, len(pictures), BATCH):
            net(pictures[i : i + BATCH], training=True)
    return net


def results(net: Any, pictures: Array) -> Array:
    return np.concatenate([np.asarray(net(p[None], training=False)).reshape(1, -1) for p in pictures])
