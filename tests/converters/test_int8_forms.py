"""Operators of foreign float models: each gets a form that XNNPACK takes in int8, with the same float result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from converter_parts import MEAN, STD, normalised, pixels, run

from converters.build import Builder
from converters.checks import check_int8, undelegated
from converters.convert import convert, prepare
from converters.flatbuffer import parse, serialize
from converters.graph import Array, Graph, Op, Tensor
from converters.litert import embed
from converters.passes.linear import RELU, options
from edge_oneshot.errors import ModelError

SIDE, CHANNELS = 16, 8
SHAPE = (1, SIDE, SIDE, CHANNELS)
rng = np.random.default_rng(0)
FACTOR = rng.uniform(0.5, 2, CHANNELS).astype(np.float32)


class Net(Builder):
    """A convolution, the operators under test, and a convolution."""

    def __init__(self) -> None:
        super().__init__((1, 3, SIDE, SIDE))
        weights = rng.normal(0, 0.5, (CHANNELS, 3, 3, 3)).astype(np.float32)
        self.x = self.conv(self.input, weights, FACTOR - 1, padding=(1, 1, 1, 1))

    def op(
        self, kind: str, *inputs: Tensor | Array | float, shape: tuple[int, ...] = SHAPE, table: Any = None
    ) -> Tensor:
        tensors = [v if isinstance(v, Tensor) else self.const(v) for v in inputs]
        return self._add(kind, list(tensors), shape, table)

    def const(self, value: Any) -> Tensor:
        data = np.asarray(value)
        return Tensor(f"c{len(self.graph.ops)}_{id(value)}", data.shape, np.int32 if data.dtype.kind == "i" else np.float32,
                      data.astype(np.int32 if data.dtype.kind == "i" else np.float32))  # fmt: skip

    def binary(self, kind: str, a: Tensor, b: Tensor | Array | float, shape: tuple[int, ...] = SHAPE) -> Tensor:
        table = {"MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum", "SQUARED_DIFFERENCE": "SquaredDifference"}
        name = table.get(kind, kind.title()) + "Options"
        return self.op(kind, a, b, shape=shape, table=options(name))

    def close(self, y: Tensor) -> Graph:
        last = rng.normal(0, 0.5, (5, y.shape[3], *y.shape[1:3])).astype(np.float32)
        return self.finish(self.flatten(self.conv(y, last, None)))


def max_pool_padded(net: Net, x: Tensor) -> Tensor:
    """As litert-torch writes MaxPool2d(3, 2, 1)."""
    sides = np.array([[0, 0], [1, 1], [1, 1], [0, 0]])
    padded = net.op("PADV2", x, sides, -np.inf, shape=(1, SIDE + 2, SIDE + 2, CHANNELS), table=options("PadV2Options"))
    fields = {"padding": 1, "strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 3}
    return net.op("MAX_POOL_2D", padded, shape=(1, 8, 8, CHANNELS), table=options("Pool2DOptions", **fields))


def average_pool(net: Net, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    rows = -(-SIDE // stride) if padding == 0 else (SIDE - kernel) // stride + 1
    fields = {"padding": padding, "strideH": stride, "strideW": stride, "filterHeight": kernel, "filterWidth": kernel}
    return net.op("AVERAGE_POOL_2D", x, shape=(1, rows, rows, CHANNELS), table=options("Pool2DOptions", **fields))


def prelu_written_out(net: Net, x: Tensor) -> Tensor:
    """As litert-torch writes PReLU: relu(x) - a relu(-x)."""
    negative = net.op("MUL", x, -1.0, table=options("MulOptions", fusedActivationFunction=RELU))
    return net.binary("SUB", net.op("RELU", x), net.binary("MUL", negative, FACTOR[None, None, None] - 1))


def gate(net: Net, x: Tensor) -> Tensor:
    mean = net.op(
        "MEAN", x, np.array([1, 2]), shape=(1, 1, 1, CHANNELS), table=options("ReducerOptions", keepDims=True)
    )
    return net.binary("MUL", x, net.op("LOGISTIC", mean, shape=(1, 1, 1, CHANNELS)))


def grouped(net: Net, x: Tensor) -> Tensor:
    weights, bias = rng.normal(size=(CHANNELS, 3, 3, 2)), np.zeros(CHANNELS)
    fields = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    return net.op("CONV_2D", x, weights, bias, table=options("Conv2DOptions", **fields))


def shared_relu(net: Net, x: Tensor) -> Tensor:
    """relu(y) where y is used twice."""
    return net.binary("ADD", x, net.op("RELU", x))


def moved(net: Net, x: Tensor, f: Callable[[Tensor, tuple[int, ...]], Tensor]) -> Tensor:
    """An operator between two transposes, channels first, as litert-torch writes what its layout pass does not know."""
    first = (1, CHANNELS, SIDE, SIDE)
    y = f(net.op("TRANSPOSE", x, np.array([0, 3, 1, 2]), shape=first, table=options("TransposeOptions")), first)
    return net.op("TRANSPOSE", y, np.array([0, 2, 3, 1]), table=options("TransposeOptions"))


def elu_written_out(net: Net, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    less = net.binary("SUB", net.op("EXP", x, shape=shape, table=options("ExpOptions")), 1.0, shape)
    test = net.op("GREATER_EQUAL", x, 0.0, shape=shape, table=options("GreaterEqualOptions"))
    test.dtype = np.bool_
    return net.op("SELECT", test, x, less, shape=shape, table=options("SelectOptions"))


def join(net: Net, x: Tensor) -> Tensor:
    shape = (1, SIDE, SIDE, 2 * CHANNELS)
    return net.op("CONCATENATION", x, net.op("RELU", x), shape=shape, table=options("ConcatenationOptions", axis=3))


FORMS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "relu behind a pool": lambda n, x: n.op("RELU", max_pool_padded(n, x), shape=(1, 8, 8, CHANNELS)),
    "relu of a shared sum": shared_relu,
    "relu6": lambda n, x: n.binary("MUL", x, n.op("RELU6", x)),
    "hard-swish": lambda n, x: n.op("HARD_SWISH", x, table=options("HardSwishOptions")),
    "leaky relu": lambda n, x: n.op("LEAKY_RELU", x, table=options("LeakyReluOptions", alpha=0.2)),
    "silu": lambda n, x: n.binary("MUL", x, n.op("LOGISTIC", x)),
    "abs": lambda n, x: n.op("ABS", x, table=options("AbsOptions")),
    "neg": lambda n, x: n.op("NEG", x, table=options("NegOptions")),
    "square": lambda n, x: n.op("SQUARE", x, table=options("SquareOptions")),
    "maximum of a number": lambda n, x: n.binary("MAXIMUM", x, 0.3),
    "maximum of a constant": lambda n, x: n.binary("MAXIMUM", x, FACTOR - 1),
    "minimum of a number": lambda n, x: n.binary("MINIMUM", x, 0.3),
    "relu6 as two clamps": lambda n, x: n.binary("MINIMUM", n.binary("MAXIMUM", x, 0.0), 6.0),
    "maximum of two": lambda n, x: n.binary("MAXIMUM", x, n.op("TANH", x)),
    "minimum of two": lambda n, x: n.binary("MINIMUM", x, n.op("TANH", x)),
    "squared difference": lambda n, x: n.binary("SQUARED_DIFFERENCE", x, n.op("TANH", x)),
    "division by a constant": lambda n, x: n.binary("DIV", x, FACTOR),
    "prelu written out": prelu_written_out,
    "affine behind a product": lambda n, x: n.binary("ADD", n.binary("MUL", gate(n, x), FACTOR), FACTOR - 1),
    "padded max pool of both signs": max_pool_padded,
    "padded max pool of a relu": lambda n, x: max_pool_padded(n, n.op("RELU", x)),
    "average pool 2x2": lambda n, x: average_pool(n, x, 2, 2, 1),
    "average pool 3x3, padding left out": lambda n, x: average_pool(n, x, 3, 1, 0),
    "average pool of the whole": lambda n, x: average_pool(n, x, SIDE, SIDE, 1),
    "gate": gate,
    "grouped convolution": grouped,
    "joined channels": join,
    "elu, channels first": lambda n, x: moved(n, x, lambda y, shape: elu_written_out(n, y, shape)),
    "factors, channels first": lambda n, x: moved(n, x, lambda y, s: n.binary("MUL", y, FACTOR[:, None, None], s)),
    "third power": lambda n, x: n.binary("POW", n.binary("MAXIMUM", x, 1e-6), 3.0),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_form_is_exact_and_delegated(name: str) -> None:
    net = Net()
    graph = net.close(FORMS[name](net, net.x))
    picture, chips = normalised(pixels(1, SIDE)[0]), pixels(12, SIDE)
    before = run(graph, picture)
    changed = parse(serialize(graph))
    prepare(changed)
    after = run(changed, picture)
    assert np.abs(after - before).max() <= 2e-5 * np.abs(before).max()
    found = convert(graph, chips, [128.0] * 3, STD)
    check_int8(found.model)
    assert undelegated(found.model) == (1, [])
    a, b = embed(found.reference, chips), embed(found.model, chips)
    equalised = embed(found.equalised, chips)
    assert np.abs(equalised - a).max() <= 1e-4 * np.abs(a).max()
    assert ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean() > 0.98


@pytest.mark.parametrize("kind", ["ELU", "GELU", "EXP", "LOG"])
def test_operators_with_a_table_keep_an_int8_kernel(kind: str) -> None:
    net = Net()
    x = net.binary("ADD", net.op("LOGISTIC", net.x), 0.5)
    graph = net.close(net.op(kind, x, table=options(f"{kind.title()}Options") if kind in ("GELU", "EXP") else None))
    model = convert(graph, pixels(12, SIDE), MEAN, STD).model
    check_int8(model)
    assert not any(op.kind in ("QUANTIZE", "DEQUANTIZE") for op in parse(model).ops)
    left = [name.split()[0] for name in undelegated(model)[1]]
    assert left == ([] if kind == "ELU" else [kind])  # XNNPACK takes ELU, too


def test_root_of_a_pooling_stays_in_float_and_a_root_of_a_map_is_refused() -> None:
    """Generalised-mean pooling takes the cube root of one number per channel: float costs nothing there."""
    net = Net()
    powers = net.op("MEAN", net.op("RELU", net.x), np.array([1, 2]), shape=(1, 1, 1, CHANNELS),
                    table=options("ReducerOptions", keepDims=True))  # fmt: skip
    graph = net.close(net.binary("POW", powers, 1 / 3, shape=(1, 1, 1, CHANNELS)))
    check_int8(convert(graph, pixels(12, SIDE), MEAN, STD).model)
    net = Net()
    wide = net.conv(net.x, np.ones((17, CHANNELS, 1, 1), np.float32), None)
    graph = net.close(net.binary("POW", net.op("RELU", wide, shape=wide.shape), 1 / 3, shape=wide.shape))
    with pytest.raises(ModelError, match=r"got 1 float operators on more than 4096 values: POW pow_\d"):
        check_int8(convert(graph, pixels(12, SIDE), MEAN, STD).model)


@pytest.mark.parametrize("form", ["rsqrt", "division", "power"])
def test_a_final_normalisation_is_removed(form: str) -> None:
    net = Net()
    x = net.close(net.x).outputs[0]
    total = net.op("SUM", net.binary("MUL", x, x, (1, 5)), np.array([1]), shape=(1, 1),
                   table=options("ReducerOptions", keepDims=True))  # fmt: skip
    if form == "rsqrt":
        y = net.binary("MUL", x, net.op("RSQRT", total, shape=(1, 1)), (1, 5))
    else:
        root = net.op("SQRT", total, shape=(1, 1)) if form == "division" else net.binary("POW", total, 0.5, (1, 1))
        y = net.binary("DIV", x, net.binary("MAXIMUM", root, 1e-12, (1, 1)), (1, 5))
    graph = net.finish(y)
    before = run(graph, normalised(pixels(1, SIDE)[0]))
    done = prepare(graph)
    assert "final L2 normalisation removed: the comparator normalises" in done
    assert not {op.kind for op in graph.ops} & {"SUM", "SQRT", "RSQRT", "DIV", "POW"}
    after = run(graph, normalised(pixels(1, SIDE)[0]))
    np.testing.assert_allclose(after / np.linalg.norm(after), before, atol=1e-6)


def test_a_product_with_a_learnt_scale_is_no_normalisation() -> None:
    net = Net()
    x = net.close(net.x).outputs[0]
    scale = net.op("LOGISTIC", net.op("SUM", x, np.array([1]), shape=(1, 1), table=options("ReducerOptions", keepDims=True)),
                   shape=(1, 1))  # fmt: skip
    graph = net.finish(net.binary("MUL", x, scale, (1, 5)))
    prepare(graph)
    assert graph.ops[-1].kind == "MUL"


def test_a_flatten_in_channel_order_is_folded_into_the_weights() -> None:
    """PyTorch flattens (C, H, W): litert-torch transposes the map before the fully connected layer."""
    net = Net()
    moved = net.op("TRANSPOSE", net.x, np.array([0, 3, 1, 2]), shape=(1, CHANNELS, SIDE, SIDE),
                   table=options("TransposeOptions"))  # fmt: skip
    size = SIDE * SIDE * CHANNELS
    flat = net.op("RESHAPE", moved, np.array([1, size]), shape=(1, size))
    weights = rng.normal(size=(5, size)).astype(np.float32)
    table = options("FullyConnectedOptions", fusedActivationFunction=0)
    graph = net.finish(net.op("FULLY_CONNECTED", flat, weights, np.zeros(5), shape=(1, 5), table=table))
    picture = normalised(pixels(1, SIDE)[0])
    before = run(graph, picture)
    prepare(graph)
    assert "TRANSPOSE" not in [op.kind for op in graph.ops]
    np.testing.assert_allclose(run(graph, picture), before, rtol=1e-4)


def test_a_depthwise_convolution_of_grey_becomes_an_ordinary_one() -> None:
    """litert-torch writes a first convolution of one channel so."""
    b = Builder((1, 1, SIDE, SIDE))
    x = b.conv(b.input, rng.normal(size=(CHANNELS, 1, 3, 3)).astype(np.float32), FACTOR)
    first = b.graph.ops[0]
    if first.kind == "CONV_2D":
        first.kind, weights = "DEPTHWISE_CONV_2D", first.tensor(1).array
        first.inputs[1] = b.graph.constant("depthwise", weights.transpose(3, 1, 2, 0))
        fields = {"padding": 1, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
        first.options = options("DepthwiseConv2DOptions", depthMultiplier=CHANNELS, **fields)
    last = rng.normal(size=(5, CHANNELS, 14, 14)).astype(np.float32)
    graph = b.finish(b.flatten(b.conv(x, last, None)))
    picture = normalised(pixels(1, SIDE, 1)[0])
    before = run(graph, picture)
    prepare(graph)
    assert [op.kind for op in graph.ops] == ["CONV_2D", "CONV_2D", "RESHAPE"]
    np.testing.assert_allclose(run(graph, picture), before, rtol=1e-4, atol=1e-4)


def test_minus_infinity_before_anything_but_a_max_pool_is_refused() -> None:
    net = Net()
    sides = np.array([[0, 0], [1, 1], [1, 1], [0, 0]])
    padded = net.op("PADV2", net.x, sides, -np.inf, shape=(1, 18, 18, CHANNELS), table=options("PadV2Options"))
    graph = net.close(padded)
    with pytest.raises(ModelError, match=r"PADV2 padv2_1: expected a max pool behind padding with minus infinity"):
        prepare(graph)


def test_an_operator_is_left_alone_that_is_read_twice() -> None:
    """A padded tensor that a convolution and another operator read keeps its padding."""
    net = Net()
    padded = net.pad(net.x, 1, 1, 1, 1)
    conv = net.conv(padded, rng.normal(size=(CHANNELS, CHANNELS, 3, 3)).astype(np.float32), None)
    again = net.op("MAX_POOL_2D", padded, shape=SHAPE, table=options(
        "Pool2DOptions", padding=1, strideH=1, strideW=1, filterHeight=3, filterWidth=3))  # fmt: skip
    graph = net.close(net.binary("ADD", conv, again))
    picture = normalised(pixels(1, SIDE)[0])
    before = run(graph, picture)
    prepare(graph)
    assert [op.kind for op in graph.ops].count("PAD") == 1
    np.testing.assert_allclose(run(graph, picture), before, atol=1e-4)
    assert isinstance(graph.ops[0], Op)
