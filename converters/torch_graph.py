"""Runs a float graph in torch, so that its constants can be trained.

A picture is one batch, as in the graph; `torch.vmap` runs several. Layouts are the graph's: activations (1, H, W, C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from converters.graph import Graph, Op
from converters.passes.linear import NONE, RELU, RELU6, activation_of, groups_of
from converters.passes.padding import SAME, same_padding
from edge_oneshot.errors import ModelError

Values = Mapping[str, torch.Tensor]  # by the name of the graph's tensor
Hook = Callable[[str, torch.Tensor], torch.Tensor]


def run(graph: Graph, pixels: torch.Tensor, constants: Values, hook: Hook) -> torch.Tensor:
    """The output of the graph for one input (1, H, W, C), the pixels.

    constants: all float constants. hook: takes the name and value of every result, and returns the value to go on with.
    ModelError: an operator without a rule.
    """
    values: dict[str, torch.Tensor] = {**constants, graph.inputs[0].name: pixels}
    for op in graph.ops:
        if op.kind not in _RULES:
            raise ModelError(
                f"--finetune: no rule for {op.kind} {op.output.name}, got a network with it",
                "omit --finetune, or replace the operator in the network",
            )
        inputs = [values[t.name] if t is not None and t.name in values else None for t in op.inputs]
        found = _RULES[op.kind](op, *inputs)
        for tensor, value in zip(op.outputs, found if isinstance(found, (list, tuple)) else [found], strict=True):
            values[tensor.name] = hook(tensor.name, _activated(op, value))
    return values[graph.outputs[0].name]


def _activated(op: Op, x: torch.Tensor) -> torch.Tensor:
    fused = activation_of(op)
    if fused == NONE:
        return x
    if fused not in (RELU, RELU6):
        raise ModelError(f"--finetune: no rule for the activation {fused} of {op.kind} {op.output.name}", "use ReLU")
    return F.relu(x) if fused == RELU else F.relu6(x)


def _numbers(op: Op, index: int) -> list[int]:
    return [int(v) for v in op.tensor(index).array.reshape(-1)]


def _padded(op: Op, x: torch.Tensor, kernel: tuple[int, int], dilation: tuple[int, int], value: float) -> torch.Tensor:
    """x (1, C, H, W) with the padding that the operator implies."""
    if op.options.padding != SAME:
        return x
    stride = (op.options.strideH, op.options.strideW)
    (top, bottom), (left, right) = (same_padding(x.shape[2 + i], kernel[i], stride[i], dilation[i]) for i in (0, 1))
    return F.pad(x, (left, right, top, bottom), value=value)


def _convolution(op: Op, x: Any, weights: Any, bias: Any = None) -> torch.Tensor:
    o = op.options
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    dilation = (max(o.dilationHFactor, 1), max(o.dilationWFactor, 1))
    planes = x.permute(0, 3, 1, 2)
    planes = _padded(op, planes, tuple(weights.shape[1:3]), dilation, 0.0)
    kernel = weights.permute(3, 0, 1, 2) if depthwise else weights.permute(0, 3, 1, 2)
    groups = planes.shape[1] if depthwise else groups_of(op)
    y = F.conv2d(planes, kernel, bias, (o.strideH, o.strideW), 0, dilation, groups)
    return y.permute(0, 2, 3, 1)


def _connected(op: Op, x: Any, weights: Any, bias: Any = None) -> torch.Tensor:
    return F.linear(x.reshape(-1, weights.shape[1]), weights, bias).reshape(op.output.shape)


def _pool(op: Op, x: Any) -> torch.Tensor:
    o = op.options
    kernel, stride = (o.filterHeight, o.filterWidth), (o.strideH, o.strideW)
    planes = x.permute(0, 3, 1, 2)
    if op.kind == "MAX_POOL_2D":
        y = F.max_pool2d(_padded(op, planes, kernel, (1, 1), -torch.inf), kernel, stride)
    else:  # the mean of the pixels inside the picture
        counted = F.avg_pool2d(_padded(op, torch.ones_like(planes), kernel, (1, 1), 0.0), kernel, stride)
        y = F.avg_pool2d(_padded(op, planes, kernel, (1, 1), 0.0), kernel, stride) / counted
    return y.permute(0, 2, 3, 1)


def _pad(op: Op, x: Any, *_: Any) -> torch.Tensor:
    amounts = op.tensor(1).array.reshape(-1, 2)[::-1].reshape(-1)
    return F.pad(x, [int(v) for v in amounts])


def _slice(op: Op, x: Any, *_: Any) -> torch.Tensor:
    for axis, (begin, size) in enumerate(zip(_numbers(op, 1), op.output.shape, strict=True)):
        x = x.narrow(axis, begin, size)
    return x


def _reduced(what: Callable[..., Any]) -> Callable[..., Any]:
    return lambda op, x, *_: what(x, _numbers(op, 1), keepdim=bool(op.options.keepDims))


def _matrices(op: Op, a: Any, b: Any) -> torch.Tensor:
    return torch.matmul(a.mT if op.options.adjX else a, b.mT if op.options.adjY else b)


def _split(op: Op, *inputs: Any) -> Any:
    return torch.chunk(inputs[1], len(op.outputs), int(np.ravel(op.tensor(0).array)[0]))


_RULES: dict[str, Callable[..., Any]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _connected,
    "BATCH_MATMUL": _matrices,
    "MAX_POOL_2D": _pool,
    "AVERAGE_POOL_2D": _pool,
    "PAD": _pad,
    "SLICE": _slice,
    "SPLIT": _split,
    "MEAN": _reduced(torch.mean),
    "SUM": _reduced(torch.sum),
    "RESHAPE": lambda op, x, *_: x.reshape(op.output.shape),
    "TRANSPOSE": lambda op, x, *_: x.permute(_numbers(op, 1)),
    "CONCATENATION": lambda op, *parts: torch.cat(parts, op.options.axis),
    "ADD": lambda _, a, b: a + b,
    "SUB": lambda _, a, b: a - b,
    "MUL": lambda _, a, b: a * b,
    "DIV": lambda _, a, b: a / b,
    "POW": lambda _, a, b: a**b,
    "RSQRT": lambda _, x: torch.rsqrt(x),
    "SQRT": lambda _, x: torch.sqrt(x),
    "EXP": lambda _, x: torch.exp(x),
    "LOG": lambda _, x: torch.log(x),
    "ELU": lambda _, x: F.elu(x),
    "GELU": lambda op, x: F.gelu(x, approximate="tanh" if op.options.approximate else "none"),
    "LOGISTIC": lambda _, x: torch.sigmoid(x),
    "TANH": lambda _, x: torch.tanh(x),
    "SOFTMAX": lambda op, x: torch.softmax(op.options.beta * x, -1),
}
