"""Transposes and reshapes that change nothing, or that weights can absorb."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.graph import Graph, Op, Tensor
from converters.passes.linear import options, own_constants


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


_ONE_BY_ONE = (
    "ABS", "ADD", "DIV", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL",
    "NEG", "POW", "RELU", "RELU6", "RSQRT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH",
)  # fmt: skip


def sink_transposes(graph: Graph) -> int:
    """Move transposes behind elementwise operators, so that they meet and cancel. Returns the number moved.

    litert-torch puts an operator that its layout pass does not know between two transposes.
    """
    count, changed = 0, True
    while changed:
        changed = False
        for op in list(graph.ops):
            order = _common_order(graph, op) if op.kind in _ONE_BY_ONE else None
            if order is None:
                continue
            _sink(graph, op, order)
            count, changed = count + 1, True
    return count


def _common_order(graph: Graph, op: Op) -> list[int] | None:
    """The order of the transposes that make all activations of the op, if nothing else reads them."""
    values = [t for t in op.inputs if t is not None and t.data is None]
    orders = [_order(graph.producer(t)) for t in values]
    if not orders or orders[0] is None or any(order != orders[0] for order in orders):
        return None
    if any(graph.consumers(t) != [op] or t in graph.outputs or t.shape != op.output.shape for t in values):
        return None
    return orders[0]


def _sink(graph: Graph, op: Op, order: list[int]) -> None:
    back = [int(i) for i in np.argsort(order)]
    inputs: list[Tensor | None] = []
    for t in op.inputs:
        if t is None or t.data is None:
            move = graph.producer(t) if t is not None else None
            inputs.append(move.tensor(0) if move is not None else t)
        elif t.data.size == 1:
            inputs.append(t)
        else:
            full = t.data.reshape((1,) * (len(order) - t.data.ndim) + t.data.shape)
            inputs.append(graph.constant(t.name + "_moved", full.transpose(back)))
    out = op.output
    inner = Tensor(graph.unique_name(out.name + "_stored"), tuple(out.shape[i] for i in back), out.dtype)
    op.inputs, op.outputs = inputs, [inner]
    move = Op("TRANSPOSE", [inner, graph.constant(out.name + "_order", np.array(order, np.int32))], [out])
    move.options = options("TransposeOptions")
    graph.insert_after(op, move)
    graph.prune()


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
