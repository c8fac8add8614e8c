"""Sources against the framework that made them: the graph has to compute what torch, onnx or Keras computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converter_parts import pixels, random_network, run

from converters.build import Builder
from converters.flatbuffer import serialize
from converters.sources import load_source
from edge_oneshot.errors import ModelError


def torch_network(torch: Any) -> Any:
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        """Every layer that has a rule, with paddings that TFLite has and paddings that it has not."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
            self.wise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6())
            self.down = nn.Sequential(nn.Conv2d(8, 16, 5, 2, 2), nn.LeakyReLU(0.2), nn.MaxPool2d(2))
            self.dilated = nn.Conv2d(16, 16, 3, padding="same", dilation=2)
            self.dense = nn.Linear(16 * 16, 24)
            self.norm = nn.BatchNorm1d(24)
            self.last = nn.Linear(24, 7)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            x = x + self.wise(x)
            x = self.down(x)
            x = torch.sigmoid(self.dilated(x)) * x
            return self.last(torch.relu(self.norm(self.dense(torch.flatten(x, 1)))) - 0.5)

    torch.manual_seed(0)
    net = Net()
    for p in net.parameters():
        nn.init.normal_(p, std=0.5)
    for module in net.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def image(side: int = 32) -> np.ndarray:
    return (pixels(1, side)[0].astype(np.float32) - 127) / 64


def agree(graph: Any, expected: np.ndarray, x: np.ndarray) -> None:
    got = run(graph, x).reshape(-1)
    np.testing.assert_allclose(got, expected.reshape(-1), atol=2e-5 * np.abs(expected).max())


