"""Average pools as operators that XNNPACK takes in int8: MEAN over the whole map, a depthwise convolution elsewhere.

XNNPACK has no int8 AVERAGE_POOL_2D (LiteRT 2.3): each leaves it and returns.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Graph, Op, Tensor
from converters.passes.linear import NONE, activation_of, options
from converters.passes.padding import SAME, same_padding


def rewrite_average_pools(graph: Graph) -> int:
    """Replace every AVERAGE_POOL_2D; exact up to float rounding. Returns their number."""
    count = 0
    for op in list(graph.ops):
        if op.kind != "AVERAGE_POOL_2D":
            continue
        at = graph.ops.index(op)
        graph.ops[at : at + 1] = _whole(graph, op) or _windows(graph, op)
        count += 1
    return count


def _whole(graph: Graph, op: Op) -> list[Op]:
    """MEAN, if the window is the whole map."""
    x, o = op.tensor(0), op.options
    if (o.filterHeight, o.filterWidth) != x.shape[1:3] or op.output.shape[1:3] != (1, 1) or activation_of(op) != NONE:
        return []
    axes = graph.constant(op.output.name + "_axes", np.array([1, 2], np.int32))
    return [Op("MEAN", [x, axes], [op.output], options("ReducerOptions", keepDims=True))]


def _windows(graph: Graph, op: Op) -> list[Op]:
    """A depthwise convolution with equal weights. TFLite leaves padding out of the mean: a map of factors repairs that."""
    x, o, y = op.tensor(0), op.options, op.output
    kernel, stride = (o.filterHeight, o.filterWidth), (o.strideH, o.strideW)
    area, channels = kernel[0] * kernel[1], x.shape[3]
    inside = []
    for i in (0, 1):
        before, _ = same_padding(x.shape[i + 1], kernel[i], stride[i], 1) if o.padding == SAME else (0, 0)
        first = np.arange(y.shape[i + 1]) * stride[i] - before
        inside.append(np.minimum(first + kernel[i], x.shape[i + 1]) - np.maximum(first, 0))
    factor = (area / np.outer(*inside)).astype(np.float32)
    weights = graph.constant(y.name + "_weights", np.full((1, *kernel, channels), 1 / area, np.float32))
    bias = graph.constant(y.name + "_bias", np.zeros(channels, np.float32))
    whole = bool((factor == 1).all())
    summed = y if whole else Tensor(graph.unique_name(y.name + "_sum"), y.shape, y.dtype)
    fields = {"padding": o.padding, "strideH": stride[0], "strideW": stride[1], "depthMultiplier": 1}
    fields |= {"dilationHFactor": 1, "dilationWFactor": 1, "fusedActivationFunction": activation_of(op) if whole else 0}
    steps = [Op("DEPTHWISE_CONV_2D", [x, weights, bias], [summed], options("DepthwiseConv2DOptions", **fields))]
    if not whole:
        share = graph.constant(y.name + "_share", factor[None, :, :, None])
        steps.append(Op("MUL", [summed, share], [y], options("MulOptions", fusedActivationFunction=activation_of(op))))
    return steps
