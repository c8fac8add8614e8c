"""Every ONNX model is read exactly, by ONNX's own reference, or refused with the operator's name and the node's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converter_parts import run

from converters.sources import load_source
from edge_oneshot.errors import ModelError

onnx = pytest.importorskip("onnx", reason="an ONNX source")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

CONSTANTS = {
    "w": np.random.default_rng(0).normal(size=(4, 3, 3, 3)),
    "dense": np.random.default_rng(1).normal(size=(6, 64)),
    "narrow": np.random.default_rng(2).normal(size=(6, 4)),
    "row": np.linspace(-1, 2, 4),  # along the width, as long as C
    "column": np.linspace(-2, 1, 4).reshape(4, 1),
    "slope": np.linspace(-1, 2, 4).reshape(4, 1, 1),
    "slopes": np.linspace(-1, 2, 64),
    "two": np.array(2.0),
}
SHAPES = {
    "shape": [1, 64],
    "keep": [0, -1],
    "first": [0],
    "minus": [-1],
    "axes": [2, 3],
    "channels": [0, 1, 0, 0, 0, 0, 0, 0],
}


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), [output], f"the_{op}", **attributes)


CONV = node("Conv", "x w", "m", strides=[2, 2], pads=[1, 1, 1, 1])  # (1, 4, 4, 4)
FLAT, GEMM = node("Flatten", "p", "f"), node("Gemm", "f dense", "y", transB=1)
EXACT = {
    "a slope of PRelu for each place of a flattened map": [node("Flatten", "m", "p"), node("PRelu", "p slopes", "f"), GEMM],
    "LeakyRelu behind a flatten": [node("Flatten", "m", "p"), node("LeakyRelu", "p", "f", alpha=0.3), GEMM],
    "a flattened map as the output": [node("Flatten", "m", "p"), node("Relu", "p", "y")],
    "a constant along W": [node("Mul", "m row", "p"), FLAT, GEMM],
    "a constant along H": [node("Add", "column m", "p"), FLAT, GEMM],
    "a constant minus a map": [node("Sub", "row m", "p"), FLAT, GEMM],
    "a slope that shares its constant": [node("Identity", "slope", "s"), node("PRelu", "m s", "p"), FLAT, GEMM],
    "a reshape to a computed shape": [
        node("Shape", "m", "all"), node("Gather", "all first", "n"), node("Concat", "n minus", "to", axis=0),
        node("Reshape", "m to", "f"), GEMM,
    ],
    "a reshape that copies the batch": [node("Reshape", "m keep", "f"), GEMM],
    "a constant that is computed": [node("Pow", "row two", "s"), node("Mul", "m s", "p"), FLAT, GEMM],
    "an average that does not count its padding": [
        node("AveragePool", "m", "p", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), FLAT, GEMM,
    ],
    "an average that counts its padding": [
        node("AveragePool", "m", "p", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), FLAT, GEMM,
    ],
    "a max-pool with padding": [node("MaxPool", "m", "p", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), FLAT, GEMM],
    "HardSigmoid": [node("HardSigmoid", "m", "p", alpha=0.3, beta=0.4), FLAT, GEMM],
    "a map before and behind its Relu": [node("Relu", "m", "r"), node("Sub", "r m", "p"), FLAT, GEMM],
    "a factor for each channel": [
        node("GlobalAveragePool", "m", "g"), node("Sigmoid", "g", "s"), node("Mul", "s m", "p"), FLAT, GEMM,
    ],
}  # fmt: skip
REFUSED = {
    "a slope of PRelu along W": ([node("PRelu", "m row", "p"), FLAT, GEMM], "PRelu"),
    "a flatten that joins batch and channels": ([node("Flatten", "m", "y", axis=2)], "Flatten"),
    "padding on channels": ([node("Pad", "m channels", "p"), node("Flatten", "p", "y")], "Pad"),
    "ceil_mode": ([node("MaxPool", "m", "p", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), node("Flatten", "p", "y")], "MaxPool"),
    "dilation": ([node("MaxPool", "m", "p", kernel_shape=[2, 2], dilations=[2, 2]), node("Flatten", "p", "y")], "MaxPool"),
    "a product along W": ([node("Transpose", "narrow", "t"), node("MatMul", "m t", "p"), node("Flatten", "p", "y")], "MatMul"),
    "an unknown operator": ([node("Erf", "m", "p"), FLAT, GEMM], "Erf"),
    "an L2 norm": ([node("LpNormalization", "m", "p"), FLAT, GEMM], "LpNormalization"),
}  # fmt: skip


def save(nodes: list[Any], path: Path) -> Any:
    initial = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in CONSTANTS.items()]
    initial += [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in SHAPES.items()]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([CONV, *nodes], "g", [image], [output], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, path)
    return model


@pytest.mark.parametrize("case", EXACT)
def test_exact(case: str, tmp_path: Path) -> None:
    model = save(EXACT[case], tmp_path / "net.onnx")
    graph = load_source(tmp_path / "net.onnx").graph
    x = np.random.default_rng(3).normal(size=(1, 3, 8, 8)).astype(np.float32)
    expected = ReferenceEvaluator(model).run(None, {"x": x})[0].reshape(-1)
    got = run(graph, x[0].transpose(1, 2, 0)).reshape(-1)
    assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_operator_and_its_node(case: str, tmp_path: Path) -> None:
    nodes, operator = REFUSED[case]
    save(nodes, tmp_path / "net.onnx")
    with pytest.raises(ModelError) as caught:
        load_source(tmp_path / "net.onnx")
    assert f"ONNX operator {operator} (the_{operator})" in caught.value.message, str(caught.value)
    assert ("L2" in caught.value.hint) == (operator == "LpNormalization")
