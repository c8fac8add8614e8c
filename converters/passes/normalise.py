"""Fold the normalisation into the graph, so that the device feeds raw pixels in [0, 255]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.graph import Graph, Op, Tensor
from converters.passes.linear import NONE, is_linear, options, own_constants, scale_input
from edge_oneshot.errors import ModelError


def fold_normalisation(graph: Graph, mean: Sequence[float], std: Sequence[float], *, exact: bool = False) -> None:
    """Insert (x - mean) / std as a depthwise 1x1 convolution and a factor in the convolution after it.

    The depthwise part subtracts the next whole number c >= mean: raw pixel p becomes p - c, which int8 represents
    without rounding (scale 1). The first convolution absorbs 1/std and, in its bias, the rest of the mean. This is
    exact, except that zero padding of the first convolution now means c instead of the mean: a difference of less than
    one grey level, at the border only, and none for a whole mean. Without such a convolution the depthwise one computes
    the whole of (x - mean) / std, and so it does with `exact`, as the float reference needs it.
    """
    x = graph.inputs[0]
    channels = x.shape[-1]
    if len(mean) != channels or len(std) != channels or any(s <= 0 for s in std):
        raise ModelError(
            f"normalisation: expected {channels} means and {channels} positive deviations, got {mean}, {std}",
            "one value for each channel of the input",
        )
    means, stds = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    raw = Tensor(graph.unique_name("pixels"), x.shape, x.dtype)
    behind = graph.consumers(x)
    weight, bias = np.ones(channels), -np.ceil(means)
    if behind and not exact and all(_absorbs(op, x) for op in behind):
        for op in behind:
            own_constants(graph, op)
            scale_input(graph, op, 1.0 / stds)
            weights, shift = op.tensor(1).array, np.ceil(means) - means
            if op.kind == "CONV_2D":
                rest = np.einsum("oyxi,i->o", weights.astype(np.float64), shift)
            else:
                rest = weights.astype(np.float64).sum(axis=(0, 1, 2)) * shift
            op.tensor(2).data = (op.tensor(2).array + rest).astype(np.float32)
    else:
        weight, bias = 1.0 / stds, -means / stds
    conv = Op(
        "DEPTHWISE_CONV_2D",
        [
            raw,
            graph.constant("normalise_weights", weight.astype(np.float32).reshape(1, 1, 1, channels)),
            graph.constant("normalise_bias", bias.astype(np.float32)),
        ],
        [x],
        options(
            "DepthwiseConv2DOptions",
            padding=1,
            strideW=1,
            strideH=1,
            depthMultiplier=1,
            dilationWFactor=1,
            dilationHFactor=1,
            fusedActivationFunction=NONE,
        ),
    )
    graph.inputs = [raw]
    graph.ops.insert(0, conv)


def _absorbs(op: Op, x: Tensor) -> bool:
    """Whether the op is a convolution of `x`, not grouped and with one output for each depthwise channel."""
    if not is_linear(op) or op.kind == "FULLY_CONNECTED" or op.tensor(0) is not x:
        return False
    return op.tensor(1).shape[3] == x.shape[3]
