"""Replace the branch of an int8 landmark bundle that estimates hidden parts. Every other byte of its arithmetic stays.

The branch is what follows the trunk beside the landmarks' own head: network.HiddenNet, its batch norms folded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.flatbuffer import parse, serialize
from converters.graph import Array, Graph, Op, Quantization, Tensor
from edge_oneshot.errors import ModelError

LAYERS = ("DEPTHWISE_CONV_2D", "CONV_2D") * 3 + ("CONV_2D", "FULLY_CONNECTED")
Layer = tuple[Array, Array]  # weights as TFLite lays them out, biases; float32


def _branch(graph: Graph) -> list[Op]:
    """The ops of the branch, in order. Raises ModelError for another network."""
    heads = [i for i, op in enumerate(graph.ops) if op.kind == "FULLY_CONNECTED"]
    ops = graph.ops[heads[0] + 1 : heads[1] + 1] if len(heads) == 2 else []
    layers = tuple(op.kind for op in ops if op.kind in LAYERS)
    if layers != LAYERS:
        raise ModelError(f"branch of the landmark network: expected the layers {LAYERS}, got {layers}")
    return ops


def trunk(model: bytes) -> tuple[bytes, float]:
    """A model that returns the input of the branch, int8 (1, 13, 13, 96) with zero point -128; and its scale."""
    graph = parse(model)
    output = _branch(graph)[0].tensor(0)
    last = next(i for i, op in enumerate(graph.ops) if op.output is output)
    graph.ops, graph.outputs = graph.ops[: last + 1], [output]
    return serialize(graph), _scale(output)


def layers(model: bytes) -> list[Layer]:
    """Weights and biases of the branch, dequantised."""
    return [(_real(op.tensor(1)), _real(op.tensor(2))) for op in _branch(parse(model)) if op.kind in LAYERS]


def graft(model: bytes, replacement: Sequence[Layer], sums: Sequence[tuple[float, float]]) -> bytes:
    """The model with another branch of the same shape, quantised per channel.

    sums: the range of the values that each shortcut adds, in order. All other activations are bounded by ReLU6, and the
    logits keep the scale that they share with the offsets.
    """
    graph = parse(model)
    ops = _branch(graph)
    for op, (low, high) in zip((o for o in ops if o.kind == "ADD"), sums, strict=True):
        scale = (max(high, 0.0) - min(low, 0.0)) / 255
        zero = round(-128 - min(low, 0.0) / scale)
        op.tensor(1).quantization = Quantization(np.array([scale], np.float32), np.array([zero], np.int64))
    for op, (weights, biases) in zip((o for o in ops if o.kind in LAYERS), replacement, strict=True):
        target, bias = op.tensor(1), op.tensor(2)
        axis = 3 if op.kind == "DEPTHWISE_CONV_2D" else 0
        others = tuple(i for i in range(weights.ndim) if i != axis)
        scale = np.maximum(np.abs(weights).max(axis=others), 1e-6) / 127
        shape = [-1 if i == axis else 1 for i in range(weights.ndim)]
        target.data = np.rint(weights / scale.reshape(shape)).astype(np.int8)
        target.quantization = Quantization(scale.astype(np.float32), np.zeros(len(scale), np.int64), axis)
        step = scale.astype(np.float64) * _scale(op.tensor(0))
        bias.data = np.rint(biases / step).astype(np.int32)
        bias.quantization = Quantization(step.astype(np.float32), np.zeros(len(step), np.int64))
    return serialize(graph)


def _scale(tensor: Tensor) -> float:
    if tensor.quantization is None:
        raise ModelError(f"tensor {tensor.name}: expected int8 with a scale, got none")
    return float(tensor.quantization.scale[0])


def _real(tensor: Tensor) -> Array:
    quantization = tensor.quantization
    if quantization is None:
        raise ModelError(f"tensor {tensor.name}: expected int8 with a scale, got none")
    shape = [-1 if i == quantization.axis else 1 for i in range(tensor.array.ndim)]
    return np.asarray(tensor.array * quantization.scale.reshape(shape), np.float32)
