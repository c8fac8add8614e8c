"""ONNX, Keras and TFLite sources compute what their framework computes; other formats are plug-ins or errors."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converter_parts import keras_network, pixels, random_network, run

from converters.flatbuffer import serialize
from converters.sources import PLUGINS, load_source
from edge_oneshot.errors import ModelError


def image(side: int = 32) -> np.ndarray:
    return (pixels(1, side)[0].astype(np.float32) - 127) / 64


def agree(graph: Any, expected: np.ndarray, x: np.ndarray) -> None:
    got = run(graph, x).reshape(-1)
    np.testing.assert_allclose(got, expected.reshape(-1), atol=2e-5 * np.abs(expected).max())


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
    net = keras_network(tmp_path)
    x = image(16)
    expected = np.asarray(net(x[None]))
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


def register(folder: Path, suffix: str, reader: str) -> None:
    """An installed distribution with one entry point, as pip would leave its metadata in `folder`."""
    info = folder / "plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{PLUGINS}]\n{suffix} = {reader}\n")


def test_another_format_is_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zipped_reader.py").write_text(
        "import gzip\nfrom converters.flatbuffer import parse\nfrom converters.sources import Source\n"
        "def read(path): return Source(parse(gzip.decompress(path.read_bytes())))\n"
    )
    register(tmp_path, "tfgz", "zipped_reader:read")
    (tmp_path / "net.tfgz").write_bytes(gzip.compress(serialize(random_network())))
    with pytest.raises(ModelError, match=r"expected \.tflite.*got \.tfgz"):
        load_source(tmp_path / "net.tfgz")
    monkeypatch.syspath_prepend(tmp_path)
    x = image()
    agree(load_source(tmp_path / "net.tfgz").graph, run(random_network(), x), x)


def test_a_plugin_that_cannot_be_imported_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(tmp_path, "gone", "no_such_module:read")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "net.gone").touch()
    with pytest.raises(ModelError, match=r"no_such_module:read cannot be imported"):
        load_source(tmp_path / "net.gone")


def test_a_checkpoint_without_its_reader_is_an_error_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converters.sources.PLUGINS", "no.such.group")
    pytest.importorskip("torch", reason="it looks into the file")
    (tmp_path / "net.pt").touch()
    with pytest.raises(ModelError, match=r"got no file that torch reads.*torch\.export\.save.*pip install -e training"):
        load_source(tmp_path / "net.pt")
