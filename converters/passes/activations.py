"""Activations and clamps as operators for which XNNPACK has int8 kernels.

XNNPACK takes a RELU or RELU6 only fused into another operator, and in int8 no HARD_SWISH, MAXIMUM, MINIMUM, ABS, NEG,
SQUARE, SQUARED_DIFFERENCE or LEAKY_RELU (LiteRT 2.3). Each has an exact form in MUL, ADD and SUB, which it takes.
LOGISTIC, TANH and ELU are taken as they are, so SiLU (x * LOGISTIC(x)) is, too. GELU, EXP and LOG keep the built-in
int8 kernels, which look results up in a table.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Array, Graph, Op, Tensor
from converters.passes.linear import NONE, RELU, RELU6, activation_of, options

FUSED = {"RELU": RELU, "RELU6": RELU6}
_TAKES_ACTIVATION = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL")


def _step(graph: Graph, kind: str, a: Tensor, b: Tensor | float, out: Tensor | None = None, fused: int = NONE) -> Op:
    """MUL, ADD or SUB of `a` and a tensor or a number, with a fused activation."""
    other = b if isinstance(b, Tensor) else graph.constant(f"{a.name}_{kind.lower()}", np.asarray(b, np.float32))
    result = out or Tensor(graph.unique_name(f"{a.name}_{kind.lower()}_out"), a.shape, a.dtype)
    table = {"MUL": "MulOptions", "ADD": "AddOptions", "SUB": "SubOptions"}[kind]
    return Op(kind, [a, other], [result], options(table, fusedActivationFunction=fused))


def _replace(graph: Graph, op: Op, steps: list[Op]) -> None:
    at = graph.ops.index(op)
    graph.ops[at : at + 1] = steps


def constant_of(op: Op) -> tuple[Tensor, Array] | None:
    """(activation, constant) of an operator with two inputs of which one is constant."""
    a, b = op.optional(0), op.optional(1)
    if a is None or b is None or (a.data is None) == (b.data is None):
        return None
    return (a, b.array) if b.data is not None else (b, a.array)


def _clamp(graph: Graph, op: Op) -> Op | None:
    """MAXIMUM or MINIMUM by a constant as RELU or RELU6 where it is one; the operator to use, or None."""
    found = constant_of(op)
    if found is None:
        return None
    x, c = found
    if op.kind == "MAXIMUM" and not np.any(c):
        return Op("RELU", [x], [op.output])
    before = graph.producer(x)
    if op.kind == "MINIMUM" and np.all(c == 6) and before is not None and before.kind == "RELU":
        return Op("RELU6", [before.tensor(0)], [op.output])
    return None


def recognise_elu(graph: Graph) -> int:
    """SELECT(x >= 0, x, EXP(x) - 1), as litert-torch writes it, becomes ELU. Returns the number found."""
    count = 0
    for op in list(graph.ops):
        if op.kind not in ("SELECT", "SELECT_V2") or (x := op.tensor(1)).data is not None:
            continue
        test, less = graph.producer(op.tensor(0)), graph.producer(op.tensor(2))
        power = None if less is None or less.kind != "SUB" else graph.producer(less.tensor(0))
        if test is None or less is None or power is None or power.kind != "EXP" or power.tensor(0) is not x:
            continue
        limit, one = test.tensor(1), less.tensor(1)
        zero = test.kind in ("GREATER_EQUAL", "GREATER") and test.tensor(0) is x and limit.data is not None
        if zero and not limit.array.any() and one.data is not None and (one.array == 1).all():
            _replace(graph, op, [Op("ELU", [x], [op.output])])
            count += 1
    graph.prune()
    return count


def recognise_clamps(graph: Graph) -> int:
    """MAXIMUM(x, 0) becomes RELU, and MINIMUM(RELU(x), 6) RELU6. Returns their number."""
    count = 0
    for op in list(graph.ops):
        if op.kind in ("MAXIMUM", "MINIMUM") and (new := _clamp(graph, op)) is not None:
            _replace(graph, op, [new])
            count += 1
    graph.prune()
    return count


def fuse(graph: Graph) -> int:
    """Fuse every RELU and RELU6 into the operator before, or into a multiplication by 1. Returns their number."""
    count = 0
    for op in list(graph.ops):
        if op.kind not in FUSED:
            continue
        x, before = op.tensor(0), graph.producer(op.tensor(0))
        if (
            before is not None
            and before.kind in _TAKES_ACTIVATION
            and activation_of(before) == NONE
            and graph.consumers(x) == [op]
            and x not in graph.outputs
        ):
            before.outputs = [op.output]
            before.options.fusedActivationFunction = FUSED[op.kind]
            graph.ops.remove(op)
        else:
            _replace(graph, op, [_step(graph, "MUL", x, 1.0, op.output, FUSED[op.kind])])
        count += 1
    return count


def _hard_swish(graph: Graph, op: Op) -> list[Op]:
    """x * relu6(x + 3) / 6."""
    x = op.tensor(0)
    gate = _step(graph, "ADD", x, 3.0, fused=RELU6)
    part = _step(graph, "MUL", gate.output, 1.0 / 6.0)
    return [gate, part, _step(graph, "MUL", x, part.output, op.output)]


def _extreme(graph: Graph, op: Op) -> list[Op]:
    """max(a, b) = a + relu(b - a) and min(a, b) = a - relu(a - b); a is the activation, or the larger tensor."""
    a, b = op.tensor(0), op.tensor(1)
    if a.data is not None or np.prod(a.shape) < np.prod(b.shape):
        a, b = b, a
    if op.kind == "MAXIMUM" and b.data is not None:  # c + relu(x - c)
        over = _step(graph, "SUB", a, b, fused=RELU)
        return [over, _step(graph, "ADD", over.output, b, op.output)]
    if b.data is not None:  # x - relu(x - c)
        over = _step(graph, "SUB", a, b, fused=RELU)
        return [over, _step(graph, "SUB", a, over.output, op.output)]
    order = (b, a) if op.kind == "MAXIMUM" else (a, b)
    out = Tensor(graph.unique_name(a.name + "_over"), op.output.shape, a.dtype)
    over = _step(graph, "SUB", order[0], order[1], out, RELU)
    return [over, _step(graph, "ADD" if op.kind == "MAXIMUM" else "SUB", a, over.output, op.output)]


def _slope(graph: Graph, op: Op) -> list[Op]:
    """ABS and LEAKY_RELU as PRELU, which a later pass rewrites."""
    x, y = op.tensor(0), op.output
    slope = -1.0 if op.kind == "ABS" else float(op.options.alpha)
    alpha = graph.constant(y.name + "_slope", np.full(x.shape[-1], slope, np.float32))
    return [Op("PRELU", [x, alpha], [y])]


def _squared_difference(graph: Graph, op: Op) -> list[Op]:
    a, b = op.tensor(0), op.tensor(1)
    out = Tensor(graph.unique_name(op.output.name + "_difference"), op.output.shape, op.output.dtype)
    apart = _step(graph, "SUB", a, b, out)
    return [apart, _step(graph, "MUL", out, out, op.output)]


_FORMS = {
    "HARD_SWISH": _hard_swish,
    "MAXIMUM": _extreme,
    "MINIMUM": _extreme,
    "ABS": _slope,
    "LEAKY_RELU": _slope,
    "NEG": lambda graph, op: [_step(graph, "MUL", op.tensor(0), -1.0, op.output)],
    "SQUARE": lambda graph, op: [_step(graph, "MUL", op.tensor(0), op.tensor(0), op.output)],
    "SQUARED_DIFFERENCE": _squared_difference,
}


def rewrite_activations(graph: Graph) -> dict[str, int]:
    """Replace every operator of `_FORMS`, and division by a constant. Returns the number of each kind."""
    counts: dict[str, int] = {}
    for op in list(graph.ops):
        if op.kind in _FORMS:
            _replace(graph, op, _FORMS[op.kind](graph, op))
            counts[op.kind] = counts.get(op.kind, 0) + 1
        elif op.kind == "DIV" and (divisor := op.tensor(1)).data is not None:
            inverse = graph.constant(divisor.name + "_inverse", (1.0 / divisor.array).astype(np.float32))
            _replace(graph, op, [_step(graph, "MUL", op.tensor(0), inverse, op.output, activation_of(op))])
            counts["DIV"] = counts.get("DIV", 0) + 1
    return counts
