"""The graph is compared with the source in its own framework. Each fault here is put into the graph, and must be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converter_parts import MEAN, STD, keras_network, pixels, random_network

from converters.causes import other_preparation
from converters.certify import Limits, as_text, certify
from converters.convert import convert
from converters.exact import OMITTED, NotExactError, SourceCheck, agreement
from converters.flatbuffer import parse, serialize
from converters.labelled import Labelled
from converters.scores import all_pairs
from converters.sources import Source, load_source
from edge_oneshot.errors import EXIT_NOT_CERTIFIED, ModelError
from edge_oneshot.model.card import Comparator

COSINE = Comparator(kind="cosine")


def tflite(folder: Path) -> Path:
    path = folder / "net.tflite"
    path.write_bytes(serialize(random_network()))
    return path


def torch_net() -> Any:
    torch = pytest.importorskip("torch", reason="a PyTorch source")
    nn = torch.nn
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, 2, 1),
        nn.PReLU(6),
        nn.Flatten(),
    )
    return nn.Sequential(*layers, nn.PReLU(), nn.Linear(384, 10)).eval()


def pt2(folder: Path) -> Path:
    net = torch_net()
    import torch

    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 32, 32),)), folder / "net.pt2")
    return folder / "net.pt2"


def onnx(folder: Path) -> Path:
    onnx = pytest.importorskip("onnx", reason="an ONNX source")
    pytest.importorskip("onnxruntime", reason="it runs the ONNX source")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "w2": (10, 8), "slope": (8, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "first", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Identity", ["slope"], ["shared"]),  # as old exporters share constants
        helper.make_node("PRelu", ["a", "shared"], ["b"], "second"),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], "third"),
        helper.make_node("Flatten", ["c"], ["d"], "fourth"),
        helper.make_node("Gemm", ["d", "w2"], ["y"], "fifth", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), k) for k, s in shapes.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


SOURCES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "tflite": (tflite, "CONV_2D", "CONV_2D conv_2d_"),
    "pt2": (pt2, "CONV_2D", "aten::conv2d (conv2d, module 0"),
    "onnx": (onnx, "CONV_2D", "ONNX operator Conv (first)"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_an_exact_conversion_states_it(kind: str, tmp_path: Path) -> None:
    source = load_source(SOURCES[kind][0](tmp_path))
    chips = pixels(32)
    check = SourceCheck(source, chips, [123.7, 116.3, 103.5], [58.4, 57.1, 57.4])
    check.read()
    conversion = convert(source.graph, chips, [123.7, 116.3, 103.5], [58.4, 57.1, 57.4])
    found = check.passes(conversion.reference, conversion.passes)
    assert found["relative_error"] < 1e-5 and found["cosine"] > 0.999999 and found["pictures"] == 32
    assert found["framework"].split()[0] in ("torch", "onnxruntime", "ai-edge-litert")


@pytest.mark.parametrize("kind", SOURCES)
def test_a_wrong_layer_is_named(kind: str, tmp_path: Path) -> None:
    write, op, label = SOURCES[kind]
    source = load_source(write(tmp_path))
    wrong = next(o for o in source.graph.ops if o.kind == op)
    wrong.tensor(1).data = wrong.tensor(1).array[:, ::-1]
    check = SourceCheck(source, pixels(32), MEAN, STD)
    with pytest.raises(NotExactError) as caught:
        check.read()
    assert f"the first layer that differs is {'PyTorch operator ' * (kind == 'pt2')}{label}" in str(caught.value)
    assert caught.value.exit_code == EXIT_NOT_CERTIFIED == 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras meets NumPy 2
def test_keras_and_saved_model(tmp_path: Path) -> None:
    keras_network(tmp_path)
    chips = pixels(32, side=16)
    for name in ("net.keras", "saved"):
        source = load_source(tmp_path / name)
        check = SourceCheck(source, chips, MEAN, STD)
        check.read()
        conversion = convert(source.graph, chips, MEAN, STD)
        assert check.passes(conversion.reference, conversion.passes)["framework"].startswith("tensorflow")


def test_a_wrong_pass_is_found(tmp_path: Path) -> None:
    source = load_source(tflite(tmp_path))
    check = SourceCheck(source, pixels(32), MEAN, STD)
    check.read()
    conversion = convert(source.graph, pixels(32), MEAN, STD)
    damaged = parse(conversion.reference)
    slope = next(op for op in damaged.ops if op.kind == "MUL").tensor(1)
    slope.data = slope.array * 1.01
    with pytest.raises(NotExactError, match=r"after the passes differs.*normalisation folded"):
        check.passes(serialize(damaged), conversion.passes)


def test_a_bgr_source_gets_bgr(tmp_path: Path) -> None:
    from converters.passes.colour import bgr_to_rgb

    mean, std = [100.0, 120.0, 140.0], [50.0, 60.0, 70.0]  # RGB, as on the card
    source = load_source(tflite(tmp_path))
    bgr_to_rgb(source.graph)
    SourceCheck(source, pixels(32), mean, std, bgr=True).read()
    with pytest.raises(NotExactError):
        SourceCheck(source, pixels(32), mean, std).read()


def test_a_last_l2_normalisation_may_go(tmp_path: Path) -> None:
    source = load_source(tflite(tmp_path))
    assert source.reference is not None
    found = source.reference()
    unit = replace(found, run=lambda x: found.run(x) / np.linalg.norm(found.run(x)), layers=None)
    SourceCheck(replace(source, reference=lambda: unit), pixels(32), MEAN, STD).read()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    source = load_source(tflite(tmp_path))
    with pytest.raises(ModelError, match=r"at least 32 calibration pictures, got 31.*--no-source-check"):
        SourceCheck(source, pixels(31), MEAN, STD)
    with pytest.raises(ModelError, match=r"cannot run the source model.*--no-source-check"):
        SourceCheck(Source(source.graph), pixels(32), MEAN, STD)

    def fails() -> Any:
        def run(_: Any) -> Any:
            raise RuntimeError("no such kernel")

        assert source.reference is not None
        return replace(source.reference(), run=run)

    with pytest.raises(ModelError, match=r"ai-edge-litert .* cannot run the source model: no such kernel"):
        SourceCheck(replace(source, reference=fails), pixels(32), MEAN, STD)


def test_agreement() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 16))
    assert agreement(a, a * (1 + 1e-6)).passed
    assert not agreement(a, a * (1 + 2e-4)).passed
    assert not agreement(a, np.where(np.arange(40)[:, None] == 7, -a, a)).passed, "one picture of forty"
    assert not agreement(a, np.full_like(a, np.nan)).passed
    assert agreement(np.zeros((3, 4)), np.zeros((3, 4))).passed
    constant = 1e4 + a  # a fault that is small beside the part that all outputs share
    assert not agreement(constant, constant + 0.05 * rng.normal(size=a.shape)).passed
    assert agreement(constant, constant.astype(np.float32)).passed


def by_red(people: int = 60) -> tuple[bytes, Labelled]:
    """A network that reads the red channel, and pictures of people who differ in red alone; blue and green are noise."""
    from converters.build import Builder

    b = Builder((1, 3, 8, 8))
    weights = np.zeros((6, 3, 1, 1), np.float32)
    weights[:, 0, 0, 0] = np.linspace(-1, 1, 6)
    x = b.unary("RELU", b.conv(b.input, weights, np.linspace(1, -0.6, 6)))
    graph = b.finish(b.flatten(b.global_average(x)))
    rng = np.random.default_rng(1)
    chips, names = [], []
    for person, red in enumerate(rng.uniform(0, 255, people)):
        for _ in range(2):
            chip = rng.uniform(0, 255, 3) * np.ones((8, 8, 3))
            chip[..., 0] = red
            chips.append(chip.astype(np.uint8))
            names.append(str(person))
    conversion = convert(graph, chips, [127.5] * 3, [127.5] * 3)
    return conversion.reference, Labelled(chips, all_pairs(names), "red")


def test_the_likely_cause_of_a_bad_float_model_is_tried() -> None:
    reference, good = by_red()
    mean, std = [127.5] * 3, [127.5] * 3
    swapped = replace(good, chips=[np.ascontiguousarray(c[..., ::-1]) for c in good.chips])
    assert other_preparation(reference, mean, std, swapped, COSINE, 0.4).startswith(
        "tried: with the other colour order the EER is "
    )
    assert other_preparation(reference, mean, std, good, COSINE, 0.001) == ""


def test_a_float_model_that_does_not_separate_is_not_certified() -> None:
    scenes = pixels(260, seed=3)  # nobody is there twice
    strangers = Labelled(scenes, all_pairs([str(i // 2) for i in range(260)]), "strangers")
    conversion = convert(random_network(), pixels(20), MEAN, STD)
    found = certify(conversion, strangers, COSINE, Limits(100, 100), draws=2)
    assert not found.passed and 0.4 < found.record["float"]["eer"] < 0.6
    (reason,) = found.record["reasons"]
    assert reason.startswith("float model: EER") and "--colour" in reason and "--align" in reason
    assert f"refused: {reason}" in as_text(found)
    assert certify(conversion, strangers, COSINE, Limits(100, 100, 0.7), draws=2).passed


def test_without_the_source_nothing_is_certified() -> None:
    scenes = [p for p in pixels(130, seed=11) for _ in range(2)]
    same = Labelled(scenes, all_pairs([str(i // 2) for i in range(260)]), "scenes")
    conversion = convert(random_network(), pixels(20), MEAN, STD)
    omitted = {"framework": None, "reason": OMITTED}
    found = certify(conversion, same, COSINE, Limits(100, 100), draws=2, source=omitted)
    assert found.record["reasons"] == [OMITTED] and found.record["source"] == omitted
