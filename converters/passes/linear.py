"""Helpers for operators that are linear with constant weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.graph import Array, Graph, Op, Tensor

LINEAR = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
NONE = schema.ActivationFunctionType.NONE
RELU = schema.ActivationFunctionType.RELU
RELU6 = schema.ActivationFunctionType.RELU6


def is_linear(op: Op | None) -> bool:
    """A convolution, grouped or not, or a fully connected op, with constant float weights."""
    if op is None or op.kind not in LINEAR:
        return False
    weights, bias = op.optional(1), op.optional(2)
    return weights is not None and weights.data is not None and (bias is None or bias.data is not None)


def groups_of(op: Op) -> int:
    """The number of groups of a CONV_2D; 1 for another op."""
    return op.tensor(0).shape[3] // op.tensor(1).shape[3] if op.kind == "CONV_2D" else 1


def activation_of(op: Op) -> int:
    return int(getattr(op.options, "fusedActivationFunction", NONE))


def output_axis(op: Op) -> int:
    return 3 if op.kind == "DEPTHWISE_CONV_2D" else 0


def along(vector: Array, axis: int, rank: int) -> Array:
    """`vector` (C,) shaped so that it multiplies axis `axis` of an array of `rank` dimensions."""
    shape = [1] * rank
    shape[axis] = -1
    return np.asarray(vector).reshape(shape)


def own_constants(graph: Graph, op: Op) -> None:
    """Copy weights and bias that other ops share, and add a zero bias if the op has none."""
    for i in (1, 2):
        tensor = op.optional(i)
        if tensor is not None and len(graph.consumers(tensor)) > 1:
            op.inputs[i] = graph.constant(tensor.name + "_own", tensor.array.copy())
    if op.optional(2) is None:
        channels = op.tensor(1).shape[output_axis(op)]
        op.inputs = [*op.inputs[:2], graph.constant(op.output.name + "_bias", np.zeros(channels, np.float32))]


def scale_output(graph: Graph, op: Op, factor: Array) -> None:
    """Multiply the op's result by `factor` (C,). The caller handles a fused activation."""
    own_constants(graph, op)
    weights, bias = op.tensor(1), op.tensor(2)
    weights.data = (weights.array * along(factor, output_axis(op), weights.array.ndim)).astype(np.float32)
    bias.data = (bias.array * factor).astype(np.float32)


def scale_input(graph: Graph, op: Op, factor: Array) -> None:
    """Change the weights as if the input had been multiplied by `factor` (C,)."""
    own_constants(graph, op)
    weights = op.tensor(1)
    weights.data = (weights.array * input_factor(op, factor)).astype(np.float32)


def shift_input(graph: Graph, op: Op, offset: Array) -> None:
    """Change the bias as if `offset` (C,) had been added to the input. The op must not pad with zeros."""
    own_constants(graph, op)
    change = op.tensor(1).array.astype(np.float64) * input_factor(op, np.asarray(offset, np.float64))
    rest = tuple(i for i in range(change.ndim) if i != output_axis(op))
    op.tensor(2).data = (op.tensor(2).array + change.sum(axis=rest)).astype(np.float32)


def input_factor(op: Op, factor: Array) -> Array:
    """`factor` (C,) of the input's channels, shaped so that it multiplies the op's weights."""
    weights = op.tensor(1).array
    if op.kind == "FULLY_CONNECTED":  # a flattened map has its channels last
        return np.tile(factor, weights.shape[1] // len(factor))[None]
    if op.kind == "DEPTHWISE_CONV_2D":
        return np.repeat(factor, weights.shape[3] // len(factor))
    by_group = np.asarray(factor).reshape(groups_of(op), -1)
    return np.repeat(by_group, weights.shape[0] // len(by_group), axis=0)[:, None, None]


def options(kind: str, **fields: Any) -> Any:
    """The schema's option table `kind` (such as MulOptions) with the fields set."""
    table = getattr(schema, kind + "T")()
    for name, value in fields.items():
        setattr(table, name, value)
    return table


def binary(graph: Graph, kind: str, a: Tensor, b: Tensor, stem: str) -> Op:
    """An elementwise op on `a` with the shape of `a`. kind: MUL, ADD, MAXIMUM."""
    table = {"MUL": "MulOptions", "ADD": "AddOptions", "MAXIMUM": "MaximumMinimumOptions"}[kind]
    fields = {} if kind == "MAXIMUM" else {"fusedActivationFunction": NONE}
    return Op(kind, [a, b], [Tensor(graph.unique_name(stem), a.shape, a.dtype)], options(table, **fields))
