"""The conversion of a small network: int8 for the device, the same bytes each time, and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from converter_parts import MEAN, STD, normalised, pixels, random_network, run
from environments import predecessor

from converters.build import Builder
from converters.checks import check_int8, check_source, try_run, undelegated
from converters.convert import Conversion, convert
from converters.flatbuffer import load, parse, serialize
from converters.graph import Quantization
from converters.litert import embed
from converters.tflite_runtime import VARIABLE, check_predecessor
from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import Comparator

pytest.importorskip("ai_edge_quantizer", reason="pip install 'edge-oneshot-convert'")

COSINE = Comparator(kind="cosine")


@pytest.fixture(scope="module")
def conversion() -> Conversion:
    return convert(random_network(), pixels(20), MEAN, STD)


def test_reference_computes_what_the_source_did(conversion: Conversion) -> None:
    picture = pixels(1, seed=9)[0]
    expected = run(random_network(), normalised(picture))[0]
    for model in (conversion.reference, conversion.equalised):
        got = embed(model, [picture])[0]
        assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()  # half a grey level of padding


def test_int8_stays_close_and_is_a_device_model(conversion: Conversion) -> None:
    seen = pixels(30, seed=9)
    a, b = embed(conversion.reference, seen), embed(conversion.model, seen)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.mean() > 0.995 and cosine.min() > 0.95, cosine
    check_int8(conversion.model)
    assert undelegated(conversion.model) == (1, [])
    assert try_run(conversion.model, seen[0], 10).shape == (10,)


def test_equalisation_is_what_keeps_it_close(conversion: Conversion) -> None:
    """Without equalisation the error of this network, whose channels differ a hundredfold, is more than twice as large."""
    from converters.observe import observe
    from converters.quantise import ranges, to_int8

    graph = parse(conversion.reference)
    stats, _ = observe(graph, pixels(20))
    plain = to_int8(graph, ranges(graph, stats))
    seen = pixels(30, seed=9)
    a = embed(conversion.reference, seen)

    def error(model: bytes) -> float:
        b = embed(model, seen)
        return float(1 - ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())

    assert error(conversion.model) < 0.5 * error(plain)


def test_pixels_arrive_without_rounding(conversion: Conversion) -> None:
    """Pixel minus 128 has scale 1 even if no calibration picture contains black or white."""
    dull = [np.clip(p, 60, 180) for p in pixels(5)]
    for model in (conversion.model, convert(random_network(), dull, MEAN, STD).model):
        first = parse(model).ops[0].output.quantization
        assert first is not None and float(first.scale[0]) == 1.0 and int(first.zero_point[0]) == 0


def test_the_predecessor_runs_it_too(conversion: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(predecessor()))
    picture = pixels(1)[0]
    out = try_run(conversion.model, picture, 10)
    assert check_predecessor(conversion.model, picture, out).startswith("2.14.0")
    with pytest.raises(ModelError, match="expected the output that LiteRT gives"):
        check_predecessor(conversion.model, picture, -out)


def test_a_predecessor_that_does_not_start_is_an_error(conversion: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = pixels(1)[0]
    out = try_run(conversion.model, picture, 10)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert check_predecessor(conversion.model, picture, out).startswith("untested")
    monkeypatch.setenv(VARIABLE, "/nowhere/python")
    with pytest.raises(ModelError, match="/nowhere/python cannot run"):
        check_predecessor(conversion.model, picture, out)


def test_same_input_same_bytes(conversion: Conversion) -> None:
    again = convert(random_network(), pixels(20), MEAN, STD)
    assert again.model == conversion.model
    assert again.reference == conversion.reference


def test_an_operator_that_xnnpack_leaves_is_named(conversion: Conversion) -> None:
    graph = parse(conversion.model)
    add = next(op for op in graph.ops if op.kind == "ADD")
    add.kind, add.options = "MAXIMUM", None
    for t in add.inputs:
        assert t is not None
        t.quantization = add.output.quantization
    parts, left = undelegated(serialize(graph))
    assert parts > 1
    assert left == [f"MAXIMUM {add.output.name}"]


def damage(model: bytes, how: str) -> bytes:
    graph = parse(model)
    conv = next(op for op in graph.ops if op.kind == "CONV_2D")
    if how == "per tensor":
        w = conv.tensor(1)
        assert w.quantization is not None
        w.quantization = Quantization(w.quantization.scale[:1], w.quantization.zero_point[:1])
    elif how == "float output":
        graph.outputs[0].dtype = np.float32
        graph.outputs[0].quantization = None
    elif how == "scaled input":
        q = graph.inputs[0].quantization
        assert q is not None
        graph.inputs[0].quantization = replace(q, scale=q.scale / np.float32(128))
    elif how == "dynamic range":
        for op in graph.ops:
            for t in op.outputs:
                if t not in graph.outputs:
                    t.dtype = np.float32
    return serialize(graph)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("per tensor", "one per channel"),
        ("float output", "output .* expected int8, got float32"),
        ("scaled input", "expected raw pixels"),
        ("dynamic range", "dynamic-range"),
    ],
)
def test_what_is_no_device_model_is_refused(conversion: Conversion, how: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        check_int8(damage(conversion.model, how))


def test_sources_that_cannot_become_bundles() -> None:
    good = random_network()
    assert check_source(good, 3) == (32, 32)
    with pytest.raises(ModelError, match="expected 1 channels last"):
        check_source(good, 1)
    two = random_network()
    two.inputs.append(two.inputs[0])
    with pytest.raises(ModelError, match="expected one image, got 2"):
        check_source(two, 3)
    several = random_network()
    several.outputs.append(several.outputs[0])
    with pytest.raises(ModelError, match="expected one vector, got 2"):
        check_source(several, 3)
    integers = random_network()
    integers.inputs[0].dtype = np.uint8
    with pytest.raises(ModelError, match="expected float32, got uint8"):
        check_source(integers, 3)
    dynamic = random_network()
    dynamic.inputs[0].shape, dynamic.inputs[0].dynamic = (1, 1, 1, 3), True
    with pytest.raises(ModelError, match="dynamic"):
        check_source(dynamic, 3)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no model at all", b"\x18\0\0\0TFL3" + b"\xff" * 60])
def test_damaged_files(content: bytes, tmp_path: object) -> None:
    with pytest.raises(ModelError):
        parse(content, "file")
    with pytest.raises(ModelError, match="cannot be read"):
        load(f"{tmp_path}/absent.tflite")


def test_every_prefix_of_a_model_is_an_error_and_no_crash(conversion: Conversion) -> None:
    for size in range(8, len(conversion.model) - 4, 997):
        with pytest.raises(ModelError):
            graph = parse(conversion.model[:size])
            check_int8(serialize(graph))
            raise ModelError("a prefix that is a whole model")


def test_a_network_of_fully_connected_layers_and_pools() -> None:
    rng = np.random.default_rng(2)
    b = Builder((1, 3, 16, 16))
    x = b.unary("RELU", b.conv(b.input, rng.normal(size=(8, 3, 3, 3)).astype(np.float32), None, (2, 2), (1, 1, 1, 1)))
    x = b.pool("MAX_POOL_2D", x, (2, 2), (2, 2))
    x = b.unary("RELU6", b.linear(b.flatten(x), rng.normal(size=(12, 128)).astype(np.float32) * 0.1, None))
    graph = b.finish(b.linear(x, rng.normal(size=(6, 12)).astype(np.float32), None))
    found = convert(graph, pixels(20, 16), MEAN, STD)
    check_int8(found.model)
    assert undelegated(found.model)[1] == []
    a, c = embed(found.reference, pixels(10, 16, seed=8)), embed(found.model, pixels(10, 16, seed=8))
    cosine = (a * c).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(c, axis=1)
    assert cosine.min() > 0.97
