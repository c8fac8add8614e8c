"""The shipped face encoder agrees with its card and with NOTICE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.checks import check_int8, undelegated
from converters.flatbuffer import load, serialize
from converters.litert import embed
from converters.passes.normalise import fold_normalisation
from converters.passes.prelu import recognise_prelu, rewrite_prelu
from converters.passes.structure import fix_batch
from edge_oneshot.matching.cohort import score_at_fmr
from edge_oneshot.model.bundle import Bundle, digest, find_bundle, read_bundle, split


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return read_bundle(find_bundle("", "encoder"))


def test_full_int8_per_channel_in_one_partition(shipped: Bundle) -> None:
    check_int8(shipped.model)
    assert undelegated(shipped.model) == (1, []), "every operator belongs to XNNPACK"


def test_certified_on_people_it_was_not_tuned_on(shipped: Bundle) -> None:
    _, card = split(shipped.path.read_bytes(), shipped.path)
    assert card is not None
    certificate, thresholds = card["certificate"], card["thresholds"]
    assert shipped.encoder.certified and "sets 5-6" in certificate["protocol"] and "sets 1-4" in thresholds["protocol"]
    assert certificate["int8"]["tar"]["1e-3"] >= 0.97
    assert certificate["tar_loss"]["1e-3"]["points"] <= 0.5


@pytest.mark.parametrize("name", ["face", "face-web"])
def test_the_claim_is_against_matched_strangers(name: str) -> None:
    cohort = read_bundle(find_bundle(name, "encoder")).encoder.cohort
    assert cohort is not None
    large = {group: found.identities for group, found in cohort.groups.items() if found.identities >= 200}
    assert {"asian", "black", "indian", "white"} < set(large)
    everybody, worst = (max(score_at_fmr(c, 1e-3)[0] for c in of) for of in ([cohort], cohort.groups.values()))
    assert worst > everybody + 0.05, "strangers of one sex and group score higher than any two people"


def test_notice_names_every_model() -> None:
    models = find_bundle("", "encoder").parent
    notice = (models / "NOTICE").read_text(encoding="utf-8")
    for path in models.glob("*.tflite"):
        assert path.name in notice


def test_int8_against_the_float_network_on_portraits(
    mobilefacenet: Path, portraits: dict[str, NDArray[np.uint8]]
) -> None:
    """Of `face-web`, whose float network is published; that of `face` is made by the refit."""
    from datetime import UTC, datetime

    from edge_oneshot.types import Frame
    from edge_oneshot.vision.align import align
    from edge_oneshot.vision.detector import BlazeFaceDetector

    shipped = read_bundle(find_bundle("face-web", "encoder"))
    assert digest(mobilefacenet.read_bytes()) == shipped.card.provenance["digests"]["source"]
    graph = load(mobilefacenet)
    fix_batch(graph)
    recognise_prelu(graph)
    rewrite_prelu(graph)
    fold_normalisation(graph, [127.5] * 3, [128.0] * 3)
    detector = BlazeFaceDetector(read_bundle(find_bundle("", "refiner")))
    chips = []
    for pixels in portraits.values():
        frame = Frame(pixels=pixels, seq=0, captured_ns=0, captured_at=datetime.now(UTC), source="test")
        chips.append(align(frame, detector.detect(pixels)[0], shipped.encoder).pixels)
    a, b = embed(serialize(graph), chips), embed(shipped.model, chips)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.99, cosine
