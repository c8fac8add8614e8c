"""PReLU in a form that the int8 kernels of XNNPACK take, for every slope.

XNNPACK has no int8 PRELU with a slope per channel, but MUL and MAXIMUM: for a <= 1, prelu(x) = max(x, a * x).
For a > 1 the maximum picks the wrong branch. There prelu_a(x) = -a * max(x', x' / a) with x' = -x, so the channel is
negated in the convolution before, gets the slope 1/a, and -a goes into the convolution behind: exact, and free.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Array, Graph, Op, Tensor
from converters.passes.linear import NONE, activation_of, binary, is_linear, options, scale_input, scale_output


def _slope_of_spelled(graph: Graph, add: Op) -> tuple[Tensor, Array, list[Op]] | None:
    """Recognise relu(x) + s * (x - |x|), which is a PReLU of slope 2 s. Returns x, the slope, and the ops used."""
    if add.kind != "ADD" or activation_of(add) != NONE:
        return None
    a, b = (graph.producer(t) if t is not None else None for t in add.inputs)
    relu, mul = (a, b) if a is not None and a.kind == "RELU" else (b, a)
    if relu is None or mul is None or relu.kind != "RELU" or mul.kind != "MUL" or activation_of(mul) != NONE:
        return None
    slope, difference = mul.tensor(0), mul.tensor(1)
    if slope.data is None:
        slope, difference = difference, slope
    sub = graph.producer(difference)
    if slope.data is None or sub is None or sub.kind != "SUB" or activation_of(sub) != NONE:
        return None
    magnitude, x = graph.producer(sub.tensor(1)), sub.tensor(0)
    if magnitude is None or magnitude.kind != "ABS" or magnitude.tensor(0) is not x or relu.tensor(0) is not x:
        return None
    if slope.array.size not in (1, x.shape[-1]):
        return None
    inner = (relu.output, magnitude.output, sub.output, mul.output)
    if any(len(graph.consumers(t)) != 1 or t in graph.outputs for t in inner):
        return None
    return x, 2.0 * slope.array.reshape(-1), [relu, magnitude, sub, mul]


def recognise_prelu(graph: Graph) -> int:
    """Turn every spelled-out PReLU into one PRELU op. Returns how many were found."""
    found = 0
    for op in list(graph.ops):
        match = _slope_of_spelled(graph, op)
        if match is None:
            continue
        x, slope, used = match
        alpha = graph.constant(op.output.name + "_slope",
                               np.broadcast_to(slope, (x.shape[-1],)).astype(np.float32).reshape(1, 1, -1))
        graph.ops[graph.ops.index(op)] = Op("PRELU", [x, alpha], [op.output])
        for other in used:
            graph.ops.remove(other)
        found += 1
    return found


def prelu_to_maximum(graph: Graph) -> int:
    """Replace every PRELU (and LEAKY_RELU stays as it is) by MUL and MAXIMUM. Returns how many were replaced.

    Where the neighbours are no convolutions that can take the factor in, a MUL by a constant takes it.
    """
    count = 0
    for op in list(graph.ops):
        if op.kind != "PRELU":
            continue
        x, y = op.tensor(0), op.output
        slope = np.broadcast_to(op.tensor(1).array.reshape(-1), (x.shape[-1],)).astype(np.float32)
        steep = slope > 1
        if steep.any():
            factor_in = np.where(steep, -1.0, 1.0).astype(np.float32)
            factor_out = np.where(steep, -slope, 1.0).astype(np.float32)
            slope = np.where(steep, 1.0 / np.where(steep, slope, 1.0), slope).astype(np.float32)
            x = _multiply_before(graph, op, x, factor_in)
            _multiply_behind(graph, op, y, factor_out)
        alpha = graph.constant(y.name + "_alpha", slope)
        scaled = binary(graph, "MUL", x, alpha, y.name + "_scaled")
        larger = Op("MAXIMUM", [x, scaled.output], [op.output], options("MaximumMinimumOptions"))
        at = graph.ops.index(op)
        graph.ops[at:at + 1] = [scaled, larger]
        count += 1
    return count


def _multiply_before(graph: Graph, op: Op, x: Tensor, factor: Array) -> Tensor:
    before = graph.producer(x)
    if (before is not None and is_linear(before) and activation_of(before) == NONE
            and graph.consumers(x) == [op] and x not in graph.outputs):
        scale_output(graph, before, factor)
        return x
    mul = binary(graph, "MUL", x, graph.constant(x.name + "_sign", factor), x.name + "_signed")
    graph.insert_after(before, mul)
    op.inputs[0] = mul.output
    return mul.output


def _multiply_behind(graph: Graph, op: Op, y: Tensor, factor: Array) -> None:
    behind = graph.consumers(y)
    if behind and y not in graph.outputs and all(is_linear(c) and c.tensor(0) is y for c in behind):
        for consumer in behind:
            scale_input(graph, consumer, factor)
        return
    inner = Tensor(graph.unique_name(y.name + "_unscaled"), y.shape, y.dtype)
    mul = Op("MUL", [inner, graph.constant(y.name + "_factor", factor)], [y],
             options("MulOptions", fusedActivationFunction=NONE))
    op.outputs = [inner]
    graph.insert_after(op, mul)
