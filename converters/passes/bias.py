"""Bias correction (Nagel et al. 2019, section 4.2): compensates the shift of a layer's mean by rounding its weights.

With W the float weights and Wq the int8 ones, an output shifts by (Wq - W) * E[x], which is not zero if the mean input
is not. E[x] is measured on the calibration chips at each position, so that zero padding is included. The shift is
subtracted from the float bias before quantisation; the weights do not change.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Array, Graph, Op
from converters.passes.linear import along, groups_of, is_linear, output_axis, own_constants

_SAME = 0


def rounding_error(weights: Array, axis: int) -> Array:
    """Wq - W of symmetric int8 weights with one scale for each slice along `axis`, as the quantiser rounds them."""
    rest = tuple(i for i in range(weights.ndim) if i != axis)
    peak = np.maximum(np.abs(weights).max(axis=rest), 1e-9).astype(np.float32)
    scale = along(peak / np.float32(127), axis, weights.ndim)
    return np.asarray(np.clip(np.rint(weights / scale), -127, 127) * scale - weights)


def correct_biases(graph: Graph, mean_maps: dict[str, Array]) -> int:
    """Correct every convolution's bias. mean_maps: tensor name -> mean activation (H, W, C) or (C,). Returns the count."""
    count = 0
    for op in graph.ops:
        if not is_linear(op) or op.tensor(0).name not in mean_maps:
            continue
        own_constants(graph, op)
        error = rounding_error(op.tensor(1).array.astype(np.float64), output_axis(op))
        shift = _apply(op, error, mean_maps[op.tensor(0).name].astype(np.float64))
        op.tensor(2).data = (op.tensor(2).array - shift).astype(np.float32)
        count += 1
    return count


def _apply(op: Op, weights: Array, mean: Array) -> Array:
    """Mean over positions of the op's result (without bias) for the input `mean`, per output channel."""
    if op.kind == "FULLY_CONNECTED":
        return np.asarray(weights @ mean.reshape(-1, weights.shape[1]).mean(axis=0))
    height, width, _ = mean.shape
    rows, columns = op.output.shape[1:3]
    kh, kw = weights.shape[1:3]
    sy, sx = op.options.strideH, op.options.strideW
    dy, dx = max(op.options.dilationHFactor, 1), max(op.options.dilationWFactor, 1)
    top = left = bottom = right = 0
    if op.options.padding == _SAME:
        pad_y = max((rows - 1) * sy + (kh - 1) * dy + 1 - height, 0)
        pad_x = max((columns - 1) * sx + (kw - 1) * dx + 1 - width, 0)
        top, left = pad_y // 2, pad_x // 2
        bottom, right = pad_y - top, pad_x - left
    padded = np.pad(mean, ((top, bottom), (left, right), (0, 0)))
    shift = 0.0
    for i in range(kh):
        for j in range(kw):
            seen = padded[i * dy : i * dy + rows * sy : sy, j * dx : j * dx + columns * sx : sx].mean(axis=(0, 1))
            tap = weights[:, i, j]
            if op.kind == "DEPTHWISE_CONV_2D":
                shift = shift + tap[0] * np.repeat(seen, tap.shape[1] // len(seen))
            else:
                by_group = seen.reshape(groups_of(op), -1)
                shift = shift + (tap * np.repeat(by_group, len(tap) // len(by_group), axis=0)).sum(axis=1)
    return np.asarray(shift)
