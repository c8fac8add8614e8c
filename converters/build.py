"""Builds a graph from layers, for sources other than TFLite files. The source has channels first, the graph channels last.

Weights are taken in the layout of PyTorch and ONNX, (O, I, kh, kw); feature maps become (N, H, W, C).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.graph import Array, Graph, Op, Tensor
from converters.passes.linear import NONE, RELU, binary, options
from edge_oneshot.errors import ModelError

SAME, VALID = 0, 1
RELU6 = 3
_UNARY = {
    "LOGISTIC": None,
    "TANH": None,
    "ABS": "AbsOptions",
    "RELU": None,
    "RELU6": None,
    "HARD_SWISH": "HardSwishOptions",
}


class Builder:
    """Each method adds a layer that reads `x`, and returns the layer's result."""

    def __init__(self, shape: Sequence[int]) -> None:
        """shape: of the input, (N, C, H, W)."""
        if len(shape) != 4 or min(shape) < 1:
            raise ModelError(
                f"input: expected four fixed dimensions (batch, channels, height, width), got {tuple(shape)}",
                "export with a fixed picture size",
            )
        n, c, h, w = (int(v) for v in shape)
        self.input = Tensor("image", (n, h, w, c))
        self.graph = Graph([self.input], [])
        self._constants = 0
        self._maps: dict[int, tuple[int, int, int]] = {}  # flattened tensor -> the (C, H, W) of its map

    def finish(self, output: Tensor) -> Graph:
        self.graph.outputs = [output]
        self.graph.prune()
        return self.graph

    def _add(self, kind: str, inputs: list[Tensor | None], shape: Sequence[int], table: object) -> Tensor:
        out = Tensor(f"{kind.lower()}_{len(self.graph.ops)}", tuple(int(v) for v in shape))
        self.graph.ops.append(Op(kind, inputs, [out], table))
        return out

    def _constant(self, data: Array, dtype: type = np.float32) -> Tensor:
        self._constants += 1
        return Tensor(f"constant_{self._constants}", tuple(np.shape(data)), dtype, np.ascontiguousarray(data, dtype))

    def pad(self, x: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
        if not (top or bottom or left or right):
            return x
        n, h, w, c = x.shape
        amounts = self._constant(np.array([[0, 0], [top, bottom], [left, right], [0, 0]]), np.int32)
        return self._add("PAD", [x, amounts], (n, h + top + bottom, w + left + right, c), options("PadOptions"))

    def _window(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: Sequence[int]
    ) -> tuple[Tensor, int, int, int]:
        """(x, padded if needed; padding kind; rows; columns). padding: top, left, bottom, right."""
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        top, left, bottom, right = padding
        rows = (x.shape[1] + top + bottom - reach[0]) // stride[0] + 1
        columns = (x.shape[2] + left + right - reach[1]) // stride[1] + 1
        same = []
        for size, out, s, r, before, after in (
            (x.shape[1], rows, stride[0], reach[0], top, bottom),
            (x.shape[2], columns, stride[1], reach[1], left, right),
        ):
            total = max((-(-size // s) - 1) * s + r - size, 0)
            same.append(out == -(-size // s) and (before, after) == (total // 2, total - total // 2))
        if not any(padding):
            return x, VALID, rows, columns
        if all(same):
            return x, SAME, rows, columns
        return self.pad(x, top, bottom, left, right), VALID, rows, columns

    def conv(
        self,
        x: Tensor,
        weights: Array,
        bias: Array | None,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0, 0, 0),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
    ) -> Tensor:
        """Convolution; weights (O, I / groups, kh, kw). padding: top, left, bottom, right. Grouped: depthwise only."""
        outputs, inputs, *kernel = weights.shape
        x, kind, rows, columns = self._window(x, kernel, stride, dilation, padding)
        shape = (x.shape[0], rows, columns, outputs)
        b = self._constant(np.zeros(outputs) if bias is None else bias)
        common = {
            "padding": kind,
            "strideH": stride[0],
            "strideW": stride[1],
            "dilationHFactor": dilation[0],
            "dilationWFactor": dilation[1],
            "fusedActivationFunction": NONE,
        }
        if groups == 1:
            w = self._constant(weights.transpose(0, 2, 3, 1))
            return self._add("CONV_2D", [x, w, b], shape, options("Conv2DOptions", **common))
        if groups != x.shape[3] or inputs != 1:
            raise ModelError(
                f"convolution: expected 1 or {x.shape[3]} groups (depthwise), got {groups}",
                "use ordinary or depthwise convolutions: int8 has no other kernels",
            )
        w = self._constant(weights.transpose(1, 2, 3, 0))
        return self._add(
            "DEPTHWISE_CONV_2D",
            [x, w, b],
            shape,
            options("DepthwiseConv2DOptions", depthMultiplier=outputs // groups, **common),
        )

    def linear(self, x: Tensor, weights: Array, bias: Array | None) -> Tensor:
        """Fully connected; weights (O, I). x: (N, I), or a map of I values, which the source flattens as (C, H, W)."""
        size = int(np.prod(x.shape[1:]))
        if size != weights.shape[1]:
            raise ModelError(f"fully connected: expected (N, {weights.shape[1]}), got {x.shape}", "flatten before it")
        chw = (x.shape[3], *x.shape[1:3]) if len(x.shape) == 4 else self._maps.get(id(x))
        if chw is not None:  # this graph flattens (H, W, C)
            weights = weights.reshape(-1, *chw).transpose(0, 2, 3, 1).reshape(weights.shape)
        b = self._constant(np.zeros(len(weights)) if bias is None else bias)
        return self._add(
            "FULLY_CONNECTED",
            [x, self._constant(weights), b],
            (x.shape[0], len(weights)),
            options("FullyConnectedOptions", fusedActivationFunction=NONE),
        )

    def affine(self, x: Tensor, factor: Array, offset: Array) -> Tensor:
        """x * factor + offset per channel: a batch normalisation in inference. A later pass folds it where possible."""
        if id(x) in self._maps and max(self._maps[id(x)][1:]) > 1:
            raise ModelError(
                "batch normalisation: expected a map or a vector, got a flattened map", "normalise before flattening"
            )
        mul = binary(self.graph, "MUL", x, self._constant(factor), f"mul_{len(self.graph.ops)}")
        self.graph.ops.append(mul)
        add = binary(self.graph, "ADD", mul.output, self._constant(offset), f"add_{len(self.graph.ops)}")
        self.graph.ops.append(add)
        if id(x) in self._maps:
            self._maps[id(add.output)] = self._maps[id(x)]
        return add.output

    def unary(self, kind: str, x: Tensor) -> Tensor:
        """RELU, RELU6, LOGISTIC, TANH, ABS, HARD_SWISH. A RELU right after a layer is fused into it."""
        before = self.graph.ops[-1] if self.graph.ops else None
        fused = {"RELU": RELU, "RELU6": RELU6}.get(kind)
        if (
            fused is not None
            and before is not None
            and before.output is x
            and before.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD")
            and before.options.fusedActivationFunction == NONE
        ):
            before.outputs = [Tensor(x.name + "_" + kind.lower(), x.shape)]
            before.options.fusedActivationFunction = fused
            if id(x) in self._maps:
                self._maps[id(before.output)] = self._maps[id(x)]
            return before.output
        table = _UNARY[kind]
        out = self._add(kind, [x], x.shape, options(table) if table else None)
        if id(x) in self._maps:
            self._maps[id(out)] = self._maps[id(x)]
        return out

    def prelu(self, x: Tensor, slope: Array) -> Tensor:
        values = np.broadcast_to(np.asarray(slope, np.float32).reshape(-1), (x.shape[-1],))
        shape = (1, 1, -1) if len(x.shape) == 4 else (-1,)
        return self._add("PRELU", [x, self._constant(values.reshape(shape))], x.shape, None)

    def elementwise(self, kind: str, a: Tensor, b: Tensor) -> Tensor:
        """ADD, SUB or MUL of two tensors of one shape."""
        if a.shape != b.shape:
            raise ModelError(
                f"{kind}: expected two tensors of one shape, got {a.shape} and {b.shape}", "broadcast before"
            )
        table = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[kind]
        return self._add(kind, [a, b], a.shape, options(table, fusedActivationFunction=NONE))

    def concatenate(self, parts: Sequence[Tensor]) -> Tensor:
        """(N, A), (N, B), … -> (N, A + B + …). Refuses a flattened map: its order differs from the source."""
        if any(id(p) in self._maps and max(self._maps[id(p)][1:]) > 1 for p in parts):
            raise ModelError(
                "concatenation: expected rows of numbers, got a flattened feature map",
                "pool globally or add a fully connected layer before it",
            )
        shape = (parts[0].shape[0], sum(p.shape[1] for p in parts))
        return self._add(
            "CONCATENATION", list(parts), shape, options("ConcatenationOptions", axis=1, fusedActivationFunction=NONE)
        )

    def pool(
        self, kind: str, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int] = (0, 0, 0, 0)
    ) -> Tensor:
        """MAX_POOL_2D or AVERAGE_POOL_2D. Without padding."""
        if any(padding):
            raise ModelError(
                f"{kind}: expected no padding, got {tuple(padding)}: TFLite pads pools differently",
                "pad before the pool, or use a stride in the convolution",
            )
        x, padded, rows, columns = self._window(x, kernel, stride, (1, 1), padding)
        return self._add(
            kind,
            [x],
            (x.shape[0], rows, columns, x.shape[3]),
            options(
                "Pool2DOptions",
                padding=padded,
                strideH=stride[0],
                strideW=stride[1],
                filterHeight=kernel[0],
                filterWidth=kernel[1],
                fusedActivationFunction=NONE,
            ),
        )

    def global_average(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, 1, 1, C)."""
        return self.pool("AVERAGE_POOL_2D", x, x.shape[1:3], x.shape[1:3])

    def flatten(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, H * W * C)."""
        if len(x.shape) == 2:
            return x
        n, h, w, c = x.shape
        target = np.array([n, h * w * c], np.int32)
        out = self._add(
            "RESHAPE", [x, self._constant(target, np.int32)], (n, h * w * c), options("ReshapeOptions", newShape=target)
        )
        self._maps[id(out)] = (c, h, w)
        return out

    def check_output(self, x: Tensor) -> Tensor:
        """Refuses a flattened map as the output: its order differs from the source."""
        if (
            id(x) in self._maps
            and max(self._maps[id(x)][1:]) > 1
            and any(op.output is x and op.kind == "RESHAPE" for op in self.graph.ops)
        ):
            raise ModelError(
                "output: expected one number per channel, got a flattened feature map",
                "end the network in a global pooling or a fully connected layer",
            )
        return x
