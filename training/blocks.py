"""The blocks of the twin networks, in torch and as float TFLite operators with the batch norm folded in."""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import graph
from converters.build import Builder
from converters.graph import Array

First = Callable[[Array, Array], tuple[Array, Array]]  # weights and bias of the first convolution, changed


class ConvBlock(nn.Module):
    """Convolution, batch norm, and ReLU6 unless `linear`. `same` pads as TFLite: with stride 2 at the right and the bottom."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        same: bool = True,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.same, self.linear, self.kernel, self.stride = same, linear, kernel, stride
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.same and self.kernel > 1:
            total = (
                self.kernel - self.stride
            )  # right for even input sizes, which the networks have where the stride is 2
            before = total // 2
            x = F.pad(x, (before, total - before, before, total - before))
        x = self.norm(self.conv(x))
        return x if self.linear else F.relu6(x)


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut. In training the share `dropped` of the pictures takes the shortcut only."""

    def __init__(self, channels: int, dropped: float = 0.0):
        super().__init__()
        self.dropped = dropped
        self.first = ConvBlock(channels, channels, 3)
        self.second = ConvBlock(channels, channels, 3, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.second(self.first(x))
        if self.training and self.dropped:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.dropped
            branch = branch * kept / (1 - self.dropped)
        return F.relu6(x + branch)


def as_array(parameter: Any) -> Array:
    """A parameter as float64."""
    return np.asarray(parameter.detach().cpu().double().numpy())


def _folded(block: ConvBlock) -> tuple[Array, Array]:
    """Weights and bias of the convolution with its batch norm: w * g / s, b - mean * g / s with s = sqrt(var + eps)."""
    factor = as_array(block.norm.weight) / np.sqrt(as_array(block.norm.running_var) + block.norm.eps)
    offset = as_array(block.norm.bias) - as_array(block.norm.running_mean) * factor
    return as_array(block.conv.weight) * factor[:, None, None, None], offset


def _block(b: Builder, x: graph.Tensor, block: ConvBlock, first: First | None) -> graph.Tensor:
    weights, bias = _folded(block)
    if x is b.input and first is not None:
        weights, bias = first(weights, bias)
    total = block.kernel - block.stride if block.same and block.kernel > 1 else 0  # as ConvBlock.forward pads
    sides = (total // 2, total // 2, total - total // 2, total - total // 2)
    groups = int(block.conv.groups)
    x = b.conv(x, weights, bias, (block.stride, block.stride), sides, groups=groups)
    return x if block.linear else b.unary("RELU6", x)


def build_blocks(b: Builder, blocks: Iterable[nn.Module], first: First | None = None) -> graph.Tensor:
    """The blocks as operators, from the builder's input on. first: changes the first convolution's weights and bias."""
    x = b.input
    for block in blocks:
        if isinstance(block, Residual):
            branch = _block(b, _block(b, x, block.first, first), block.second, first)
            x = b.unary("RELU6", b.elementwise("ADD", x, branch))
        elif isinstance(block, ConvBlock):
            x = _block(b, x, block, first)  # nn.Dropout2d does nothing outside training
    return x
