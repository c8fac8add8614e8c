"""Bundle files: round trip, reproducible bytes, every kind of damage, and what the encoder id depends on."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import (
    CARD_NAME,
    IDENTITY_FIELDS,
    Bundle,
    compute_encoder_id,
    digest,
    find_bundle,
    read_bundle,
    split,
    write_bundle,
)
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.recognition.checked import trust_made_here
from edge_oneshot.recognition.compose import build_pipeline


@pytest.fixture(scope="module")
def raw_card(encoder_bundle: Bundle) -> dict[str, Any]:
    card = split(encoder_bundle.path.read_bytes(), "x")[1]
    assert card is not None
    return card


def edited(path: Path, tmp_path: Path, edit: Any) -> Path:
    copy = tmp_path / path.name
    data = bytearray(path.read_bytes())
    result = edit(data)
    copy.write_bytes(data if result is None else result)
    return copy


def test_round_trip_is_reproducible(encoder_bundle: Bundle, raw_card: dict[str, Any], tmp_path: Path) -> None:
    a = write_bundle(tmp_path / "a.tflite", encoder_bundle.model, raw_card)
    b = write_bundle(tmp_path / "b.tflite", encoder_bundle.model, dict(reversed(raw_card.items())))
    c = write_bundle(
        tmp_path / "c.tflite", a.path.read_bytes(), raw_card
    )  # written over a bundle instead of a bare model
    assert a.path.read_bytes() == b.path.read_bytes() == c.path.read_bytes()
    assert (a.model, a.card, a.encoder_id) == (encoder_bundle.model, encoder_bundle.card, encoder_bundle.encoder_id)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tflite", "b.tflite", "c.tflite"]


def test_a_zip_tool_can_read_the_card(encoder_bundle: Bundle) -> None:
    with zipfile.ZipFile(encoder_bundle.path) as archive:
        assert archive.namelist() == [CARD_NAME]
        assert archive.testzip() is None


def test_an_incomplete_card_is_not_written(encoder_bundle: Bundle, raw_card: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="description: expected"):
        write_bundle(
            tmp_path / "a.tflite", encoder_bundle.model, {k: v for k, v in raw_card.items() if k != "description"}
        )
    assert list(tmp_path.iterdir()) == []


def test_a_bare_model_has_no_card(encoder_bundle: Bundle, tmp_path: Path) -> None:
    (path := tmp_path / "bare.tflite").write_bytes(encoder_bundle.model)
    with pytest.raises(ModelError, match=r"bare\.tflite card: expected card\.json after the model, got none"):
        read_bundle(path)


@pytest.mark.parametrize("kept", [0, 3, 15, 1000, 0.5, -1])
def test_a_truncated_file(encoder_bundle: Bundle, tmp_path: Path, kept: float) -> None:
    size = len(encoder_bundle.path.read_bytes())
    path = edited(encoder_bundle.path, tmp_path, lambda d: d[: int(kept * size) if isinstance(kept, float) else kept])
    with pytest.raises(ModelError, match=r"TFL3|truncated"):
        read_bundle(path)


def test_edited_model_bytes(encoder_bundle: Bundle, tmp_path: Path) -> None:
    def flip(data: bytearray) -> None:
        data[len(encoder_bundle.model) // 2] ^= 1

    with pytest.raises(
        ModelError, match=r"digests\.model: expected sha256:.* \(from the card\), got sha256:.* \(of the model\)"
    ):
        read_bundle(edited(encoder_bundle.path, tmp_path, flip))


def with_entry(bundle: Bundle, name: str, content: bytes) -> bytes:
    buffer = io.BytesIO(bundle.model)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("other.txt", b"x", "got none"),
        (CARD_NAME, b"{", "damaged"),
        (CARD_NAME, b"\xff", "damaged"),
        (CARD_NAME, b"[]", "expected a JSON object"),
        (CARD_NAME, b"[" * 10**5, "damaged"),
        (CARD_NAME, b"1" * 5000, "damaged"),
    ],
    ids=["absent", "syntax", "not utf-8", "list", "nested", "number"],
)
def test_a_damaged_card(encoder_bundle: Bundle, tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = edited(encoder_bundle.path, tmp_path, lambda d: with_entry(encoder_bundle, name, content))
    with pytest.raises(ModelError, match=says):
        read_bundle(path)


def test_damaged_bytes_behind_the_model_are_detected(encoder_bundle: Bundle, tmp_path: Path) -> None:
    """Flip bytes behind the model, one at a time: a ModelError, or (in unused fields) the same card. Never a crash."""
    start = len(encoder_bundle.model)
    data = encoder_bundle.path.read_bytes()
    detected = 0
    directory = data.rindex(b"PK\x01\x02")
    for at in [*range(start, start + 64), *range(start + 64, directory, 97), *range(directory, len(data))]:
        broken = bytearray(data)
        broken[at] ^= 0x55
        (path := tmp_path / "b.tflite").write_bytes(broken)
        try:
            assert read_bundle(path).card == encoder_bundle.card
        except ModelError:
            detected += 1
    assert detected > 80


@pytest.mark.parametrize("path", ["/nowhere/x.tflite", "/"])
def test_an_unreadable_file(path: str) -> None:
    with pytest.raises(ModelError, match="cannot read the model"):
        read_bundle(Path(path))


def test_a_file_that_is_not_tflite(tmp_path: Path) -> None:
    (path := tmp_path / "x.tflite").write_bytes(b"<html>404 not found</html>")
    with pytest.raises(ModelError, match="expected a TFLite file"):
        read_bundle(path)


def test_swapped_bundles_are_named(encoder_bundle: Bundle, detector_bundle: Bundle) -> None:
    with pytest.raises(ModelError, match="expected a detector, got an encoder"):
        _ = encoder_bundle.detector
    with pytest.raises(ModelError, match="expected an encoder, got a detector"):
        _ = detector_bundle.encoder
    for model in (
        ModelConfig(encoder=str(detector_bundle.path)),
        ModelConfig(detector=str(encoder_bundle.path)),
        ModelConfig(refiner=str(encoder_bundle.path)),
        ModelConfig(landmarks=str(detector_bundle.path)),
    ):
        with pytest.raises(ModelError, match="kind: expected"):
            build_pipeline(Config(model=model))


def test_a_refiner_without_the_landmarks_that_the_encoder_aligns_by(detector_bundle: Bundle, tmp_path: Path) -> None:
    card = split(detector_bundle.path.read_bytes(), "x")[1]
    assert card is not None
    names = ["image_left_eye", "image_right_eye", "tip", "mouth", "image_left_ear", "image_right_ear"]
    other = write_bundle(
        tmp_path / "other.tflite", detector_bundle.model, card | {"decoder": card["decoder"] | {"landmarks": names}}
    )
    trust_made_here(other.path)
    with pytest.raises(ModelError, match=r"decoder\.landmarks: expected .*'nose'"):
        build_pipeline(Config(model=ModelConfig(refiner=str(other.path))))


def test_the_encoder_id_depends_on_model_and_preprocessing_only(
    encoder_bundle: Bundle, raw_card: dict[str, Any]
) -> None:
    model = digest(encoder_bundle.model)
    own = compute_encoder_id(model, raw_card)
    assert own == encoder_bundle.encoder_id
    assert compute_encoder_id(digest(encoder_bundle.model + b"\0"), raw_card) != own
    assert set(IDENTITY_FIELDS) == {"input", "regions", "alignment", "output", "comparator"}
    for field in IDENTITY_FIELDS:
        changed = raw_card | {
            field: "changed" if not isinstance(raw_card[field], dict) else raw_card[field] | {"extra": 1}
        }
        assert compute_encoder_id(model, changed) != own, field
    # Cards from before `mirror` lack it: a missing value is the same as false.
    without = compute_encoder_id(model, {k: v for k, v in raw_card.items() if k != "mirror"})
    assert raw_card["mirror"] is True and compute_encoder_id(model, raw_card | {"mirror": False}) == without != own
    for field in set(raw_card) - {*IDENTITY_FIELDS, "mirror"}:
        assert compute_encoder_id(model, raw_card | {field: "changed"}) == own, field


def test_new_thresholds_keep_the_encoder_id(encoder_bundle: Bundle, raw_card: dict[str, Any], tmp_path: Path) -> None:
    thresholds = raw_card["thresholds"] | {"protocol": "measured again"}
    again = write_bundle(tmp_path / "a.tflite", encoder_bundle.model, raw_card | {"thresholds": thresholds})
    assert again.encoder_id == encoder_bundle.encoder_id


@pytest.mark.parametrize(
    ("change", "field"),
    [({"output": {"dimension": 128}}, "output shape"), ({"input": {"width_px": 96}}, "input shape")],
)
def test_a_model_that_contradicts_its_card(
    encoder_bundle: Bundle, raw_card: dict[str, Any], tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    card = raw_card | {k: raw_card[k] | v for k, v in change.items()}
    card.pop("no_rate", None)  # its weights would contradict the dimension first
    bundle = write_bundle(tmp_path / "a.tflite", encoder_bundle.model, card)
    with pytest.raises(ModelError, match=rf"a\.tflite {field}.*: expected .* \(from the card\), got "):
        TwinEncoder(bundle)


def test_names_of_bundles(tmp_path: Path, encoder_bundle: Bundle) -> None:
    assert find_bundle("face", "encoder") == find_bundle("", "encoder") == find_bundle("mobilefacenet_apart", "encoder")
    assert find_bundle("face-web", "encoder") == find_bundle("mobilefacenet", "encoder") != find_bundle("", "encoder")
    assert find_bundle("./x.tflite", "encoder") == Path("x.tflite")
    with pytest.raises(ModelError, match=r"one of the shipped bundles .*mobilefacenet.*, got 'resnet'"):
        find_bundle("resnet", "encoder")
    shutil.copy(encoder_bundle.path, tmp_path / "mine.tflite")
    assert read_bundle(find_bundle(str(tmp_path / "mine.tflite"), "encoder")).encoder_id == encoder_bundle.encoder_id
