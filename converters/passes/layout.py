"""Transposes and reshapes that change nothing, or that weights can absorb."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.graph import Graph, Op, Tensor
from converters.passes.linear import own_constants


def _bypass(graph: Graph, op: Op) -> None:
    """Let the readers of the op's output read its input. An op that makes the graph's output stays."""
    for reader in graph.consumers(op.output):
        reader.inputs = [op.tensor(0) if t is op.output else t for t in reader.inputs]
    graph.ops.remove(op)


def _order(op: Op | None) -> list[int] | None:
    if op is None or op.kind != "TRANSPOSE" or op.tensor(1).data is None:
        return None
    return [int(v) for v in op.tensor(1).array]


def _moves_nothing(shape: Sequence[int], order: Sequence[int]) -> bool:
    """Whether a transpose keeps the order of the numbers: the axes longer than 1 stay in order."""
    long = [axis for axis in order if shape[axis] != 1]
    return long == sorted(long)


def tidy_layout(graph: Graph) -> int:
    """Remove transposes and reshapes without effect, and join neighbours. Returns the number of changes."""
    count, changed = 0, True
    while changed:
        changed = False
        for op in list(graph.ops):
            if op not in graph.ops or op.kind not in ("TRANSPOSE", "RESHAPE"):
                continue
            if _tidied(graph, op):
                count, changed = count + 1, True
    return count


def _tidied(graph: Graph, op: Op) -> bool:
    x, before, order = op.tensor(0), graph.producer(op.tensor(0)), _order(op)
    if op.output.shape == x.shape and (op.kind == "RESHAPE" or order == sorted(order or [1, 0])):
        if op.output in graph.outputs:
            return False
        _bypass(graph, op)
        return True
    if order is not None and _moves_nothing(x.shape, order):
        target = graph.constant(op.output.name + "_shape", np.array(op.output.shape, np.int32))
        op.kind, op.inputs, op.options = "RESHAPE", [x, target], None
        return True
    if before is None or before.kind != op.kind or graph.consumers(x) != [op] or x in graph.outputs:
        return False
    if op.kind == "RESHAPE":
        op.inputs[0] = before.tensor(0)
    else:
        first = _order(before)
        if first is None or order is None:
            return False
        joined = np.array([first[axis] for axis in order], np.int32)
        op.inputs = [before.tensor(0), graph.constant(op.output.name + "_order", joined)]
    graph.ops.remove(before)
    return True


def fold_flatten(graph: Graph) -> int:
    """Fold the transpose before a flattened fully connected layer into its weights. Returns the number folded."""
    count = 0
    for op in graph.ops:
        reshape = graph.producer(op.tensor(0)) if op.kind == "FULLY_CONNECTED" else None
        if reshape is None or reshape.kind != "RESHAPE" or graph.consumers(reshape.output) != [op]:
            continue
        move = graph.producer(reshape.tensor(0))
        order, flat = _order(move), reshape.output
        if move is None or order is None or graph.consumers(move.output) != [reshape] or op.tensor(1).data is None:
            continue
        x = move.tensor(0)
        if flat.shape != (x.shape[0], int(np.prod(x.shape[1:]))) or order[0] != 0:
            continue
        own_constants(graph, op)
        places = np.arange(flat.shape[1]).reshape(x.shape[1:])
        source = places.transpose([axis - 1 for axis in order[1:]]).reshape(-1)
        weights = np.empty_like(op.tensor(1).array)
        weights[:, source] = op.tensor(1).array
        op.tensor(1).data = weights
        reshape.inputs[0] = x
        graph.ops.remove(move)
        count += 1
    return count


def output_of(graph: Graph) -> tuple[Tensor, Op | None]:
    """The graph's output before reshapes, and the op that makes it."""
    tensor = graph.outputs[0]
    op = graph.producer(tensor)
    while op is not None and op.kind == "RESHAPE":
        tensor = op.tensor(0)
        op = graph.producer(tensor)
    return tensor, op
