"""Every pass keeps the float function: on a small network with all kinds of slopes, and on the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from converter_parts import MEAN, STD, normalised, pixels, random_network, run

from converters.build import Builder
from converters.flatbuffer import load, parse, serialize
from converters.graph import Array, Graph, Op, Tensor
from converters.observe import observe
from converters.passes.colour import bgr_to_rgb
from converters.passes.equalise import equalise
from converters.passes.linear import NONE, RELU, options
from converters.passes.normalise import fold_normalisation
from converters.passes.prelu import recognise_prelu, rewrite_prelu
from converters.passes.structure import fix_batch, flatten_output, fold_batch_norm, remove_shape_arithmetic
from edge_oneshot.errors import ModelError


def close(a: Array, b: Array, share: float) -> None:
    """At most `share` of the largest value apart."""
    assert np.abs(a - b).max() <= share * np.abs(b).max(), f"apart by {np.abs(a - b).max()} of {np.abs(b).max()}"


def small(prelu: bool) -> Graph:
    graph = random_network()
    if prelu:
        rewrite_prelu(graph)
    return graph


def write_out_prelu(graph: Graph) -> None:
    """PReLU as TensorFlow 1 exports it: relu(x) + 0.5 a (x - |x|)."""
    for op in list(graph.ops):
        if op.kind != "PRELU":
            continue
        x, at = op.tensor(0), graph.ops.index(op)
        new = {k: Tensor(f"{op.output.name}_{k}", x.shape) for k in ("relu", "abs", "sub", "mul")}
        half = graph.constant("half", op.tensor(1).array.reshape(-1) * np.float32(0.5))
        no = NONE
        graph.ops[at : at + 1] = [
            Op("RELU", [x], [new["relu"]]),
            Op("ABS", [x], [new["abs"]], options("AbsOptions")),
            Op("SUB", [x, new["abs"]], [new["sub"]], options("SubOptions", fusedActivationFunction=no)),
            Op("MUL", [half, new["sub"]], [new["mul"]], options("MulOptions", fusedActivationFunction=no)),
            Op("ADD", [new["relu"], new["mul"]], [op.output], options("AddOptions", fusedActivationFunction=no)),
        ]


def test_reading_and_writing_keeps_every_bit() -> None:
    first = serialize(random_network())
    assert serialize(parse(first)) == first


@pytest.mark.parametrize("slopes", [(-0.9, 0.9), (1.1, 9.0), (-4.0, -1.1), (-3.0, 9.0)])
def test_prelu_of_every_slope(slopes: tuple[float, float]) -> None:
    graph = random_network(slopes=slopes)
    image = normalised(pixels(1)[0])
    before = run(graph, image)
    assert rewrite_prelu(graph) == 4
    assert not [op for op in graph.ops if op.kind in ("PRELU", "MAXIMUM")]
    close(run(graph, image), before, 2e-5)
    beyond = [t.array for t in graph.tensors() if t.name.endswith("_slope_less_one")]
    assert all(((b >= -2) & (b <= 0)).all() for b in beyond), "every slope has to come to lie in [-1, 1]"


def test_slopes_of_exactly_one_and_zero() -> None:
    b = Builder((1, 3, 8, 8))
    w = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    x = b.prelu(b.conv(b.input, w, None), np.array([1.0, 0.0, -1.0, 1.5], np.float32))
    graph = b.finish(b.flatten(b.conv(x, np.ones((2, 4, 8, 8), np.float32), None)))
    image = normalised(pixels(1, 8)[0])
    before = run(graph, image)
    rewrite_prelu(graph)
    close(run(graph, image), before, 1e-5)


def test_prelu_between_neighbours_that_take_no_factor() -> None:
    """Its input has two readers and its output is the model's: MULs by constants must absorb the factors."""
    b = Builder((1, 3, 8, 8))
    w = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    x = b.conv(b.input, w, None)
    y = b.elementwise("ADD", b.prelu(x, np.array([3.0, -2.0, 0.5, 1.0], np.float32)), x)
    graph = b.finish(b.flatten(y))
    image = normalised(pixels(1, 8)[0])
    before = run(graph, image)
    rewrite_prelu(graph)
    close(run(graph, image), before, 1e-5)


