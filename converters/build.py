"""Layers as TFLite operators, for sources other than TFLite files. Weights have the layout of PyTorch and ONNX, (O, I, kh, kw)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.graph import Array, Tensor
from converters.layout import Layout
from converters.passes.linear import NONE, binary, options
from edge_oneshot.errors import ModelError

SAME, VALID = 0, 1
_UNARY = {
    "LOGISTIC": None,
    "TANH": None,
    "ABS": "AbsOptions",
    "RELU": None,
    "RELU6": None,
    "HARD_SWISH": "HardSwishOptions",
}


class Builder(Layout):
    """Each method adds a layer that reads `x`, and returns the layer's result. ModelError: the layer has no TFLite form."""

    def pad(self, x: Tensor, top: int, bottom: int, left: int, right: int, value: float = 0.0) -> Tensor:
        if min(top, bottom, left, right) < 0:
            raise ModelError(f"expected padding of 0 px or more, got {(top, bottom, left, right)}", "crop the picture")
        if not (top or bottom or left or right):
            return x
        n, h, w, c = self.map_of(x).shape
        amounts = self._constant(np.array([[0, 0], [top, bottom], [left, right], [0, 0]]), np.int32)
        shape = (n, h + top + bottom, w + left + right, c)
        if value:
            return self._add("PADV2", [x, amounts, self._constant(np.array([value]))], shape, options("PadV2Options"))
        return self._add("PAD", [x, amounts], shape, options("PadOptions"))

    def _window(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: Sequence[int]
    ) -> tuple[int | None, int, int]:
        """(TFLite's padding kind or None, rows, columns). padding: top, left, bottom, right."""
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        top, left, bottom, right = padding
        same, sizes = [], []
        for size, s, r, before, after in (
            (x.shape[1], stride[0], reach[0], top, bottom),
            (x.shape[2], stride[1], reach[1], left, right),
        ):
            sizes.append((size + before + after - r) // s + 1)
            total = max((-(-size // s) - 1) * s + r - size, 0)
            same.append(sizes[-1] == -(-size // s) and (before, after) == (total // 2, total - total // 2))
        if min(sizes) < 1:
            raise ModelError(f"expected a window inside {x.shape[1:3]} px, got {tuple(reach)}", "use a larger picture")
        return (SAME if all(same) else None) if any(padding) else VALID, sizes[0], sizes[1]

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
        """Convolution; weights (O, I / groups, kh, kw). padding: top, left, bottom, right."""
        if weights.ndim != 4:
            raise ModelError(f"expected a convolution over height and width, got weights {weights.shape}", "use Conv2d")
        outputs, inputs, *kernel = weights.shape
        if self.map_of(x).shape[3] != inputs * groups:
            raise ModelError(f"expected {inputs * groups} channels, got {x.shape[3]}", "export the network again")
        kind, rows, columns = self._window(x, kernel, stride, dilation, padding)
        if kind is None:
            top, left, bottom, right = padding
            x, kind = self.pad(x, top, bottom, left, right), VALID
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
        if groups == 1 or inputs > 1:  # TFLite counts the groups itself: channels of x over channels of the weights
            w = self._constant(weights.transpose(0, 2, 3, 1))
            return self._add("CONV_2D", [x, w, b], shape, options("Conv2DOptions", **common))
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
            raise ModelError(f"expected rows (N, {weights.shape[1]}), got {x.shape}", "flatten before it")
        chw = (x.shape[3], *x.shape[1:3]) if len(x.shape) == 4 else self._maps.get(x)
        if chw is not None:  # this graph flattens (H, W, C)
            weights = weights.reshape(-1, *chw).transpose(0, 2, 3, 1).reshape(weights.shape)
        b = self._constant(np.zeros(len(weights)) if bias is None else bias)
        return self._add(
            "FULLY_CONNECTED",
            [x, self._constant(weights), b],
            (x.shape[0], len(weights)),
            options("FullyConnectedOptions", fusedActivationFunction=NONE),
        )

    def affine(self, x: Tensor, factor: object, offset: object) -> Tensor:
        """x * factor + offset; both broadcast to the source's shape of `x`. A later pass folds them where possible."""
        out = x
        for kind, values, idle in (("MUL", factor, 1.0), ("ADD", offset, 0.0)):
            constant = self.stored(x, values)
            if (constant != idle).any():
                op = binary(self.graph, kind, out, self._constant(constant), f"{kind.lower()}_{len(self.graph.ops)}")
                self.graph.ops.append(op)
                out = self._like(x, op.output)
        return out

    def unary(self, kind: str, x: Tensor) -> Tensor:
        """RELU, RELU6, LOGISTIC, TANH, ABS, HARD_SWISH."""
        table = _UNARY[kind]
        return self._like(x, self._add(kind, [x], x.shape, options(table) if table else None))

    def prelu(self, x: Tensor, slope: object) -> Tensor:
        """x, or slope * x where x < 0. slope: a number; or one for each channel or number, (C,) or (D,)."""
        values = np.asarray(slope, np.float32)
        if len(x.shape) == 4 and values.shape == (x.shape[3],):
            values = values.reshape(-1, 1, 1)
        constant = self.stored(x, values)
        if constant.ndim == 4:
            raise ModelError("expected one slope for each channel, got one for each place", "use nn.PReLU(channels)")
        constant = constant.reshape((1, 1, -1) if len(x.shape) == 4 else (-1,))
        return self._like(x, self._add("PRELU", [x, self._constant(constant)], x.shape, None))

    def elementwise(self, kind: str, a: Tensor, b: Tensor) -> Tensor:
        """ADD, SUB or MUL of two tensors. Maps may have one row, column or channel, which is repeated."""
        maps = len(a.shape) == len(b.shape) == 4
        fit = a.shape == b.shape or (maps and all(m == n or 1 in (m, n) for m, n in zip(a.shape, b.shape, strict=True)))
        if not fit:
            shapes = f"{self.source_shape(a)} and {self.source_shape(b)}"
            raise ModelError(f"expected two tensors of one shape, got {shapes}", "give both the same shape before")
        if self._maps.get(a) != self._maps.get(b):
            a, b = self.source_order(a), self.source_order(b)
        table = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[kind]
        shape = np.broadcast_shapes(a.shape, b.shape)
        return self._like(a, self._add(kind, [a, b], shape, options(table, fusedActivationFunction=NONE)))

    def concatenate(self, parts: Sequence[Tensor]) -> Tensor:
        """Rows (N, A), (N, B), … -> (N, A + B + …), or maps along their channels."""
        parts = [self.source_order(p) for p in parts]
        first = parts[0].shape
        if any(p.shape[:-1] != first[:-1] for p in parts):
            shapes = [self.source_shape(p) for p in parts]
            raise ModelError(f"expected tensors that differ in dimension 1 only, got {shapes}", "use one size for all")
        shape = (*first[:-1], sum(p.shape[-1] for p in parts))
        table = options("ConcatenationOptions", axis=len(first) - 1, fusedActivationFunction=NONE)
        return self._add("CONCATENATION", list(parts), shape, table)

    def pool(
        self,
        kind: str,
        x: Tensor,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int] = (0, 0, 0, 0),
        counted: bool = False,
    ) -> Tensor:
        """MAX_POOL_2D or AVERAGE_POOL_2D. padding: top, left, bottom, right. counted: an average includes the padding."""
        padded, rows, columns = self._window(self.map_of(x), kernel, stride, (1, 1), padding)
        average = kind == "AVERAGE_POOL_2D"
        if any(padding) and (padded is None or (average and counted)):
            if average and not counted:
                raise ModelError(
                    f"expected an average that counts its padding, got padding {tuple(padding)} without",
                    "set count_include_pad=True, or use a stride in the convolution instead",
                )
            top, left, bottom, right = padding
            x, padded = self.pad(x, top, bottom, left, right, 0.0 if average else -np.inf), VALID
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
        return self.pool("AVERAGE_POOL_2D", x, self.map_of(x).shape[1:3], x.shape[1:3])
