"""A float .tflite graph as a PyTorch module with the same numbers, and back, for fine-tuning a published network."""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters.flatbuffer import load, serialize
from converters.graph import Array, Op
from converters.passes.prelu import recognise_prelu
from converters.passes.structure import fix_batch, remove_shape_arithmetic

SAME = 0  # TFLite's padding of that name


class GraphNet(nn.Module):
    """Convolutions, depthwise convolutions, PReLU, ADD and RESHAPE of a graph with one input and one output.

    forward: float32 (B, 3, H, W), normalised as the graph expects it -> (B, D). Raises ValueError for another operator.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.graph = load(path)
        fix_batch(self.graph)
        remove_shape_arithmetic(self.graph)
        recognise_prelu(self.graph)
        self.weights = nn.ParameterDict()
        for k, op in enumerate(self.graph.ops):
            if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                axes = (0, 3, 1, 2) if op.kind == "CONV_2D" else (3, 0, 1, 2)  # to (out, in / groups, H, W)
                self.weights[f"w{k}"] = nn.Parameter(torch.from_numpy(_array(op, 1).transpose(axes).copy()))
                self.weights[f"b{k}"] = nn.Parameter(torch.from_numpy(_array(op, 2).copy()))
            elif op.kind == "PRELU":
                self.weights[f"a{k}"] = nn.Parameter(torch.from_numpy(_array(op, 1).reshape(-1).copy()))
            elif op.kind not in ("ADD", "RESHAPE"):
                raise ValueError(f"{path}: expected convolutions, PRELU, ADD and RESHAPE, got {op.kind}")

    def forward(self, pixels: Tensor) -> Tensor:
        # channels last: a sixth faster on a CPU
        return self._run(0, {id(self.graph.inputs[0]): pixels.contiguous(memory_format=torch.channels_last)})

    def run_from(self, cut: int, activations: Tensor) -> Tensor:
        """`forward`, from the output of operator `cut`, float32 (B, C, H, W), on."""
        return self._run(cut + 1, {id(self.graph.ops[cut].output): activations})

    def last_layer(self) -> tuple[nn.Parameter, nn.Parameter]:
        """The weights (D, C, 1, 1) and biases (D,) of the last convolution."""
        last = max(int(name[1:]) for name in self.weights if name.startswith("w"))
        return self.weights[f"w{last}"], self.weights[f"b{last}"]

    def _run(self, first: int, values: dict[int, Tensor]) -> Tensor:
        for k, op in enumerate(self.graph.ops[first:], first):
            values[id(op.output)] = self._apply(k, op, values[id(op.inputs[0])], values)
        return values[id(self.graph.outputs[0])].flatten(1)

    def _apply(self, k: int, op: Op, x: Tensor, values: dict[int, Tensor]) -> Tensor:
        if op.kind == "ADD":
            return x + values[id(op.inputs[1])]
        if op.kind == "RESHAPE":
            return x.flatten(1)
        if op.kind == "PRELU":
            return F.prelu(x, self.weights[f"a{k}"])
        weight, stride = self.weights[f"w{k}"], (op.options.strideH, op.options.strideW)
        if op.options.padding == SAME:  # with stride 2 TFLite pads at the right and the bottom
            side, kernel = x.shape[2], weight.shape[2]
            total = max((-(-side // stride[0]) - 1) * stride[0] + kernel - side, 0)
            x = F.pad(x, (total // 2, total - total // 2) * 2)
        return F.conv2d(
            x, weight, self.weights[f"b{k}"], stride, groups=len(weight) if op.kind == "DEPTHWISE_CONV_2D" else 1
        )

    def to_tflite(self) -> bytes:
        """The float model with the current weights."""
        for k, op in enumerate(self.graph.ops):
            if f"w{k}" in self.weights:
                axes = (0, 2, 3, 1) if op.kind == "CONV_2D" else (1, 2, 3, 0)
                _set(op, 1, self.weights[f"w{k}"].detach().numpy().transpose(axes))
                _set(op, 2, self.weights[f"b{k}"].detach().numpy())
            elif f"a{k}" in self.weights:
                _set(op, 1, self.weights[f"a{k}"].detach().numpy().reshape(_array(op, 1).shape))
        return serialize(self.graph)


def _array(op: Op, index: int) -> Array:
    return np.asarray(op.tensor(index).array, np.float32)


def _set(op: Op, index: int, values: Array) -> None:
    op.tensor(index).data = np.ascontiguousarray(values, np.float32)
