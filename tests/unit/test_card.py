"""The card: its values, and an error with the path of each wrong field."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import SHIPPED, Bundle, find_bundle, read_bundle, split
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.model.card_reader import parse_card

CARDS = {role: split(find_bundle("", role).read_bytes(), role)[1] for role in SHIPPED}
FRAME_L1 = {
    "regions": "frame",
    "alignment": None,
    "output": {"dimension": 3},
    "mirror": False,
    "no_rate": None,
    "comparator": {"kind": "weighted-l1", "weights": [1, 0.5, 0], "bias": 2},
}

# (role, path of the field, a wrong value); the message must name the path
WRONG: list[tuple[str, str, Any]] = [
    ("encoder", "card", 2),
    ("encoder", "card", 0),
    ("encoder", "card", "1"),
    ("encoder", "card", True),
    ("encoder", "card", 1.5),
    ("encoder", "kind", "embedder"),
    ("encoder", "kind", None),
    ("encoder", "name", ""),
    ("encoder", "version", 1),
    ("encoder", "description", None),
    ("encoder", "input", []),
    ("encoder", "input.width_px", 0),
    ("encoder", "input.height_px", 10**400),
    ("encoder", "input.channels", 1),
    ("encoder", "input.colour", "BGR"),
    ("encoder", "input.normalisation", 5),
    ("encoder", "input.normalisation.mean", [127.5]),
    ("encoder", "input.normalisation.mean", ["127"] * 3),
    ("encoder", "input.normalisation.std", [0, 0, 0]),
    ("encoder", "input.normalisation.std", [float("nan")] * 3),
    ("encoder", "input.normalisation.std", [10**400] * 3),
    ("encoder", "regions", "hand"),
    ("encoder", "output.dimension", 0),
    ("encoder", "output.dimension", 10.5),
    ("encoder", "alignment.method", "affine"),
    ("encoder", "alignment.points", {}),
    ("encoder", "alignment.points", {"nose": [1, 2]}),
    ("encoder", "alignment.points.nose", [1, 2, 3]),
    ("encoder", "alignment.points.nose", "middle"),
    ("encoder", "comparator.kind", "euclidean"),
    ("encoder", "comparator", "cosine"),
    ("encoder", "thresholds.points", []),
    ("encoder", "thresholds.points[0].fmr", 0),
    ("encoder", "thresholds.points[1].threshold", None),
    ("encoder", "thresholds.points[0].ci95", [1]),
    ("encoder", "thresholds.points[0].tar", 1.1),
    ("encoder", "thresholds.protocol", ""),
    ("encoder", "thresholds.measured_to_fmr", 0),
    ("encoder", "thresholds.identities", 0),
    ("encoder", "thresholds.mated_pairs", -1),
    ("encoder", "thresholds.non_mated_pairs", "many"),
    ("encoder", "no_rate.protocol", ""),
    ("encoder", "no_rate.weights", [1.0]),
    ("encoder", "no_rate.threshold", 1.5),
    ("encoder", "no_rate", 5),
    ("encoder", "probability.kind", "isotonic"),
    ("encoder", "probability.slope", -1),
    ("encoder", "probability.intercept", None),
    ("encoder", "probability.protocol", None),
    ("encoder", "provenance", None),
    ("encoder", "provenance.licence", ""),
    ("encoder", "provenance.source", 3),
    ("encoder", "provenance.training_data", None),
    ("encoder", "digests.model", None),
    ("encoder", "digests", None),
    ("refiner", "decoder", None),
    ("refiner", "decoder.kind", "yunet"),
    ("refiner", "decoder.landmarks", "eyes"),
    ("refiner", "decoder.landmarks", [1, 2]),
    ("refiner", "decoder.strides", [0]),
    ("refiner", "decoder.strides", "8"),
    ("landmarks", "points", {}),
    ("landmarks", "points", {"nose": [1, 2]}),
    ("landmarks", "points.nose", [1]),
    ("landmarks", "points.nose", [1e300, 0]),
    ("landmarks", "points.mouth", [-1, 50]),
    ("landmarks", "input.colour", "BGR"),
    ("landmarks", "output.landmarks", ["nose"]),
    ("landmarks", "output.landmarks", "nose"),
    ("landmarks", "output", None),
    ("landmarks", "output.hidden", "yes"),
    ("encoder", "mirror", "yes"),
    ("encoder", "mirror", None),
    ("encoder", "mirror", 1),
    ("refiner", "decoder.anchors_per_cell", [2]),
    ("refiner", "decoder.min_score", 1.1),
    ("refiner", "decoder.nms_iou", -0.1),
]


def put(card: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    card = copy.deepcopy(card)
    *parents, last = path.replace("[", ".").replace("]", "").split(".")
    place: Any = card
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    place[last] = value
    return card


@pytest.mark.parametrize(("role", "path", "value"), WRONG, ids=lambda v: str(v)[:30])
def test_a_wrong_field_is_named(role: str, path: str, value: Any) -> None:
    with pytest.raises(ModelError) as caught:
        parse_card(put(CARDS[role], path, value), "x.tflite")
    assert f"x.tflite {path}: expected" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("role", CARDS)
def test_every_missing_field_is_named_or_optional(role: str) -> None:
    optional = {"certificate", "thresholds", "probability", "cohort", "mirror", "no_rate"}
    for key in CARDS[role]:
        card = {k: v for k, v in CARDS[role].items() if k != key}
        if key in optional:
            parse_card(card, "x")
            continue
        with pytest.raises(ModelError, match=rf"^x {key}"):
            parse_card(card, "x")


def test_landmarks_need_colour_pictures_and_distinct_points() -> None:
    raw = CARDS["landmarks"]
    grey = raw["input"] | {"colour": "L", "channels": 1, "normalisation": {"mean": [127.5], "std": [64]}}
    with pytest.raises(ModelError, match=r"x input\.colour: expected RGB, for landmarks, got 'L'"):
        parse_card(raw | {"input": grey}, "x")
    with pytest.raises(ModelError, match=r"x points: expected at least two points, 1 px apart or more"):
        parse_card(raw | {"points": {name: [50, 50 + 1e-9 * i] for i, name in enumerate(raw["points"])}}, "x")


@pytest.mark.parametrize("raw", [None, [], "card", 5])
def test_a_card_must_be_an_object(raw: object) -> None:
    with pytest.raises(ModelError, match="x card: expected a JSON object"):
        parse_card(raw, "x")


def test_thresholds_must_rise_while_fmr_falls() -> None:
    points = CARDS["encoder"]["thresholds"]["points"]
    for broken in (points[:1] * 2, [points[0] | {"threshold": 0.99}, *points[1:]]):
        with pytest.raises(ModelError, match=r"thresholds\.points: expected thresholds that rise"):
            parse_card(put(CARDS["encoder"], "thresholds.points", broken), "x")
    shuffled = parse_card(put(CARDS["encoder"], "thresholds.points", points[::-1]), "x")
    assert isinstance(shuffled, EncoderCard) and shuffled.thresholds is not None
    assert [p.fmr for p in shuffled.thresholds.points] == sorted((p["fmr"] for p in points), reverse=True)


def test_whole_frames_have_no_alignment_and_l1_has_weights() -> None:
    raw = CARDS["encoder"] | FRAME_L1
    card = parse_card(raw, "x")
    assert isinstance(card, EncoderCard)
    assert (card.regions, card.alignment, card.comparator.weights, card.comparator.bias) == (
        "frame",
        {},
        (1.0, 0.5, 0.0),
        2.0,
    )
    for change, path in (
        ({"alignment": CARDS["encoder"]["alignment"]}, "alignment"),
        ({"mirror": True}, "mirror"),
        ({"comparator": raw["comparator"] | {"weights": [1, 2]}}, "comparator.weights"),
        ({"comparator": raw["comparator"] | {"weights": [1, 2, -1]}}, "comparator.weights"),
        ({"comparator": raw["comparator"] | {"bias": None}}, "comparator.bias"),
    ):
        with pytest.raises(ModelError, match=f"x {path}: expected"):
            parse_card(raw | change, "x")


def test_a_card_is_certified_only_by_a_passed_certificate() -> None:
    for certificate, certified in (
        (None, False),
        ({}, False),
        ({"passed": False}, False),
        ("passed", False),
        ({"passed": True}, True),
    ):
        card = parse_card(CARDS["encoder"] | {"certificate": certificate}, "x")
        assert isinstance(card, EncoderCard)
        assert card.certified is certified


@pytest.mark.parametrize("role", CARDS)
def test_the_shipped_cards_are_complete(role: str) -> None:
    bundle: Bundle = read_bundle(find_bundle("", role))
    assert json.dumps(CARDS[role])  # every value is JSON
    assert bundle.card.kind == {"refiner": "detector"}.get(role, role)
    assert bundle.card.provenance["licence"] and bundle.card.provenance["training_data"]


def test_the_shipped_networks_provide_the_landmarks_that_the_shipped_encoder_aligns_by() -> None:
    encoder, placer, refiner = (read_bundle(find_bundle("", role)) for role in ("encoder", "landmarks", "refiner"))
    assert set(encoder.encoder.alignment) <= set(placer.landmarks.points) <= set(refiner.detector.landmarks)
