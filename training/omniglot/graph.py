"""A trained encoder as a float TFLite graph that takes raw pixels: dark ink on light paper, 0 to 255.

Batch norm is folded into the convolution before it, and ink = 1 - pixel / 255 into the first convolution. Both are exact,
since the first convolution has no padding.
"""

from __future__ import annotations

from torch import nn

from converters.build import Builder
from converters.graph import Array, Graph, Tensor
from training.blocks import as_array, build_blocks
from training.omniglot.networks import ConvTwin, KochTwin


def _from_pixels(weights: Array, bias: Array) -> tuple[Array, Array]:
    """w . (1 - p / 255) + b = (-w / 255) . p + (b + sum w)."""
    return -weights / 255, bias + weights.sum(axis=(1, 2, 3))


def _conv(b: Builder, twin: ConvTwin) -> Tensor:
    x = build_blocks(b, twin.body, first=_from_pixels)
    return b.linear(x, as_array(twin.embed.weight)[:, :, 0, 0], as_array(twin.embed.bias))


def _koch(b: Builder, twin: KochTwin) -> Tensor:
    x = b.input
    for part in twin.body:
        if isinstance(part, nn.Conv2d):
            weights, bias = as_array(part.weight), as_array(part.bias)
            if x is b.input:
                weights, bias = _from_pixels(weights, bias)
            x = b.unary("RELU", b.conv(x, weights, bias))
        elif isinstance(part, nn.MaxPool2d):
            x = b.pool("MAX_POOL_2D", x, (2, 2), (2, 2))
    return b.unary("LOGISTIC", b.linear(x, as_array(twin.dense.weight), as_array(twin.dense.bias)))


def float_graph(encoder: nn.Module) -> Graph:
    """pixels float32 (1, side, side, 1) in 0..255 -> embedding float32 (1, D). Raises TypeError for another network."""
    if not isinstance(encoder, ConvTwin | KochTwin):
        raise TypeError(f"encoder: expected ConvTwin or KochTwin, got {type(encoder).__name__}")
    b = Builder((1, 1, encoder.side_px, encoder.side_px))
    return b.finish(_conv(b, encoder) if isinstance(encoder, ConvTwin) else _koch(b, encoder))