def test_written_out_prelu_is_recognised() -> None:
    graph = random_network()
    image = normalised(pixels(1)[0])
    before = run(graph, image)
    write_out_prelu(graph)
    close(run(graph, image), before, 1e-5)
    assert recognise_prelu(graph) == 4
    assert {op.kind for op in graph.ops} == {"CONV_2D", "DEPTHWISE_CONV_2D", "PRELU", "ADD", "RESHAPE"}
    close(run(graph, image), before, 1e-5)


def test_a_written_out_prelu_with_another_use_is_not_replaced() -> None:
    graph = random_network()
    write_out_prelu(graph)
    inner = next(op for op in graph.ops if op.kind == "ABS").output
    graph.outputs.append(inner)
    assert recognise_prelu(graph) == 3


@pytest.mark.parametrize(
    ("mean", "std", "share"), [([127.0] * 3, [128.0] * 3, 1e-5), ([120.0, 110.0, 104.0], [58.0, 57.0, 57.5], 1e-5)]
)
def test_folded_normalisation_is_exact_for_whole_means(mean: list[float], std: list[float], share: float) -> None:
    graph, picture = random_network(), pixels(1)[0]
    before = run(graph, ((picture - np.float32(mean)) / np.float32(std)).astype(np.float32))
    fold_normalisation(graph, mean, std)
    close(run(graph, picture), before, share)


def test_folded_normalisation_differs_at_the_border_only() -> None:
    """A mean of 127.5 pads with 128: only the last row and column of the first convolution change."""
    graph, picture = random_network(), pixels(1)[0]
    graph.outputs = [graph.ops[0].output]
    graph.prune()
    before = run(graph, normalised(picture))
    fold_normalisation(graph, MEAN, STD)
    after = run(graph, picture)
    close(after[:, :-1, :-1], before[:, :-1, :-1], 2e-6)
    assert np.abs(after - before).max() > 0


def test_normalisation_without_a_convolution_behind() -> None:
    b = Builder((1, 3, 8, 8))
    x = b.affine(b.input, np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1), 0)
    graph, picture = b.finish(b.flatten(b.global_average(x))), pixels(1, 8)[0]
    before = run(graph, normalised(picture))
    fold_normalisation(graph, MEAN, STD)
    close(run(graph, picture), before, 1e-5)


def test_normalisation_for_the_wrong_channels_is_refused() -> None:
    with pytest.raises(ModelError, match="expected 3 means"):
        fold_normalisation(random_network(), [127.5], [128.0])


def test_batch_norm_folds_away() -> None:
    rng = np.random.default_rng(3)
    b = Builder((1, 3, 16, 16))
    x = b.conv(b.input, rng.normal(size=(6, 3, 3, 3)).astype(np.float32), None)
    x = b.affine(x, rng.uniform(-2, 2, (6, 1, 1)), rng.normal(size=(6, 1, 1)))
    x = b.conv(x, rng.normal(size=(6, 1, 3, 3)).astype(np.float32), None, groups=6)
    x = b.affine(x, np.arange(1, 7).reshape(6, 1, 1), 1)
    graph = b.finish(b.flatten(b.global_average(x)))
    image = normalised(pixels(1, 16)[0])
    before = run(graph, image)
    assert fold_batch_norm(graph) == 4
    assert not [op for op in graph.ops if op.kind in ("MUL", "ADD")]
    close(run(graph, image), before, 1e-5)


