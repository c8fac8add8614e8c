"""Helpers for operators that are linear with constant weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.graph import Array, Graph, Op, Tensor

LINEAR = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
NONE = schema.ActivationFunctionType.NONE
RELU = schema.ActivationFunctionType.RELU


def is_linear(op: Op | None) -> bool:
    """A convolution or fully connected op with constant float weights; depthwise only with multiplier 1."""
    if op is None or op.kind not in LINEAR:
        return False
    weights, bias = op.optional(1), op.optional(2)
    if weights is None or weights.data is None or (bias is not None and bias.data is None):
        return False
    return op.kind != "DEPTHWISE_CONV_2D" or weights.shape[3] == op.tensor(0).shape[-1]


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
    repeated = np.tile(factor, weights.shape[1] // len(factor)) if op.kind == "FULLY_CONNECTED" else factor
    axis = 1 if op.kind == "FULLY_CONNECTED" else 3
    weights.data = (weights.array * along(repeated, axis, weights.array.ndim)).astype(np.float32)


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
