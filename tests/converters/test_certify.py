"""The certificate compares float and int8 by error rates, and refuses a model that int8 has damaged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from converter_parts import MEAN, STD, pixels, random_network

from converters.certify import Certificate, Limits, as_text, certify, layer_noise
from converters.convert import Conversion, convert
from converters.flatbuffer import parse, serialize
from converters.labelled import Labelled
from converters.report import report_page
from converters.scores import Bootstrap, all_pairs, compare_pairs, rates, resamples, separation
from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import Comparator

COSINE = Comparator(kind="cosine")


@pytest.fixture(scope="module")
def conversion() -> Conversion:
    return convert(random_network(), pixels(20), MEAN, STD)


def drawn(people: int) -> Labelled:
    """Two pictures of each of `people` scenes, with noise and different light."""
    rng = np.random.default_rng(4)
    pictures, names = [], []
    for i, scene in enumerate(pixels(people, seed=11)):
        for _ in range(2):
            seen = scene * rng.uniform(0.9, 1.1) + rng.normal(0, 6, scene.shape)
            pictures.append(np.clip(seen, 0, 255).astype(np.uint8))
            names.append(f"person_{i:03d}")
    return Labelled(pictures, all_pairs(names), "drawn scenes")


@pytest.fixture(scope="module")
def certificate(conversion: Conversion) -> Certificate:
    return certify(conversion, drawn(130), COSINE, Limits(100, 100), draws=20)


def test_certificate_has_both_sides(certificate: Certificate) -> None:
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
    html = report_page(certificate, "a <name>", {"float": 1.0, "int8": 2.0}, ("step",))
    assert (
        "a &lt;name&gt;" in html
        and html.count('<svg class="chart"') == 2
        and "http" not in html.replace("http://www.w3.org", "")
    )


@pytest.mark.parametrize(("limits", "reason"), [(Limits(-200, 200), "TAR at FMR 1e-3"), (Limits(200, -200), "EER")])
def test_each_limit_decides_by_itself(conversion: Conversion, limits: Limits, reason: str) -> None:
    found = certify(conversion, drawn(130), COSINE, limits, draws=2)
    assert [r.split(":")[0] for r in found.record["reasons"]] == [reason]


def test_a_damaged_model_is_refused(conversion: Conversion) -> None:
    """Weights are rounded to 3 bits, as a coarse quantiser would. The table names the loss and the layers."""
    graph = parse(conversion.model)
    for op in graph.ops:
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D") and op.tensor(1).array.size > 100:
            w = op.tensor(1)
            w.data = (np.round(w.array / 48) * 48).astype(np.int8)
    damaged = replace(conversion, model=serialize(graph))
    found = certify(damaged, drawn(130), COSINE, Limits(), draws=20)
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
    with pytest.raises(ModelError, match="at least 30000 non-mated"):
        certify(conversion, drawn(20), COSINE, Limits())


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