def test_subtraction_folds_and_keeps_its_activation() -> None:
    b = Builder((1, 3, 8, 8))
    x = b.conv(b.input, np.ones((4, 3, 3, 3), np.float32), None)
    offset = Tensor("offset", (4,), np.float32, np.array([-1, 2, 30, 4], np.float32))
    y = Tensor("y", x.shape)
    b.graph.ops.append(Op("SUB", [x, offset], [y], options("SubOptions", fusedActivationFunction=RELU)))
    graph = b.finish(b.flatten(b.global_average(y)))
    image = normalised(pixels(1, 8)[0])
    before = run(graph, image)
    assert fold_batch_norm(graph) == 1
    assert before.min() == 0 < before.max(), "the activation has to matter"
    close(run(graph, image), before, 1e-5)


def test_batch_becomes_one_and_shapes_constant() -> None:
    graph = random_network()
    image = normalised(pixels(1)[0])
    before = run(graph, image)
    fix_batch(graph, 2)
    assert graph.outputs[0].shape == (2, 10)
    reshape = next(op for op in graph.ops if op.kind == "RESHAPE")
    x = reshape.tensor(0)
    # As Keras exports Flatten: the shape of x, its batch, and the rest, packed at run time.
    shape, batch, packed = (
        Tensor("shape", (4,), np.int32),
        Tensor("batch", (), np.int32),
        Tensor("packed", (2,), np.int32),
    )
    ends = [graph.constant(n, np.array([v], np.int32)) for n, v in (("begin", 0), ("end", 1), ("stride", 1))]
    rest = Tensor("rest", (), np.int32, np.array(10, np.int32))
    reshape.inputs[1] = packed
    at = graph.ops.index(reshape)
    graph.ops[at:at] = [
        Op("SHAPE", [x], [shape], options("ShapeOptions", outType=2)),
        Op("STRIDED_SLICE", [shape, *ends], [batch], options("StridedSliceOptions", shrinkAxisMask=1)),
        Op("PACK", [batch, rest], [packed], options("PackOptions", valuesCount=2)),
    ]
    fix_batch(graph)
    remove_shape_arithmetic(graph)
    assert {op.kind for op in graph.ops} == {"CONV_2D", "DEPTHWISE_CONV_2D", "PRELU", "ADD", "RESHAPE"}
    close(run(graph, image), before, 1e-6)


def test_flat_output() -> None:
    b = Builder((1, 3, 8, 8))
    graph = b.finish(b.conv(b.input, np.ones((5, 3, 8, 8), np.float32), None))
    flatten_output(graph)
    assert graph.outputs[0].shape == (1, 5)
    b = Builder((1, 3, 8, 8))
    graph = b.finish(b.conv(b.input, np.ones((5, 3, 3, 3), np.float32), None))
    with pytest.raises(ModelError, match="expected one vector"):
        flatten_output(graph)


def test_bgr() -> None:
    graph = random_network()
    image = normalised(pixels(1)[0])
    before = run(graph, image)
    bgr_to_rgb(graph)
    close(run(graph, image[..., ::-1]), before, 1e-6)


def test_every_pass_on_the_real_network(mobilefacenet: Path) -> None:
    graph = load(mobilefacenet)
    picture = pixels(1, 112)[0]
    image = normalised(picture)
    fix_batch(graph)
    expected = run(graph, image)
    assert expected.shape == (1, 192)
    assert recognise_prelu(graph) == 33
    assert np.array_equal(run(graph, image), expected), "recognising changes nothing at all"
    slopes = np.concatenate([op.tensor(1).array.reshape(-1) for op in graph.ops if op.kind == "PRELU"])
    assert 0.15 < (slopes > 1).mean() < 0.165
    assert rewrite_prelu(graph) == 33
    close(run(graph, image), expected, 1e-5)
    fold_normalisation(graph, MEAN, STD)
    close(run(graph, picture), expected, 2e-3)  # half a grey level in the padding
    folded = run(graph, picture)
    stats, _ = observe(graph, pixels(4, 112))
    equalise(graph, stats, graph.consumers(graph.inputs[0])[0].outputs)
    close(run(graph, picture), folded, 1e-5)
