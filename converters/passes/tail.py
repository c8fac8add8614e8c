"""A final L2 normalisation, removed: the comparator on the device normalises, and int8 has no precision to spare."""

from __future__ import annotations

import numpy as np

from converters.graph import Graph, Op, Tensor
from converters.passes.layout import output_of

_ROOTS = ("RSQRT", "SQRT")
_BETWEEN = ("RESHAPE", "BROADCAST_TO", "MAXIMUM", "MINIMUM", "ADD", "DIV", "TRANSPOSE", "EXPAND_DIMS")


def _is_length(graph: Graph, tensor: Tensor, x: Tensor) -> bool:
    """Whether the tensor is a positive number made from the root of a sum over `x`."""
    op = graph.producer(tensor)
    while op is not None and op.kind in _BETWEEN:
        inner = [t for t in op.inputs if t is not None and t.data is None]
        constants = [t for t in op.inputs if t is not None and t.data is not None and np.dtype(t.dtype).kind == "f"]
        if len(inner) != 1 or any((t.array < 0).any() for t in constants):
            return False
        tensor, op = inner[0], graph.producer(inner[0])
    return op is not None and _is_root(op) and int(np.prod(tensor.shape)) == 1 and _sums(graph, op, x)


def _is_root(op: Op) -> bool:
    if op.kind == "POW" and op.tensor(1).data is not None:  # as litert-torch writes it
        return bool((np.abs(op.tensor(1).array) == 0.5).all())
    return op.kind in _ROOTS


def _sums(graph: Graph, op: Op, x: Tensor) -> bool:
    """Whether the op's value comes from a sum over the whole of `x`."""
    waiting, seen = [op], 0
    summed = False
    while waiting and seen < 20:
        step, seen = waiting.pop(), seen + 1
        summed = summed or step.kind == "SUM"
        for t in step.inputs:
            before = None if t is None or t is x else graph.producer(t)
            if t is not None and t.data is None and t is not x and before is None:
                return False
            if before is not None:
                waiting.append(before)
    return summed and not waiting


def remove_normalisation(graph: Graph) -> bool:
    """Remove an L2 normalisation of the result. The direction of the result stays as it was, its length does not."""
    _, op = output_of(graph)
    if op is None:
        return False
    if op.kind == "L2_NORMALIZATION":
        graph.outputs = [op.tensor(0)]
        graph.prune()
        return True
    if op.kind not in ("MUL", "DIV"):
        return False
    pairs = [(op.tensor(0), op.tensor(1))]
    if op.kind == "MUL":
        pairs.append((op.tensor(1), op.tensor(0)))
    for x, length in pairs:
        if x.data is None and length.data is None and x.shape == op.output.shape and _is_length(graph, length, x):
            graph.outputs = [x]
            graph.prune()
            return True
    return False
