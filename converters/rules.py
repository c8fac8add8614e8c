"""What an operator of an exchange format becomes in the graph: the rules that PyTorch and ONNX share.

A reader is a subclass of `Rules`. Its table `OPS` maps the format's operator names to rules; its own methods unpack the
arguments that differ between the formats. A rule is exact, or it refuses: what it does not know about an argument it
must not ignore.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from converters.build import Builder
from converters.graph import Array, Graph, Tensor
from edge_oneshot.errors import ModelError

Sides = tuple[int, int, int, int]  # top, left, bottom, right
NO_L2 = "remove the L2 normalisation from the network: the comparator on the device normalises"
_BAD_ARGUMENTS = (TypeError, ValueError, IndexError, KeyError, AttributeError)


@dataclass(frozen=True)
class Layer:
    """A result of the source and the tensor that has it in the graph. name: in the source. label: operator and place.

    chw: the tensor is a flattened map of this (C, H, W), stored in the order (H, W, C); None: it is not.
    """

    name: str
    label: str
    tensor: Tensor
    chw: tuple[int, int, int] | None


class Rules:
    """`values`: name in the source -> tensor of the graph, or constant. `layers`: the results so far, in the source's order."""

    PREFIX: ClassVar[str] = ""  # of an operator's name in messages
    OTHERWISE: ClassVar[str] = ""  # what to do about an operator without a rule
    NORMS: ClassVar[frozenset[str]] = frozenset()  # operators that an L2 normalisation consists of
    ALIASES: ClassVar[frozenset[str]] = frozenset()  # operators that return their first input
    OPS: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __init__(self, shape: Sequence[int], image: str, constants: dict[str, Array]) -> None:
        """shape: of the input (N, C, H, W). image: its name in the source."""
        self.b = Builder(shape)
        self.layers: list[Layer] = []
        self.values: dict[str, Any] = {**constants, image: self.b.input}

    def finish(self, output: str) -> Graph:
        found = self.values[output]
        if not isinstance(found, Tensor):
            raise ModelError(f"output {output}: expected a result of the network, got a constant", "export it again")
        return self.b.finish(found)

    def read(self, name: str, op: str, place: str, *inputs: Any, **attributes: Any) -> None:
        """Add the operator `op`, whose result is `name`. place: where it is in the source, in words.

        ModelError, with the operator's name and place: it has no rule, or arguments without one.
        """
        label = f"{op if '::' in op else self.PREFIX + op} ({place})"
        try:
            found = self.values[name] = self._apply(op, inputs, attributes)
        except ModelError as error:
            raise ModelError(f"{label}: {error.message}", error.hint) from error
        except _BAD_ARGUMENTS as error:
            raise ModelError(f"{label} has no rule for its arguments: {error}", self.OTHERWISE) from error
        if isinstance(found, Tensor):
            self.layers.append(Layer(name, label, found, self.b.flattened(found)))

    def _apply(self, op: str, inputs: Sequence[Any], attributes: dict[str, Any]) -> Any:
        if op in self.ALIASES:
            return inputs[0]
        if op not in self.OPS:
            raise ModelError("no rule for this operator", NO_L2 if op in self.NORMS else self.OTHERWISE)
        return self.OPS[op](self, *inputs, **attributes)

    def relu(self, x: Tensor) -> Tensor:
        return self.b.unary("RELU", x)

    def relu6(self, x: Tensor) -> Tensor:
        return self.b.unary("RELU6", x)

    def clamp(self, x: Tensor, low: float | None, high: float | None) -> Tensor:
        if low == 0 and high is None:
            return self.relu(x)
        if (low, high) != (0, 6):
            raise ModelError(f"expected the bounds of ReLU or ReLU6 (0, 6), got ({low}, {high})", "use ReLU6")
        return self.relu6(x)

    def hardsigmoid(self, x: Tensor, alpha: float = 1 / 6, beta: float = 0.5) -> Tensor:
        """min(1, max(0, alpha x + beta)), as a sixth of a ReLU6."""
        return self.b.affine(self.relu6(self.b.affine(x, 6 * alpha, 6 * beta)), 1 / 6, 0)

    def silu(self, x: Tensor) -> Tensor:
        return self.b.elementwise("MUL", x, self.sigmoid(x))

    def hardswish(self, x: Tensor) -> Tensor:
        return self.b.unary("HARD_SWISH", x)

    def sigmoid(self, x: Tensor) -> Tensor:
        return self.b.unary("LOGISTIC", x)

    def tanh(self, x: Tensor) -> Tensor:
        return self.b.unary("TANH", x)

    def prelu(self, x: Tensor, slope: Array) -> Tensor:
        return self.b.prelu(x, slope)

    def leaky_relu(self, x: Tensor, alpha: float = 0.01) -> Tensor:
        return self.b.prelu(x, alpha)

    def normalised(
        self, x: Tensor, gamma: Array | None, beta: Array | None, mean: Array, var: Array, eps: float
    ) -> Tensor:
        """A batch normalisation in inference: one factor and one offset per channel."""
        scale = (1 if gamma is None else gamma) / np.sqrt(var.astype(np.float64) + eps)
        offset = (0 if beta is None else beta) - mean * scale
        shape = (-1, 1, 1) if len(x.shape) == 4 else (-1,)
        return self.b.affine(x, scale.reshape(shape), offset.reshape(shape))

    def add(self, a: Tensor | Array, b: Tensor | Array, alpha: float = 1) -> Tensor:
        return self._sum(a, 1.0, b, float(alpha))

    def sub(self, a: Tensor | Array, b: Tensor | Array, alpha: float = 1) -> Tensor:
        return self._sum(a, 1.0, b, -float(alpha))

    def rsub(self, a: Tensor | Array, b: Tensor | Array, alpha: float = 1) -> Tensor:
        return self._sum(b, 1.0, a, -float(alpha))

    def _sum(self, a: Tensor | Array, m: float, b: Tensor | Array, n: float) -> Tensor:
        """m a + n b."""
        if not isinstance(a, Tensor):
            a, m, b, n = b, n, a, m
        assert isinstance(a, Tensor)
        if not isinstance(b, Tensor):
            return self.b.affine(a, m, np.asarray(b, np.float64) * n)
        if m == 1 and n == -1:
            return self.b.elementwise("SUB", a, b)
        return self.b.elementwise("ADD", self.b.affine(a, m, 0), self.b.affine(b, n, 0))

    def mul(self, a: Tensor | Array, b: Tensor | Array) -> Tensor:
        if not isinstance(a, Tensor):
            a, b = b, a
        assert isinstance(a, Tensor)
        return self.b.elementwise("MUL", a, b) if isinstance(b, Tensor) else self.b.affine(a, b, 0)

    def div(self, a: Tensor | Array, b: Tensor | Array) -> Tensor:
        if isinstance(b, Tensor):
            raise ModelError("expected a constant divisor, got an activation, for which int8 has no kernel", NO_L2)
        return self.mul(a, 1.0 / np.asarray(b, np.float64))

    def joined(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        shapes = [self.b.source_shape(t) for t in parts]
        if axis % len(shapes[0]) != 1:
            raise ModelError(
                f"expected tensors joined along dimension 1, got dimension {axis} of {shapes}", "join channels"
            )
        return self.b.concatenate(parts)

    def pool(
        self, kind: str, x: Tensor, kernel: Sequence[int], stride: Sequence[int], sides: Sides, *,
        ceil: bool = False, counted: bool = False,
    ) -> Tensor:  # fmt: skip
        """kind: MAX_POOL_2D or AVERAGE_POOL_2D. ceil: the source rounds the size of the result up. counted: as `Builder.pool`."""
        rows, columns = self.b.map_of(x).shape[1:3]
        sizes = rows + sides[0] + sides[2], columns + sides[1] + sides[3]
        if ceil and any((n - k) % s for n, k, s in zip(sizes, kernel, stride, strict=True)):
            raise ModelError(
                f"expected windows that cover {(rows, columns)} px exactly, got ceil_mode with kernel "
                f"{tuple(kernel)} and stride {tuple(stride)}",
                "set ceil_mode=False, or choose a picture size that the windows divide",
            )
        return self.b.pool(kind, x, kernel, stride, sides, counted)

    def global_average(self, x: Tensor) -> Tensor:
        return self.b.global_average(x)

    def mean(self, x: Tensor, dims: Sequence[int] | None, keep: bool) -> Tensor:
        if len(x.shape) != 4 or sorted(int(d) % 4 for d in dims or ()) != [2, 3]:
            raise ModelError(
                f"expected a mean over height and width (2, 3) of a map, got {dims} of {self.b.source_shape(x)}",
                "pool globally instead",
            )
        pooled = self.b.global_average(x)
        return pooled if keep else self.b.flatten(pooled)

    def flatten(self, x: Tensor, start: int = 1, end: int = -1) -> Tensor:
        shape = self.b.source_shape(x)
        first, last = start % len(shape), end % len(shape)
        joined = int(np.prod(shape[first : last + 1]))
        return self.reshape(x, [*shape[:first], joined, *shape[last + 1 :]])

    def reshape(self, x: Tensor, shape: Any) -> Tensor:
        """shape: of the result in the source, with at most one -1."""
        if isinstance(shape, Tensor) or any(isinstance(v, Tensor) for v in shape):
            raise ModelError("expected a constant shape, got a computed one", "export with a fixed picture size")
        before = self.b.source_shape(x)
        wanted = [int(v) for v in shape]
        total = int(np.prod(before))
        known = int(np.prod([v for v in wanted if v != -1]))
        wanted = [total // max(known, 1) if v == -1 else v for v in wanted]
        if tuple(wanted) == before:
            return x
        if len(wanted) == 2 and wanted[0] == before[0] and len(before) == 4:
            return self.b.flatten(x)
        if len(wanted) == 4 and wanted[0] == before[0] and len(before) == 2:
            return self.b.unflatten(x, wanted)
        raise ModelError(
            f"expected rows (N, D) of a map or a map (N, C, H, W) of rows, got {tuple(wanted)} from {before}",
            "flatten each picture to one row",
        )

    def squeezed(self, x: Tensor, dims: Sequence[int] | None) -> Tensor:
        """dims: to remove if their size is 1; None: all."""
        shape = self.b.source_shape(x)
        chosen = range(len(shape)) if dims is None else [int(d) % len(shape) for d in dims]
        return self.reshape(x, [n for i, n in enumerate(shape) if n != 1 or i not in chosen])

    def zero_pad(self, x: Tensor, sides: Sides, mode: str, value: float | None) -> Tensor:
        if mode != "constant" or value:
            raise ModelError(f"expected zeros, got {mode} {'' if value is None else value}".rstrip(), "pad with zeros")
        top, left, bottom, right = sides
        return self.b.pad(self.b.map_of(x), top, bottom, left, right)
