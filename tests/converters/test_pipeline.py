"""The whole path on a small network: int8 as the device wants it, the same bytes each time, refusals for the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from converter_parts import MEAN, STD, normalised, pixels, random_network, run
from environments import predecessor

from converters.build import Builder
from converters.certify import Certificate, Limits, as_text, certify, layer_noise
from converters.checks import check_int8, check_source, try_run, undelegated
from converters.convert import Conversion, convert
from converters.flatbuffer import load, parse, serialize
from converters.graph import Quantization
from converters.litert import embed
from converters.report import page
from converters.scores import Bootstrap, all_pairs, compare_pairs, rates, resamples, separation
from converters.tflite_runtime import VARIABLE, check_predecessor
from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import Comparator

pytest.importorskip("ai_edge_quantizer", reason="pip install 'edge-oneshot[convert]'")

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
    """Guards the pass itself: without it this network, whose channels differ a hundredfold, comes out much worse."""
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
    """Also where the calibration pictures are neither black nor white anywhere: pixel less 128 has scale 1."""
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


def spoil(model: bytes, how: str) -> bytes:
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
        check_int8(spoil(conversion.model, how))


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
            raise ModelError("a prefix that still is a whole model")


def labelled_pictures(people: int, each: int) -> tuple[list[np.ndarray], list[str]]:
    """Pictures of `people` scenes, each seen `each` times with noise and another light."""
    rng = np.random.default_rng(4)
    pictures, names = [], []
    for i, scene in enumerate(pixels(people, seed=11)):
        for _ in range(each):
            seen = scene * rng.uniform(0.9, 1.1) + rng.normal(0, 6, scene.shape)
            pictures.append(np.clip(seen, 0, 255).astype(np.uint8))
            names.append(f"person_{i:03d}")
    return pictures, names


@pytest.fixture(scope="module")
def certificate(conversion: Conversion) -> Certificate:
    pictures, names = labelled_pictures(130, 2)
    return certify(conversion, pictures, all_pairs(names), COSINE, Limits(100, 100), "drawn scenes", draws=20)


def test_certificate_tells_both_sides(certificate: Certificate) -> None:
    r = certificate.record
    assert r["passed"] and r["identities"] == 130 and r["mated_pairs"] == 130 and r["non_mated_pairs"] == 33_540
    assert 0.98 < r["cosine"]["mean"] <= 1
    assert set(r["tar_loss"]) == {"1e-2", "1e-3"}, "1e-4 of 33,540 comparisons are three errors: not resolved"
    low, high = r["tar_loss"]["1e-3"]["ci95"]
    assert low <= high
    again = float(r["int8"]["mated_mean"] - r["float"]["mated_mean"])
    assert abs(again - r["drift"]["mated"]) < 1e-4
    text = as_text(certificate)
    assert "TAR at FMR 1e-3" in text and "certified" in text
    html = page(certificate, "a <name>", {"float": 1.0, "int8": 2.0}, ("step",))
    assert "a &lt;name&gt;" in html and html.count("<svg") == 2 and "http" not in html.replace("http://www.w3.org", "")


@pytest.mark.parametrize(("limits", "reason"), [(Limits(-200, 200), "TAR at FMR 1e-3"), (Limits(200, -200), "EER")])
def test_each_limit_decides_by_itself(conversion: Conversion, limits: Limits, reason: str) -> None:
    pictures, names = labelled_pictures(130, 2)
    found = certify(conversion, pictures, all_pairs(names), COSINE, limits, "drawn scenes", draws=2)
    assert [r.split(":")[0] for r in found.record["reasons"]] == [reason]


def test_a_spoiled_model_is_refused(conversion: Conversion) -> None:
    """Damage like that of a coarse quantiser: weights kept to 3 bits. The table names the loss and the layers."""
    graph = parse(conversion.model)
    for op in graph.ops:
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D") and op.tensor(1).array.size > 100:
            w = op.tensor(1)
            w.data = (np.round(w.array / 48) * 48).astype(np.int8)
    pictures, names = labelled_pictures(130, 2)
    spoiled = replace(conversion, model=serialize(graph))
    found = certify(spoiled, pictures, all_pairs(names), COSINE, Limits(), "drawn scenes", draws=20)
    assert not found.passed
    assert any("TAR at FMR 1e-3" in reason or "EER" in reason for reason in found.record["reasons"])
    assert "refused" in as_text(found)


def test_layer_noise_finds_the_layer_that_was_damaged(conversion: Conversion) -> None:
    graph = parse(conversion.model)
    convs = [op for op in graph.ops if op.kind == "CONV_2D"]
    convs[1].tensor(1).data = np.zeros_like(convs[1].tensor(1).array)
    worst = layer_noise(replace(conversion, model=serialize(graph)), pixels(3))[0]
    assert worst.name == convs[1].output.name


def test_too_few_pictures_certify_nothing(conversion: Conversion) -> None:
    pictures, names = labelled_pictures(20, 2)
    with pytest.raises(ModelError, match="at least 30000 non-mated"):
        certify(conversion, pictures, all_pairs(names), COSINE, Limits(), "few")


def test_scores_and_rates_by_hand() -> None:
    vectors = np.array([[1, 0], [1, 1], [0, 1], [-1, 0]], np.float32)
    pairs = all_pairs(["a", "a", "b", "b"])
    np.testing.assert_allclose(
        compare_pairs(vectors, pairs, COSINE), [0.70710678, 0, -1, 0.70710678, -0.70710678, 0], atol=1e-6
    )
    l1 = Comparator(kind="weighted-l1", weights=(1.0, 2.0), bias=3.0)
    np.testing.assert_allclose(compare_pairs(vectors, pairs, l1), [1, 0, 1, 2, -1, 0])
    score = np.array([0.9, 0.1, 0.2, 0.3, 0.5, 0.8], np.float32)  # mated: the first and the last
    found = rates(score, pairs, (0.25,))
    assert found.tar == (1.0,) and found.threshold[0] > np.float32(0.3) and found.eer == 0
    assert abs(separation(score, pairs) - (0.85 - np.quantile([0.1, 0.2, 0.3, 0.5], 0.999))) < 1e-6


def test_bootstrap_of_the_whole_sample_is_the_sample() -> None:
    rng = np.random.default_rng(0)
    names = [f"p{i // 2}" for i in range(120)]
    pairs = all_pairs(names)
    score = np.where(pairs.mated, rng.normal(0.6, 0.2, len(pairs.first)), rng.normal(0, 0.2, len(pairs.first))).astype(
        np.float32
    )
    exact = rates(score, pairs, (1e-2,))
    thresholds, tars, eer = Bootstrap(score, pairs).rates(np.ones(60, np.float32), (1e-2,))
    assert (
        abs(tars[0] - exact.tar[0]) < 0.02
        and abs(thresholds[0] - exact.threshold[0]) < 1e-3
        and abs(eer - exact.eer) < 0.01
    )
    draws = list(resamples(60, 3))
    assert all(d.sum() == 60 for d in draws) and not np.array_equal(draws[0], draws[1])


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
