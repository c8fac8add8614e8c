"""POW, as generalised-mean pooling has it: a whole power becomes products, which XNNPACK takes in int8."""

from __future__ import annotations

import numpy as np

from converters.graph import Graph, Op, Tensor
from converters.passes.activations import constant_of
from converters.passes.linear import NONE, options
from converters.passes.padding import never_negative

_TINY = 1e-4


def rewrite_powers(graph: Graph) -> int:
    """Replace POW by a constant 1, 2, 3, 4 or 0.5. Other powers stay. Returns the number replaced."""
    count = 0
    for op in list(graph.ops):
        if op.kind != "POW" or op.tensor(1).data is None or np.ptp(op.tensor(1).array) != 0:
            continue
        _drop_floor(graph, op)
        x, power = op.tensor(0), float(op.tensor(1).array.reshape(-1)[0])
        if power == 0.5:
            op.kind, op.inputs, op.options = "SQRT", [x], None
        elif power in (1, 2, 3, 4):
            at = graph.ops.index(op)
            graph.ops[at : at + 1] = _products(graph, x, int(power), op.output)
        else:
            continue
        count += 1
    graph.prune()
    return count


def _drop_floor(graph: Graph, op: Op) -> None:
    """Remove MAXIMUM(x, 1e-6) before the power where x cannot be negative; else make it a RELU."""
    before = graph.producer(op.tensor(0))
    found = constant_of(before) if before is not None and before.kind == "MAXIMUM" else None
    if before is None or found is None or np.abs(found[1]).max() > _TINY:
        return
    if never_negative(graph, found[0]):
        op.inputs[0] = found[0]
    elif graph.consumers(before.output) == [op]:
        before.kind, before.inputs, before.options = "RELU", [found[0]], None


def _products(graph: Graph, x: Tensor, power: int, out: Tensor) -> list[Op]:
    def product(a: Tensor, b: Tensor, result: Tensor | None) -> Op:
        made = result or Tensor(graph.unique_name(f"{out.name}_power"), x.shape, x.dtype)
        return Op("MUL", [a, b], [made], options("MulOptions", fusedActivationFunction=NONE))

    if power == 1:
        return [product(x, graph.constant(out.name + "_one", np.ones((), np.float32)), out)]
    square = product(x, x, out if power == 2 else None)
    if power == 2:
        return [square]
    return [square, product(square.output, x if power == 3 else square.output, out)]
