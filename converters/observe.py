"""Activations of the float graph on the calibration chips: statistics per channel, mean map per tensor."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from converters.flatbuffer import serialize
from converters.graph import Array, Graph
from converters.litert import activations
from converters.passes.equalise import ChannelStats


def observe(graph: Graph, chips: Iterable[Array]) -> tuple[dict[str, ChannelStats], dict[str, Array]]:
    """Run every uint8 chip (H, W, C) through the float graph.

    Returns by tensor name the statistics of each channel, fields float64 (C,), and the mean activation (H, W, C).
    """
    names = [t.name for t in graph.tensors() if t.data is None and np.dtype(t.dtype).kind == "f"]
    low: dict[str, Array] = {}
    high: dict[str, Array] = {}
    total: dict[str, Array] = {}
    square: dict[str, Array] = {}
    count = 0
    for values in activations(serialize(graph), chips):
        count += 1
        for n in names:
            here = np.atleast_1d(values[n])
            here = here[0] if len(here) == 1 and here.ndim > 1 else here  # without the batch: (H, W, C) or (C,)
            v = here.reshape(-1, here.shape[-1])
            least, most = v.min(axis=0), v.max(axis=0)
            mean_square = np.einsum("nc,nc->c", v, v, dtype=np.float64) / len(v)
            low[n] = np.minimum(low[n], least) if n in low else least
            high[n] = np.maximum(high[n], most) if n in high else most
            total[n] = total[n] + here if n in total else here.astype(np.float64)
            square[n] = square[n] + mean_square if n in square else mean_square
    means = {n: total[n] / count for n in total}
    stats = {}
    for n in total:
        average = means[n].reshape(-1, len(low[n])).mean(axis=0)
        stats[n] = ChannelStats(low[n].astype(np.float64), high[n].astype(np.float64), average, square[n] / count)
    return stats, means
