"""Equalisation and bias correction keep the float function and reduce the error of int8."""

from __future__ import annotations

import numpy as np
from converter_parts import MEAN, STD, normalised, pixels, random_network, run

from converters.build import Builder
from converters.flatbuffer import parse, serialize
from converters.graph import Array, Graph
from converters.observe import observe
from converters.passes.bias import correct_biases, rounding_error
from converters.passes.equalise import equalise, groups
from converters.passes.linear import LINEAR, output_axis
from converters.passes.normalise import fold_normalisation
from converters.passes.prelu import rewrite_prelu


def close(a: Array, b: Array, share: float) -> None:
    """At most `share` of the largest value apart."""
    assert np.abs(a - b).max() <= share * np.abs(b).max(), f"apart by {np.abs(a - b).max()} of {np.abs(b).max()}"


def small(prelu: bool) -> Graph:
    graph = random_network()
    if prelu:
        rewrite_prelu(graph)
    return graph


def test_equalisation_is_exact_and_equalises() -> None:
    graph = small(prelu=True)
    images = pixels(6)
    fold_normalisation(graph, MEAN, STD)
    keep = graph.consumers(graph.inputs[0])[0].outputs
    before = [run(graph, p) for p in images]
    stats, _ = observe(graph, images)
    free = [g for g in groups(graph, keep) if not g.locked and all(r.kind == "DEPTHWISE_CONV_2D" for r in g.readers)]

    def unevenness(s: dict[str, object]) -> float:
        ratios = []
        for g in free:
            width = np.max([np.maximum(np.abs(s[t.name].low), np.abs(s[t.name].high)) for t in g.tensors], axis=0)  # type: ignore[attr-defined]
            ratios.append(width.max() / width.min())
        return float(max(ratios))

    assert unevenness(stats) > 5  # type: ignore[arg-type]
    assert equalise(graph, stats, keep) > 0
    for picture, expected in zip(images, before, strict=True):
        close(run(graph, picture), expected, 2e-5)
    again, _ = observe(graph, images)
    assert unevenness(again) < 1.01, "a depthwise convolution behind takes any factor, so the ranges come out equal"  # type: ignore[arg-type]
    for name, predicted in stats.items():
        np.testing.assert_allclose(predicted.low, again[name].low, rtol=1e-3, atol=1e-4)


def test_relu6_fixes_the_scale() -> None:
    b = Builder((1, 3, 8, 8))
    x = b.unary("RELU6", b.conv(b.input, np.ones((4, 3, 3, 3), np.float32), None))
    graph = b.finish(b.flatten(b.conv(x, np.ones((2, 4, 6, 6), np.float32), None)))
    assert all(g.locked for g in groups(graph))


def test_bias_correction_takes_out_the_shift_that_rounding_makes() -> None:
    """Layers in a row, rounded weights in the float graph: the mean output is off; with the corrected biases it is not."""
    rng = np.random.default_rng(7)
    b = Builder((1, 3, 16, 16))
    x = b.conv(b.input, rng.normal(size=(8, 3, 3, 3)).astype(np.float32), None, (2, 2), (0, 0, 1, 1))
    x = b.conv(x, rng.normal(size=(8, 1, 3, 3)).astype(np.float32), None, groups=8)
    x = b.global_average(b.conv(x, rng.normal(size=(6, 8, 1, 1)).astype(np.float32), None))
    graph = b.finish(b.linear(b.flatten(x), rng.normal(size=(5, 6)).astype(np.float32), None))
    images = pixels(8, 16)
    fold_normalisation(graph, MEAN, STD)
    _, means = observe(graph, images)

    def mean_with_rounded_weights(corrected: bool) -> Array:
        copy = parse(serialize(graph))
        if corrected:
            assert correct_biases(copy, means) == 5
        for op in copy.ops:
            if op.kind in LINEAR:
                w = op.tensor(1)
                w.data = (w.array + rounding_error(w.array, output_axis(op))).astype(np.float32)
        return observe(copy, images)[1][graph.outputs[0].name]

    raw = np.abs(mean_with_rounded_weights(False) - means[graph.outputs[0].name]).max()
    corrected = np.abs(mean_with_rounded_weights(True) - means[graph.outputs[0].name]).max()
    assert corrected < 0.5 * raw, (corrected, raw)


def test_one_layer_is_corrected_exactly() -> None:
    rng = np.random.default_rng(5)
    b = Builder((1, 3, 9, 9))
    x = b.conv(b.input, rng.normal(size=(4, 3, 3, 3)).astype(np.float32), None, (2, 2), (1, 1, 1, 1))
    graph = b.finish(x)
    images = [normalised(p) for p in pixels(3, 9)]
    mean = np.mean(images, axis=0)
    exact = np.mean([run(graph, p).mean(axis=(0, 1, 2)) for p in images], axis=0)
    conv = graph.ops[-1]
    conv_input = conv.tensor(0).name
    padded = mean if conv_input == "image" else np.pad(mean, ((1, 1), (1, 1), (0, 0)))
    correct_biases(graph, {conv_input: padded})
    conv.tensor(1).data = (conv.tensor(1).array + rounding_error(conv.tensor(1).array, 0)).astype(np.float32)
    after = np.mean([run(graph, p).mean(axis=(0, 1, 2)) for p in images], axis=0)
    np.testing.assert_allclose(after, exact, atol=2e-6)
