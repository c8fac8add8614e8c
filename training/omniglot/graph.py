"""A trained encoder as a float TFLite graph that takes raw pixels: dark ink on light paper, 0 to 255.

Batch norm is folded into the convolution before it, and ink = 1 - pixel / 255 into the first convolution. Both are exact,
since the first convolution has no padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from converters.build import Builder
from converters.graph import Array, Graph, Tensor
from training.omniglot.networks import ConvBlock, KochTwin, Residual, SmallTwin


def _numpy(parameter: Any) -> Array:
    return np.asarray(parameter.detach().cpu().double().numpy())


def _folded(block: ConvBlock) -> tuple[Array, Array]:
    """Weights and bias of the convolution with its batch norm: w * g / s, b - mean * g / s with s = sqrt(var + eps)."""
    factor = _numpy(block.norm.weight) / np.sqrt(_numpy(block.norm.running_var) + block.norm.eps)
    offset = _numpy(block.norm.bias) - _numpy(block.norm.running_mean) * factor
    return _numpy(block.conv.weight) * factor[:, None, None, None], offset


def _from_pixels(weights: Array, bias: Array) -> tuple[Array, Array]:
    """w . (1 - p / 255) + b = (-w / 255) . p + (b + sum w)."""
    return -weights / 255, bias + weights.sum(axis=(1, 2, 3))


def _block(b: Builder, x: Tensor, block: ConvBlock) -> Tensor:
    weights, bias = _folded(block)
    if x is b.input:
        weights, bias = _from_pixels(weights, bias)
    total = block.kernel - block.stride if block.same and block.kernel > 1 else 0  # as ConvBlock.forward pads
    sides = (total // 2, total // 2, total - total // 2, total - total // 2)
    groups = int(block.conv.groups)
    x = b.conv(x, weights, bias, (block.stride, block.stride), sides, groups=groups)
    return x if block.linear else b.unary("RELU6", x)


def _small(b: Builder, twin: SmallTwin) -> Tensor:
    x = b.input
    for part in twin.body:
        if isinstance(part, Residual):
            branch = _block(b, _block(b, x, part.first), part.second)
            x = b.unary("RELU6", b.elementwise("ADD", x, branch))
        else:
            x = _block(b, x, part)
    return b.linear(x, _numpy(twin.embed.weight)[:, :, 0, 0], _numpy(twin.embed.bias))


def _koch(b: Builder, twin: KochTwin) -> Tensor:
    x = b.input
    for part in twin.body:
        if isinstance(part, nn.Conv2d):
            weights, bias = _numpy(part.weight), _numpy(part.bias)
            if x is b.input:
                weights, bias = _from_pixels(weights, bias)
            x = b.unary("RELU", b.conv(x, weights, bias))
        elif isinstance(part, nn.MaxPool2d):
            x = b.pool("MAX_POOL_2D", x, (2, 2), (2, 2))
    return b.unary("LOGISTIC", b.linear(x, _numpy(twin.dense.weight), _numpy(twin.dense.bias)))


def float_graph(encoder: nn.Module) -> Graph:
    """pixels float32 (1, side, side, 1) in 0..255 -> embedding float32 (1, D). Raises TypeError for another network."""
    if not isinstance(encoder, SmallTwin | KochTwin):
        raise TypeError(f"encoder: expected SmallTwin or KochTwin, got {type(encoder).__name__}")
    b = Builder((1, 1, encoder.side_px, encoder.side_px))
    return b.finish(_small(b, encoder) if isinstance(encoder, SmallTwin) else _koch(b, encoder))
