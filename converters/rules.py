"""What an operator of an exchange format becomes in the graph: the rules that PyTorch and ONNX share.

A reader is a subclass of `Rules`. Its table `OPS` maps the format's operator names to rules; its own methods unpack the
arguments that differ between the formats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from converters.build import Builder
from converters.graph import Array, Graph, Tensor
from edge_oneshot.errors import ModelError

Sides = tuple[int, int, int, int]  # top, left, bottom, right
NO_L2 = "remove an L2 normalisation from the network: the comparator on the device normalises"


class Rules:
    """`values`: name in the source -> tensor of the graph, or constant array. `op`: the operator that is being read."""

    PREFIX: ClassVar[str] = ""  # of an operator's name in messages
    OTHERWISE: ClassVar[str] = ""  # what to do about an operator without a rule
    ALIASES: ClassVar[frozenset[str]] = frozenset()  # operators that return their first input
    OPS: ClassVar[dict[str, Callable[..., Tensor]]] = {}

    def __init__(self, shape: Sequence[int], image: str, constants: dict[str, Array]) -> None:
        """shape: of the input (N, C, H, W). image: its name in the source."""
        self.b = Builder(shape)
        self.op = ""
        self.values: dict[str, Tensor | Array] = {**constants, image: self.b.input}

    def finish(self, output: str) -> Graph:
        found = self.values[output]
        if not isinstance(found, Tensor):
            raise ModelError(f"output {output}: expected a result of the network, got a constant", "export it again")
        return self.b.finish(self.b.check_output(found))

    def apply(self, op: str, *inputs: Any, **attributes: Any) -> Any:
        """The result of one operator. ModelError: it has no rule, or arguments that the int8 kernels do not support."""
        if op in self.ALIASES:
            return inputs[0]
        if op not in self.OPS:
            raise ModelError(f"no rule for {self.PREFIX}{op}", self.OTHERWISE)
        self.op = op
        return self.OPS[op](self, *inputs, **attributes)

    def relu(self, x: Tensor) -> Tensor:
        return self.b.unary("RELU", x)

    def relu6(self, x: Tensor) -> Tensor:
        return self.b.unary("RELU6", x)

    def clamp(self, x: Tensor, low: float | None, high: float | None) -> Tensor:
        if low == 0 and high is None:
            return self.relu(x)
        if (low, high) != (0, 6):
            raise ModelError(f"{self.op}: expected the bounds of ReLU6 (0, 6), got ({low}, {high})", "use ReLU6")
        return self.relu6(x)

    def hardswish(self, x: Tensor) -> Tensor:
        return self.b.unary("HARD_SWISH", x)

    def sigmoid(self, x: Tensor) -> Tensor:
        return self.b.unary("LOGISTIC", x)

    def tanh(self, x: Tensor) -> Tensor:
        return self.b.unary("TANH", x)

    def prelu(self, x: Tensor, slope: Array) -> Tensor:
        return self.b.prelu(x, slope)

    def leaky_relu(self, x: Tensor, alpha: float = 0.01) -> Tensor:
        return self.b.prelu(x, np.array([alpha], np.float32))

    def normalised(
        self, x: Tensor, gamma: Array | None, beta: Array | None, mean: Array, var: Array, eps: float
    ) -> Tensor:
        """A batch normalisation in inference: one factor and one offset per channel."""
        scale = (1 if gamma is None else gamma) / np.sqrt(var.astype(np.float64) + eps)
        offset = (0 if beta is None else beta) - mean * scale
        return self.b.affine(x, scale.astype(np.float32), offset.astype(np.float32))

    def add(self, a: Tensor | Array, b: Tensor | Array, alpha: float = 1) -> Tensor:
        return self._binary("ADD", a, b, alpha)

    def sub(self, a: Tensor | Array, b: Tensor | Array, alpha: float = 1) -> Tensor:
        return self._binary("SUB", a, b, alpha)

    def mul(self, a: Tensor | Array, b: Tensor | Array) -> Tensor:
        return self._binary("MUL", a, b)

    def div(self, a: Tensor | Array, b: Tensor | Array) -> Tensor:
        if isinstance(b, Tensor):
            raise ModelError(f"{self.op}: expected a constant divisor, got an activation: no int8 kernel", NO_L2)
        return self._binary("MUL", a, 1.0 / np.asarray(b, np.float64))

    def _binary(self, kind: str, a: Tensor | Array, b: Tensor | Array, alpha: float = 1) -> Tensor:
        if alpha != 1:
            raise ModelError(f"{self.op}: expected alpha 1, got {alpha}", "multiply in a step of its own")
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return self.b.elementwise(kind, a, b)
        if not isinstance(a, Tensor):
            if kind == "SUB":
                raise ModelError(
                    f"{self.op}: expected the constant on the right, got it on the left",
                    "write a multiplication by -1 and an addition",
                )
            a, b = b, a
        assert isinstance(a, Tensor)
        vector = np.broadcast_to(np.asarray(b, np.float32).reshape(-1), (a.shape[-1],))
        one, zero = np.ones_like(vector), np.zeros_like(vector)
        return self.b.affine(a, *{"MUL": (vector, zero), "ADD": (one, vector), "SUB": (one, -vector)}[kind])

    def joined(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        if axis % 2 != 1 or any(len(t.shape) != 2 for t in parts):
            raise ModelError(
                f"{self.op}: expected vectors (N, D) joined along dimension 1, got dimension {axis} of "
                f"{[t.shape for t in parts]}",
                "join vectors that are already flat",
            )
        return self.b.concatenate(parts)

    def pool(
        self, kind: str, x: Tensor, kernel: Sequence[int], stride: Sequence[int], sides: Sides, ceil: bool = False
    ) -> Tensor:
        """kind: MAX_POOL_2D or AVERAGE_POOL_2D. ceil: the source rounds the size of the result up."""
        sizes = x.shape[1] + sides[0] + sides[2], x.shape[2] + sides[1] + sides[3]
        if ceil and any((n - k) % s for n, k, s in zip(sizes, kernel, stride, strict=True)):
            raise ModelError(
                f"{self.op}: expected windows that cover {x.shape[1:3]} px exactly, got ceil_mode with kernel "
                f"{tuple(kernel)} and stride {tuple(stride)}",
                "export with ceil_mode off",
            )
        return self.b.pool(kind, x, kernel, stride, sides)

    def global_average(self, x: Tensor) -> Tensor:
        return self.b.global_average(x)

    def mean(self, x: Tensor, dims: Sequence[int], keep: bool) -> Tensor:
        if sorted(int(d) % 4 for d in dims) != [2, 3]:
            raise ModelError(
                f"{self.op}: expected a mean over height and width (2, 3), got {list(dims)}", "pool before it"
            )
        pooled = self.b.global_average(x)
        return pooled if keep else self.b.flatten(pooled)

    def flatten(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return self.b.flatten(x)

    def reshape(self, x: Tensor, shape: Any, **_: Any) -> Tensor:
        if isinstance(shape, Tensor) or len(shape) != 2:
            raise ModelError(
                f"{self.op}: expected a constant shape with two dimensions, got {shape}", "flatten to (N, D)"
            )
        return self.b.flatten(x)

    def zero_pad(self, x: Tensor, sides: Sides, mode: str, value: float | None) -> Tensor:
        if mode != "constant" or value:
            raise ModelError(
                f"{self.op}: expected zeros, got {mode} {'' if value is None else value}".rstrip(), "pad with zeros"
            )
        top, left, bottom, right = sides
        return self.b.pad(x, top, bottom, left, right)
