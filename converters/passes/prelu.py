"""PReLU in a form for which XNNPACK has int8 kernels, for every slope.

XNNPACK has no int8 PRELU and no int8 MAXIMUM: each splits the graph into 34 partitions. It has MUL with a fused RELU,
and ADD. For a <= 1, prelu_a(x) = x + relu((a - 1) x): it adds 0 where x > 0, and (a - 1) x where x < 0. The result also
has its own scale, unlike max(x, a x).
For a > 1 the added part would be negative. There prelu_a(x) = -a prelu_b(-x) with b = 1/a: the convolution before negates
the channel and the convolution after absorbs -a, which is exact and costs nothing. For a < -1,
prelu_a(x) = prelu_b(a x) with b = 1/a. All slopes are then in [-1, 1], where the step of int8 is 1/128.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Array, Graph, Op, Tensor
from converters.passes.linear import NONE, RELU, activation_of, binary, is_linear, options, scale_input, scale_output


def _written_out(graph: Graph, add: Op) -> tuple[Tensor, Array, list[Op]] | None:
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


def _two_sided(graph: Graph, sub: Op) -> tuple[Tensor, Array, list[Op]] | None:
    """Recognise relu(x) - s * relu(-x), which is a PReLU of slope s. Returns as `_written_out`."""
    if sub.kind != "SUB" or activation_of(sub) != NONE:
        return None
    relu, mul = graph.producer(sub.tensor(0)), graph.producer(sub.tensor(1))
    if relu is None or mul is None or relu.kind != "RELU" or mul.kind != "MUL" or activation_of(mul) != NONE:
        return None
    slope, negative = mul.tensor(1), graph.producer(mul.tensor(0))
    if slope.data is None or negative is None or negative.kind != "MUL" or activation_of(negative) != RELU:
        return None
    x, minus = negative.tensor(0), negative.tensor(1)
    if relu.tensor(0) is not x or minus.data is None or np.any(minus.array != -1):
        return None
    if slope.array.size not in (1, x.shape[-1]):
        return None
    inner = (relu.output, negative.output, mul.output)
    if any(len(graph.consumers(t)) != 1 or t in graph.outputs for t in inner):
        return None
    return x, slope.array.reshape(-1), [relu, negative, mul]


def recognise_prelu(graph: Graph) -> int:
    """Replace every PReLU that is written out, as TensorFlow or litert-torch does, by one PRELU op. Returns their number."""
    found = 0
    for op in list(graph.ops):
        match = _written_out(graph, op) or _two_sided(graph, op)
        if match is None:
            continue
        x, slope, used = match
        alpha = graph.constant(
            op.output.name + "_slope", np.broadcast_to(slope, (x.shape[-1],)).astype(np.float32).reshape(1, 1, -1)
        )
        graph.ops[graph.ops.index(op)] = Op("PRELU", [x, alpha], [op.output])
        for other in used:
            graph.ops.remove(other)
        found += 1
    return found


def rewrite_prelu(graph: Graph) -> int:
    """Replace every PRELU by MUL (with a fused RELU) and ADD. Returns their number.

    Where the neighbours are not convolutions that can absorb a factor, a MUL by a constant is added.
    """
    count = 0
    for op in list(graph.ops):
        if op.kind != "PRELU":
            continue
        x, y = op.tensor(0), op.output
        slope = np.broadcast_to(op.tensor(1).array.reshape(-1), (x.shape[-1],)).astype(np.float64)
        steep, falling = slope > 1, slope < -1
        if steep.any() or falling.any():
            x = _multiply_before(graph, op, x, np.where(steep, -1.0, np.where(falling, slope, 1.0)))
            if steep.any():
                _multiply_behind(graph, op, y, np.where(steep, -slope, 1.0))
            slope = np.where(steep | falling, 1.0 / np.where(slope == 0, 1.0, slope), slope)
        beyond = graph.constant(y.name + "_slope_less_one", (slope - 1.0).astype(np.float32))
        negative = binary(graph, "MUL", x, beyond, y.name + "_negative")
        negative.options.fusedActivationFunction = RELU
        total = Op("ADD", [x, negative.output], [op.output], options("AddOptions", fusedActivationFunction=NONE))
        at = graph.ops.index(op)
        graph.ops[at : at + 1] = [negative, total]
        count += 1
    return count


def _multiply_before(graph: Graph, op: Op, x: Tensor, factor: Array) -> Tensor:
    before = graph.producer(x)
    if (
        before is not None
        and is_linear(before)
        and activation_of(before) == NONE
        and graph.consumers(x) == [op]
        and x not in graph.outputs
    ):
        scale_output(graph, before, factor)
        return x
    mul = binary(graph, "MUL", x, graph.constant(x.name + "_sign", factor.astype(np.float32)), x.name + "_signed")
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
    mul = Op(
        "MUL",
        [inner, graph.constant(y.name + "_factor", factor.astype(np.float32))],
        [y],
        options("MulOptions", fusedActivationFunction=NONE),
    )
    op.outputs = [inner]
    graph.insert_after(op, mul)
