"""Explicit padding, as litert-torch and onnx2tf write it: merged into the operator behind it, or made finite.

A padded max pool arrives as PADV2 with minus infinity, which no int8 range can contain and XNNPACK does not take.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Array, Graph, Op, Tensor
from converters.passes.linear import RELU, RELU6, activation_of, options
from edge_oneshot.errors import ModelError

SAME, VALID = 0, 1
_LEAST = -1e30  # below it a number stands for minus infinity
_KEEPS_SIGN = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE", "CONCATENATION", "PAD", "ADD", "MUL", "SLICE")


def never_negative(graph: Graph, tensor: Tensor, depth: int = 8) -> bool:
    """Whether no value of the tensor can be negative, by the operators before it."""
    op = graph.producer(tensor)
    if op is None or depth == 0:
        return tensor.data is not None and bool((tensor.array >= 0).all())
    if op.kind in ("RELU", "RELU6", "LOGISTIC", "SOFTMAX", "ABS", "SQUARE") or activation_of(op) in (RELU, RELU6):
        return True
    values = [t for t in op.inputs if t is not None and np.dtype(t.dtype).kind == "f"]
    return op.kind in _KEEPS_SIGN and all(never_negative(graph, t, depth - 1) for t in values)


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """(before, after) of TFLite's SAME along one axis."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _window(op: Op) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """(kernel, stride, dilation), each (rows, columns), of a convolution or pool."""
    o = op.options
    stride = (o.strideH, o.strideW)
    if op.kind.endswith("POOL_2D"):
        return (o.filterHeight, o.filterWidth), stride, (1, 1)
    rows, columns = op.tensor(1).shape[1:3]
    return (rows, columns), stride, (max(o.dilationHFactor, 1), max(o.dilationWFactor, 1))


def _is_same(op: Op, x: Tensor, amounts: Array) -> bool:
    kernel, stride, dilation = _window(op)
    wanted = [same_padding(x.shape[i + 1], kernel[i], stride[i], dilation[i]) for i in (0, 1)]
    return [tuple(int(v) for v in row) for row in amounts[1:3]] == wanted


def _edges(graph: Graph, op: Op, x: Tensor, amounts: Array) -> list[Op]:
    """Repeat the first and last row and column. A max pool then has the same result as with minus infinity."""
    steps: list[Op] = []
    for axis in (1, 2):
        before, after = (int(v) for v in amounts[axis])
        if not before and not after:
            continue
        parts = [x]
        for at, wanted in ((0, before), (x.shape[axis] - 1, after)):
            if not wanted:
                continue
            begin, size = np.zeros(4, np.int32), np.array(x.shape, np.int32)
            begin[axis], size[axis] = at, 1
            edge = Tensor(graph.unique_name(f"{op.output.name}_edge_{axis}_{at}"), tuple(int(v) for v in size), x.dtype)
            constants = (graph.constant(edge.name + "_begin", begin), graph.constant(edge.name + "_size", size))
            steps.append(Op("SLICE", [x, *constants], [edge], options("SliceOptions")))
            parts = [edge, *parts] if at == 0 else [*parts, edge]
        shape = tuple(n + (before + after if i == axis else 0) for i, n in enumerate(x.shape))
        last = axis == 2 or not amounts[2].any()
        out = op.output if last else Tensor(graph.unique_name(op.output.name + "_rows"), shape, x.dtype)
        steps.append(Op("CONCATENATION", list(parts), [out], options("ConcatenationOptions", axis=axis)))
        x = out
    return steps


def merge_padding(graph: Graph) -> int:
    """Merge PAD and PADV2 into convolutions and max pools; make the rest finite. Returns the number of changes.

    ModelError: minus infinity that no max pool reads.
    """
    count = 0
    for op in list(graph.ops):
        if op.kind not in ("PAD", "PADV2") or op.tensor(1).data is None or len(op.tensor(0).shape) != 4:
            continue
        x, amounts = op.tensor(0), op.tensor(1).array.reshape(-1, 2)
        value = 0.0 if op.kind == "PAD" else float(op.tensor(2).array.reshape(-1)[0])
        behind = graph.consumers(op.output)
        spatial = not amounts[[0, 3]].any() and op.output not in graph.outputs
        reads = ("MAX_POOL_2D",) if value <= _LEAST else ("CONV_2D", "DEPTHWISE_CONV_2D") if value == 0 else ()
        merged = [
            c for c in behind if c.kind in reads and spatial and c.options.padding == VALID and _is_same(c, x, amounts)
        ]
        for reader in merged:
            reader.inputs[0], reader.options.padding = x, SAME
        count += len(merged)
        if len(merged) == len(behind) and spatial:
            graph.ops.remove(op)
        elif value <= _LEAST:
            _make_finite(graph, op, x, amounts, behind, spatial)
            count += 1
        elif op.kind == "PADV2" and value == 0:
            op.kind, op.inputs, op.options = "PAD", op.inputs[:2], options("PadOptions")
    return count


def _make_finite(graph: Graph, op: Op, x: Tensor, amounts: Array, behind: list[Op], spatial: bool) -> None:
    if not spatial or any(c.kind != "MAX_POOL_2D" for c in behind):
        raise ModelError(
            f"PADV2 {op.output.name}: expected a max pool behind padding with minus infinity, got "
            f"{[c.kind for c in behind]}",
            "pad with zeros",
        )
    if never_negative(graph, x):
        op.kind, op.inputs, op.options = "PAD", op.inputs[:2], options("PadOptions")
    elif amounts.max() > 1:
        raise ModelError(
            f"PADV2 {op.output.name}: expected at most one row of padding in a max pool over values of both signs, "
            f"got {amounts[1:3].tolist()}",
            "put the activation before the pool, or use a stride in the convolution",
        )
    else:
        at = graph.ops.index(op)
        graph.ops[at : at + 1] = _edges(graph, op, x, amounts)
