"""A graph that is built from a source with channels first: the graph has them last.

Feature maps (N, C, H, W) become (N, H, W, C). A flattened map is a row of numbers in the order (H, W, C) here and
(C, H, W) in the source. `Layout` knows which rows are flattened maps: it reorders the constants that meet one, and the row
itself where a layer needs the order of the source.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.graph import Array, Graph, Op, Tensor
from converters.passes.linear import NONE, RELU, options
from edge_oneshot.errors import ModelError

RELU6 = 3
_FUSES = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD")


class Layout:
    """The graph so far. Methods take tensors of it, and constants in the shape and order of the source."""

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
        self._maps: dict[Tensor, tuple[int, int, int]] = {}  # flattened map -> its (C, H, W), where H or W exceeds 1
        self._rows: dict[Tensor, Tensor] = {}  # flattened map -> the same numbers in the order of the source

    def finish(self, output: Tensor) -> Graph:
        self.graph.outputs = [self.source_order(output)]
        self.graph.prune()
        self._fuse_activations()
        return self.graph

    def _fuse_activations(self) -> None:
        """Give a RELU or RELU6 to the layer before it, if no other layer reads that layer's result."""
        for op in list(self.graph.ops):
            if op.kind not in ("RELU", "RELU6"):
                continue
            x, before = op.tensor(0), self.graph.producer(op.tensor(0))
            if (
                before is not None
                and before.kind in _FUSES
                and before.options.fusedActivationFunction == NONE
                and self.graph.consumers(x) == [op]
                and x not in self.graph.outputs
            ):
                before.outputs = [op.output]
                before.options.fusedActivationFunction = RELU if op.kind == "RELU" else RELU6
                self.graph.ops.remove(op)

    def source_shape(self, x: Tensor) -> tuple[int, ...]:
        """The shape of `x` in the source: (N, C, H, W), or (N, D)."""
        return (x.shape[0], x.shape[3], *x.shape[1:3]) if len(x.shape) == 4 else x.shape

    def stored(self, x: Tensor, values: object) -> Array:
        """A constant of the source that is combined with `x`, in the order in which the graph stores `x`.

        values: broadcast to the source's shape of `x`. Returns float64 (C,) if every place of a map has the same values,
        (1, H, W, C) otherwise, or (D,).
        """
        given, shape = np.asarray(values, np.float64), self.source_shape(x)
        try:
            full = np.broadcast_to(given, shape)
        except ValueError:
            raise ModelError(
                f"expected a constant that broadcasts to {shape}, got the shape {given.shape}", "repeat it before"
            ) from None
        if (full != full[:1]).any():
            raise ModelError("expected one constant for all pictures of a batch, got several", "export with batch 1")
        row = full[0]
        if len(shape) == 4:
            same = bool((row == row[:, :1, :1]).all())
            return np.asarray(row[:, 0, 0] if same else row.transpose(1, 2, 0)[None])
        if x in self._maps:
            row = row.reshape(self._maps[x]).transpose(1, 2, 0).reshape(-1)
        return np.asarray(row)

    def flattened(self, x: Tensor) -> tuple[int, int, int] | None:
        """The (C, H, W) of the flattened map `x`; None if its order is that of the source."""
        return self._maps.get(x)

    def _like(self, x: Tensor, out: Tensor) -> Tensor:
        """`out`, marked as a flattened map if `x` is one."""
        if x in self._maps:
            self._maps[out] = self._maps[x]
        return out

    def source_order(self, x: Tensor) -> Tensor:
        """A row of numbers in the order of the source. Other tensors are returned as they are."""
        if x not in self._maps:
            return x
        if x not in self._rows:
            c, h, w = self._maps[x]
            maps = self._reshape(x, (x.shape[0], h, w, c))
            self._rows[x] = self._reshape(self._transpose(maps, (0, 3, 1, 2)), x.shape)
        return self._rows[x]

    def map_of(self, x: Tensor, kind: str = "a feature map") -> Tensor:
        """`x` itself. ModelError: it is not a feature map."""
        if len(x.shape) != 4:
            raise ModelError(f"expected {kind} (N, C, H, W), got {x.shape}", "put this layer before the flattening")
        return x

    def _add(self, kind: str, inputs: list[Tensor | None], shape: Sequence[int], table: object) -> Tensor:
        out = Tensor(f"{kind.lower()}_{len(self.graph.ops)}", tuple(int(v) for v in shape))
        self.graph.ops.append(Op(kind, inputs, [out], table))
        return out

    def _constant(self, data: Array, dtype: type = np.float32) -> Tensor:
        self._constants += 1
        return Tensor(f"constant_{self._constants}", tuple(np.shape(data)), dtype, np.ascontiguousarray(data, dtype))

    def _reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        target = np.array(shape, np.int32)
        return self._add(
            "RESHAPE", [x, self._constant(target, np.int32)], shape, options("ReshapeOptions", newShape=target)
        )

    def _transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        shape = [x.shape[i] for i in order]
        return self._add(
            "TRANSPOSE", [x, self._constant(np.array(order), np.int32)], shape, options("TransposeOptions")
        )

    def flatten(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, H * W * C)."""
        if len(x.shape) == 2:
            return x
        n, h, w, c = x.shape
        out = self._reshape(x, (n, h * w * c))
        if max(h, w) > 1:
            self._maps[out] = (c, h, w)
        return out

    def unflatten(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """A row of numbers as the map that the source reads in it; shape: (N, C, H, W)."""
        n, c, h, w = shape
        if max(h, w) == 1 or self._maps.get(x) == (c, h, w):
            return self._reshape(self.source_order(x) if max(h, w) == 1 else x, (n, h, w, c))
        return self._transpose(self._reshape(self.source_order(x), shape), (0, 2, 3, 1))
