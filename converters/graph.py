"""A float or int8 TFLite model as a small editable graph. Every source becomes one, and every pass edits one.

An op has its input and output tensors, a constant tensor has its array. Names are unique.
Shapes and layouts are TFLite's: activations (N, H, W, C), CONV_2D weights (O, kh, kw, I), DEPTHWISE_CONV_2D weights
(1, kh, kw, C * multiplier), FULLY_CONNECTED weights (O, I).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True)
class Quantization:
    """real = scale * (stored - zero_point); one entry per tensor, or one per slice along `axis`."""

    scale: Array  # float32 (1,) or (channels,)
    zero_point: Array  # int64, same shape
    axis: int = 0


@dataclass(eq=False)
class Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: Any = np.float32
    data: Array | None = None
    quantization: Quantization | None = None
    dynamic: bool = False  # the shape signature contains -1

    @property
    def array(self) -> Array:
        if self.data is None:
            raise ModelError(f"tensor {self.name}: expected a constant, got an activation")
        return self.data


@dataclass(eq=False)
class Op:
    """kind: the schema's name, such as CONV_2D. options: the schema's option table, or None."""

    kind: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: Any = None
    version: int = 1

    def tensor(self, index: int) -> Tensor:
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise ModelError(f"{self.kind} {self.outputs[0].name}: expected an input at position {index}, got none")
        return found

    def optional(self, index: int) -> Tensor | None:
        return self.inputs[index] if index < len(self.inputs) else None

    @property
    def output(self) -> Tensor:
        return self.outputs[0]


@dataclass(eq=False)
class Graph:
    inputs: list[Tensor]
    outputs: list[Tensor]
    ops: list[Op] = field(default_factory=list)
    description: str = "edge-oneshot"

    def producer(self, tensor: Tensor) -> Op | None:
        return next((op for op in self.ops if any(t is tensor for t in op.outputs)), None)

    def consumers(self, tensor: Tensor) -> list[Op]:
        return [op for op in self.ops if any(t is tensor for t in op.inputs)]

    def tensors(self) -> list[Tensor]:
        """Every tensor once: inputs first, then in the order of the ops."""
        seen: dict[int, Tensor] = {id(t): t for t in self.inputs}
        for op in self.ops:
            for t in (*op.inputs, *op.outputs):
                if t is not None:
                    seen.setdefault(id(t), t)
        for t in self.outputs:
            seen.setdefault(id(t), t)
        return list(seen.values())

    def unique_name(self, stem: str) -> str:
        taken = {t.name for t in self.tensors()}
        if stem not in taken:
            return stem
        return next(name for i in range(1, len(taken) + 2) if (name := f"{stem}_{i}") not in taken)

    def constant(self, stem: str, data: Array) -> Tensor:
        return Tensor(self.unique_name(stem), tuple(data.shape), data.dtype.type, np.ascontiguousarray(data))

    def insert_after(self, anchor: Op | None, op: Op) -> None:
        self.ops.insert(0 if anchor is None else self.ops.index(anchor) + 1, op)

    def prune(self) -> None:
        """Remove ops whose results are not used."""
        while True:
            read = {id(t) for op in self.ops for t in op.inputs if t is not None} | {id(t) for t in self.outputs}
            kept = [op for op in self.ops if any(id(t) in read for t in op.outputs)]
            if len(kept) == len(self.ops):
                return
            self.ops = kept

    @property
    def is_quantized(self) -> bool:
        return any(t.dtype is np.int8 for t in self.tensors())