def test_exported_program(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a PyTorch source")
    net, x = torch_network(torch), image()
    batch = torch.tensor(x.transpose(2, 0, 1)[None])
    torch.export.save(torch.export.export(net, (batch,)), tmp_path / "net.pt2")
    agree(load_source(tmp_path / "net.pt2").graph, net(batch).detach().numpy(), x)


def test_operator_without_a_rule_is_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a PyTorch source")

    class Normalising(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.normalize(x.flatten(1))

    torch.export.save(torch.export.export(Normalising(), (torch.ones(1, 3, 8, 8),)), tmp_path / "net.pt2")
    with pytest.raises(ModelError, match=r"no rule for PyTorch operator aten::.*comparator"):
        load_source(tmp_path / "net.pt2")


@pytest.mark.parametrize("dim", [1, -1])
def test_branches_are_joined_and_flattened_maps_are_not(tmp_path: Path, dim: int) -> None:
    """A flattened map is (H, W, C) here and (C, H, W) there: joined, the layer behind would read the wrong numbers."""
    torch = pytest.importorskip("torch", reason="the source needs PyTorch")

    class Branches(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, dense: bool) -> None:
            super().__init__()
            self.conv, self.dense = torch.nn.Conv2d(3, 4, 3, 2), dense
            self.one, self.two = torch.nn.Linear(36, 5), torch.nn.Linear(36, 3)

        def forward(self, x: Any) -> Any:
            flat = torch.flatten(self.conv(x), 1)
            return torch.cat([self.one(flat), self.two(flat)] if self.dense else [flat, flat], dim)

    batch = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for dense in (True, False):
        net = Branches(dense).eval()
        torch.export.save(torch.export.export(net, (batch,)), tmp_path / "net.pt2")
        if dense:
            agree(
                load_source(tmp_path / "net.pt2").graph, net(batch).detach().numpy(), batch[0].permute(1, 2, 0).numpy()
            )
        else:
            with pytest.raises(
                ModelError, match="concatenation: expected rows of numbers, got a flattened feature map"
            ):
                load_source(tmp_path / "net.pt2")


def test_dynamic_shapes_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a PyTorch source")
    side = torch.export.Dim("side", min=8, max=64)
    program = torch.export.export(
        torch.nn.Conv2d(3, 4, 3), (torch.ones(1, 3, 16, 16),), dynamic_shapes=({2: side, 3: side},)
    )
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(ModelError, match="fixed input shape"):
        load_source(tmp_path / "net.pt2")


def test_damaged_pt2(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="a PyTorch source")
    (tmp_path / "net.pt2").write_bytes(b"PK nothing")
    with pytest.raises(ModelError, match="cannot be read as an exported program"):
        load_source(tmp_path / "net.pt2")


def test_onnx_against_its_own_reference(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="an ONNX source")
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(0)
    shapes = {
        "w1": (8, 3, 3, 3),
        "w2": (8, 1, 3, 3),
        "b2": (8,),
        "slope": (8, 1, 1),
        "gain": (8,),
        "shift": (8,),
        "mean": (8,),
        "w3": (6, 8),
        "b3": (6,),
    }
    constants = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    constants["var"] = rng.uniform(0.5, 2, 8).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "gain", "shift", "mean", "var"], ["b"], epsilon=1e-3),
        helper.make_node("PRelu", ["b", "slope"], ["c"]),
        helper.make_node("Conv", ["c", "w2", "b2"], ["d"], group=8, auto_pad="SAME_UPPER"),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Add", ["e", "c"], ["f"]),
        helper.make_node("GlobalAveragePool", ["f"], ["g"]),
        helper.make_node("Flatten", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "w3", "b3"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 6])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 15)]
    )  # its reference errs on older batch normalisations
    onnx.save(model, tmp_path / "net.onnx")
    x = image(16)
    expected = ReferenceEvaluator(model).run(None, {"x": x.transpose(2, 0, 1)[None]})[0]
    agree(load_source(tmp_path / "net.onnx").graph, expected, x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras meets NumPy 2
def test_keras_and_saved_model(tmp_path: Path) -> None:
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
    x = image(16)
    expected = np.asarray(net(x[None]))
    net.save(tmp_path / "net.keras")
    net.export(tmp_path / "saved")
    for source in ("net.keras", "saved"):
        graph = load_source(tmp_path / source).graph
        from converters.passes.structure import fix_batch, remove_shape_arithmetic

        fix_batch(graph)
        remove_shape_arithmetic(graph)
        agree(graph, expected, x)


def test_a_bundle_or_bare_tflite_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(serialize(random_network()))
    x = image()
    agree(load_source(tmp_path / "net.tflite").graph, run(random_network(), x), x)


def test_unknown_sources(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load_source(tmp_path / "absent.onnx")
    (tmp_path / "net.h5").write_bytes(b"")
    with pytest.raises(ModelError, match=r"expected \.tflite, \.pt2"):
        load_source(tmp_path / "net.h5")


@pytest.mark.parametrize(("name", "module"), [("net.pt2", "torch"), ("net.onnx", "onnx"), ("net.keras", "tensorflow")])
def test_a_missing_framework_is_one_line_with_the_command(name: str, module: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    program = (
        f"import sys; sys.modules['{module}'] = None\n"
        "from pathlib import Path\nfrom converters.sources import load_source\nfrom edge_oneshot.errors import ModelError\n"
        f"try: load_source(Path({str(tmp_path / name)!r}))\nexcept ModelError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1 and f"needs {module}" in done.stdout and "pip install" in done.stdout


def test_a_tflite_source_imports_no_framework(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(serialize(random_network()))
    program = (
        "import sys\nfrom pathlib import Path\nfrom converters.sources import load_source\n"
        f"load_source(Path({str(tmp_path / 'net.tflite')!r}))\n"
        "print(sorted({'torch', 'tensorflow', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_flattened_maps_as_output_are_refused() -> None:
    b = Builder((1, 3, 8, 8))
    with pytest.raises(ModelError, match="one number per channel"):
        b.check_output(b.flatten(b.input))


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        ("torch.add(self.conv(x), self.conv(x), alpha=2)", "add: expected alpha 1, got 2"),
        ("torch.nn.functional.max_pool2d(x, 2, 2, ceil_mode=True)", "max_pool2d: .* got ceil_mode"),
        ("torch.nn.functional.max_pool2d(x, 2, 2, dilation=2)", "max_pool2d: expected dilation 1"),
        ("torch.nn.functional.avg_pool2d(x, 2, 2, divisor_override=3)", "expected no divisor_override"),
        ("1 - self.conv(x)", "no rule for PyTorch operator aten::rsub"),
    ],
)
def test_arguments_without_a_rule_are_refused(tmp_path: Path, forward: str, words: str) -> None:
    """Each of them would change the numbers if the reader ignored it."""
    torch = pytest.importorskip("torch", reason="a PyTorch source")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)

        def forward(self, x: Any) -> Any:
            return eval(forward, {"torch": torch, "self": self, "x": x})

    torch.export.save(torch.export.export(Net().eval(), (torch.ones(1, 3, 9, 9),)), tmp_path / "net.pt2")
    with pytest.raises(ModelError, match=words):
        load_source(tmp_path / "net.pt2")


def test_onnx_branches_are_joined(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="an ONNX source")
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(0)
    constants = {k: rng.normal(size=(n, 3)).astype(np.float32) for k, n in (("w1", 4), ("w2", 2))}
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["m", "w1"], ["a"], transB=1),
        helper.make_node("Gemm", ["m", "w2"], ["b"], transB=1),
        helper.make_node("Concat", ["a", "b"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    onnx.save(model, tmp_path / "net.onnx")
    x = image(8)
    expected = ReferenceEvaluator(model).run(None, {"x": x.transpose(2, 0, 1)[None]})[0]
    agree(load_source(tmp_path / "net.onnx").graph, expected, x)
