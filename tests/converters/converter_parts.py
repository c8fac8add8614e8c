"""Small networks, built with the converter's own Builder, and pictures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.build import Builder
from converters.flatbuffer import serialize
from converters.graph import Array, Graph
from converters.litert import interpreter

MEAN, STD = [127.5] * 3, [128.0] * 3


def random_network(seed: int = 0, side: int = 32, slopes: tuple[float, float] = (-3.0, 9.0)) -> Graph:
    """Stem, PReLU, depthwise, PReLU, bottleneck with a residual, global depthwise, 1x1: a small MobileFaceNet.

    As in trained networks, channel ranges differ a hundredfold, and slopes have both signs and many sizes.
    """
    rng = np.random.default_rng(seed)
    b = Builder((1, 3, side, side))

    def weights(*shape: int) -> Array:
        spread = np.exp(rng.uniform(-2.3, 2.3, shape[0])).reshape(-1, 1, 1, 1)
        return (rng.normal(size=shape) * spread / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def bias(n: int) -> Array:
        return rng.normal(size=n).astype(np.float32) * 0.3

    def slope(n: int) -> Array:
        return rng.uniform(*slopes, n).astype(np.float32)

    x = b.prelu(b.conv(b.input, weights(12, 3, 3, 3), bias(12), (2, 2), (0, 0, 1, 1)), slope(12))
    x = b.prelu(b.conv(x, weights(12, 1, 3, 3), bias(12), (1, 1), (1, 1, 1, 1), groups=12), slope(12))
    x = b.conv(x, weights(8, 12, 1, 1), bias(8))
    y = b.prelu(b.conv(x, weights(16, 8, 1, 1), bias(16)), slope(16))
    y = b.prelu(b.conv(y, weights(16, 1, 3, 3), bias(16), (1, 1), (1, 1, 1, 1), groups=16), slope(16))
    x = b.elementwise("ADD", x, b.conv(y, weights(8, 16, 1, 1), bias(8)))
    x = b.conv(x, weights(8, 1, side // 2, side // 2), bias(8), groups=8)
    return b.finish(b.flatten(b.conv(x, weights(10, 8, 1, 1), bias(10))))


def outlier_network(seed: int = 0, factor: float = 15.0) -> Graph:
    """32x32 -> 8. In each layer one channel is `factor` times larger than the others, and the next layer hardly reads it.

    int8 has one range for a tensor, so the others get few steps; a SiLU behind each layer rules out equalisation.
    """
    rng = np.random.default_rng(seed)
    b = Builder((1, 3, 32, 32))
    x, inputs = b.input, 3
    for outputs in (12, 12, 16):
        w = (rng.normal(size=(outputs, inputs, 3, 3)) / np.sqrt(inputs * 4.5)).astype(np.float32)
        w[:, 0] *= 1 if inputs == 3 else 1e-3
        w[0] *= factor
        x = b.conv(x, w, np.zeros(outputs, np.float32), (2, 2), (0, 0, 1, 1))
        x = b.elementwise("MUL", x, b.unary("LOGISTIC", x))
        inputs = outputs
    w = rng.normal(size=(8, inputs, 4, 4)).astype(np.float32)
    w[:, 0] *= 1e-3
    return b.finish(b.flatten(b.conv(x, w, np.zeros(8, np.float32))))


def keras_network(folder: Path) -> Any:
    """A Keras network 16x16 -> 5, saved as net.keras and as the SavedModel `saved`. Skips the test without tensorflow."""
    tf = pytest.importorskip("tensorflow", reason="a Keras source")
    layers = tf.keras.layers
    net = tf.keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.Conv2D(8, 3, 2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.PReLU(shared_axes=[1, 2]),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.ReLU(6.0),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )
    net.layers[2].set_weights(
        [np.float32(np.linspace(-0.5, 3, 8).reshape(1, 1, 8))]
        if len(net.layers[2].get_weights()) == 1
        else net.layers[2].get_weights()
    )
    net.save(folder / "net.keras")
    net.export(folder / "saved")
    return net


def run(graph: Graph, image: Array) -> Array:
    """Output of a float graph for a float32 image (H, W, C)."""
    i = interpreter(serialize(graph))
    i.set_tensor(i.get_input_details()[0]["index"], image[None].astype(np.float32))
    i.invoke()
    return np.asarray(i.get_tensor(i.get_output_details()[0]["index"]))


def pixels(count: int, side: int = 32, channels: int = 3, seed: int = 1) -> list[Array]:
    """Smooth random pictures, uint8 (side, side, channels): noise alone does not excite layers as pictures do."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 5, 5, channels))
    at = np.linspace(0, 3.999, side)
    i, t = at.astype(int), (at % 1)[:, None, None]
    found = []
    for c in coarse:
        rows = c[i] * (1 - t) + c[i + 1] * t
        u = (at % 1)[None, :, None]
        picture = rows[:, i] * (1 - u) + rows[:, i + 1] * u
        found.append(np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8))
    return found


def normalised(picture: Array) -> Array:
    return ((picture.astype(np.float32) - np.float32(127.5)) / np.float32(128)).astype(np.float32)
