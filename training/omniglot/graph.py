"""A trained encoder as a float TFLite graph that takes raw pixels: dark ink on light paper, 0..255.

Written operator by operator, since both networks are plain chains: batch norm goes into the convolution before it, and
ink = 1 - pixel / 255 into the first convolution, exactly, because that one has no padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from converters.graph import Array, Graph, Op, Tensor
from training.omniglot.networks import ConvBlock, KochTwin, Residual, SmallTwin

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
NONE, RELU, RELU6 = (
    schema.ActivationFunctionType.NONE,
    schema.ActivationFunctionType.RELU,
    schema.ActivationFunctionType.RELU6,
)


class _Chain:
    """Appends operators to a graph, keeping track of the newest tensor and its shape (1, H, W, C)."""

    def __init__(self, side: int) -> None:
        pixels = Tensor("pixels", (1, side, side, 1))
        self.graph = Graph([pixels], [pixels])
        self.top = pixels
        self.count = 0

    def add(
        self,
        kind: str,
        shape: tuple[int, ...],
        options: Any,
        inputs: list[Tensor | None],
        constants: tuple[Array, ...] = (),
    ) -> Tensor:
        self.count += 1
        name = f"{self.count:02d}_{kind.lower()}"
        held = [Tensor(f"{name}/{part}", c.shape, np.float32, np.ascontiguousarray(c, np.float32))
                for part, c in zip(("weights", "bias"), constants, strict=False)]  # fmt: skip
        self.top = Tensor(name, shape)
        self.graph.ops.append(Op(kind, [*inputs, *held], [self.top], options))
        self.graph.outputs = [self.top]
        return self.top

    def conv(
        self, weights: Array, bias: Array, stride: int, padding: int, activation: int, depthwise: bool = False
    ) -> Tensor:
        """weights as torch has them: (O, I, kh, kw)."""
        _, height, width, _ = self.top.shape
        kernel = weights.shape[2]
        sides = [n // stride if padding == SAME else (n - kernel) // stride + 1 for n in (height, width)]
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding, options.strideW, options.strideH = padding, stride, stride
        options.dilationWFactor = options.dilationHFactor = 1
        options.fusedActivationFunction = activation
        if depthwise:
            options.depthMultiplier = 1
            weights = weights.transpose(1, 2, 3, 0)  # (O, 1, kh, kw) -> (1, kh, kw, O)
        else:
            weights = weights.transpose(0, 2, 3, 1)  # (O, I, kh, kw) -> (O, kh, kw, I)
        shape = (1, *sides, len(bias))
        return self.add("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", shape, options, [self.top], (weights, bias))

    def dense(self, weights: Array, bias: Array) -> Tensor:
        """weights (O, I), inputs in the order H, W, C."""
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = NONE
        return self.add("FULLY_CONNECTED", (1, len(bias)), options, [self.top], (weights, bias))


def _numpy(parameter: Any) -> Array:
    return np.asarray(parameter.detach().cpu().double().numpy())


def _folded(block: ConvBlock) -> tuple[Array, Array]:
    """Weights and bias of the convolution with its batch norm: w * g / s, b - mean * g / s with s = sqrt(var + eps)."""
    factor = _numpy(block.norm.weight) / np.sqrt(_numpy(block.norm.running_var) + block.norm.eps)
    return _numpy(block.conv.weight) * factor[:, None, None, None], _numpy(block.norm.bias) - _numpy(
        block.norm.running_mean
    ) * factor


def _from_pixels(weights: Array, bias: Array) -> tuple[Array, Array]:
    """w . (1 - p / 255) + b = (-w / 255) . p + (b + sum w)."""
    return -weights / 255, bias + weights.sum(axis=(1, 2, 3))


def _block(chain: _Chain, block: ConvBlock, first: bool = False) -> Tensor:
    weights, bias = _folded(block)
    if first:
        weights, bias = _from_pixels(weights, bias)
    padding = SAME if block.same else VALID
    return chain.conv(weights, bias, block.stride, padding, NONE if block.linear else RELU6, block.conv.groups > 1)


def _small(twin: SmallTwin) -> Graph:
    chain = _Chain(twin.side_px)
    for number, part in enumerate(twin.body):
        if isinstance(part, Residual):
            shortcut = chain.top
            _block(chain, part.first)
            branch = _block(chain, part.second)
            options = schema.AddOptionsT()
            options.fusedActivationFunction = RELU6
            chain.add("ADD", branch.shape, options, [shortcut, branch])
        else:
            _block(chain, part, first=number == 0)
    chain.dense(_numpy(twin.embed.weight)[:, :, 0, 0], _numpy(twin.embed.bias))
    return chain.graph


def _koch(twin: KochTwin) -> Graph:
    chain = _Chain(twin.side_px)
    for number, part in enumerate(twin.body):
        if isinstance(part, nn.Conv2d):
            weights, bias = _numpy(part.weight), _numpy(part.bias)
            if number == 0:
                weights, bias = _from_pixels(weights, bias)
            chain.conv(weights, bias, 1, VALID, RELU)
        elif isinstance(part, nn.MaxPool2d):
            _, height, width, channels = chain.top.shape
            options = schema.Pool2DOptionsT()
            options.padding, options.strideW, options.strideH, options.filterWidth, options.filterHeight = (
                VALID,
                2,
                2,
                2,
                2,
            )
            options.fusedActivationFunction = NONE
            chain.add("MAX_POOL_2D", (1, height // 2, width // 2, channels), options, [chain.top])
    _, height, width, channels = chain.top.shape
    weights = (
        _numpy(twin.dense.weight).reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    )  # torch flattens C, H, W
    chain.dense(weights.reshape(len(weights), -1), _numpy(twin.dense.bias))
    chain.add("LOGISTIC", chain.top.shape, None, [chain.top])
    return chain.graph


def float_graph(encoder: nn.Module) -> Graph:
    """pixels float32 (1, side, side, 1) in 0..255 -> embedding float32 (1, D). Raises TypeError for another network."""
    if isinstance(encoder, SmallTwin):
        return _small(encoder)
    if isinstance(encoder, KochTwin):
        return _koch(encoder)
    raise TypeError(f"encoder: expected SmallTwin or KochTwin, got {type(encoder).__name__}")
