"""The landmark network on real faces: it moves displaced landmarks back to the same place."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import frame

from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.errors import EnrollmentError, ModelError
from edge_oneshot.evaluation.occluders import KINDS, occlude
from edge_oneshot.matching.compare import References
from edge_oneshot.model.bundle import Bundle, find_bundle, read_bundle, split, write_bundle
from edge_oneshot.recognition.checked import trust_made_here
from edge_oneshot.recognition.compose import build_pipeline
from edge_oneshot.recognition.enrollment import enroll_from_frame
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import Face, Identity
from edge_oneshot.vision.align import estimate_similarity, undo
from edge_oneshot.vision.gates import reference_faults
from edge_oneshot.vision.locate import LandmarkPlacer

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(find_bundle("", "landmarks"))


@pytest.fixture(scope="module")
def placer(bundle: Bundle) -> LandmarkPlacer:
    return LandmarkPlacer(bundle)


def moved(face: Face, random: np.random.Generator) -> Face:
    """The landmarks shifted, rotated and scaled together, by as much as a detector errs on a small face."""
    marks, apart = face.landmarks.astype(np.float64), face.inter_eye_px
    angle, scale = math.radians(random.uniform(-10, 10)), math.exp(random.uniform(-0.12, 0.12))
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shifted = (marks - marks.mean(0)) @ turn + marks.mean(0) + random.uniform(-0.12, 0.12, 2) * apart
    return replace(face, landmarks=shifted.astype(np.float32))


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_displaced_landmarks_return_to_one_place(
    pipeline: Pipeline, placer: LandmarkPlacer, portraits: dict[str, Pixels], name: str
) -> None:
    assert pipeline.locator is not None
    picture = frame(portraits[name])
    (face,) = pipeline.locator.locate(picture)
    random = np.random.default_rng(0)
    before = [moved(face, random) for _ in range(20)]
    after = [placer.place(picture, f) for f in before]
    at = [face.landmark_names.index(n) for n in placer.card.points]

    def off(faces: list[Face]) -> float:
        return (
            float(np.mean([np.linalg.norm(f.landmarks[at] - face.landmarks[at], axis=1).mean() for f in faces]))
            / face.inter_eye_px
        )

    assert off(before) > 0.1
    assert off(after) < 0.05


def test_a_mirrored_face_has_mirrored_landmarks(pipeline: Pipeline, hopper: Pixels) -> None:
    assert pipeline.locator is not None
    (face,) = pipeline.locator.locate(frame(hopper))
    (mirrored,) = pipeline.locator.locate(frame(np.ascontiguousarray(hopper[:, ::-1])))
    for name, other in (
        ("image_left_eye", "image_right_eye"),
        ("image_right_eye", "image_left_eye"),
        ("nose", "nose"),
        ("mouth", "mouth"),
    ):
        x, y = mirrored.landmark(other)
        assert math.dist(face.landmark(name), (hopper.shape[1] - x, y)) < 0.08 * face.inter_eye_px, name


def test_points_that_the_network_does_not_place_stay(
    pipeline: Pipeline, placer: LandmarkPlacer, hopper: Pixels
) -> None:
    assert pipeline.locator is not None
    picture = frame(hopper)
    (face,) = pipeline.locator.locate(picture)
    placed = placer.place(picture, face)
    ears = [i for i, n in enumerate(face.landmark_names) if "ear" in n]
    assert len(ears) == 2
    assert (placed.landmarks[ears] == face.landmarks[ears]).all()
    assert placed.box == face.box and placed.landmark_names == face.landmark_names
    with pytest.raises(KeyError, match="mouth"):
        placer.place(picture, replace(face, landmarks=face.landmarks[:3], landmark_names=face.landmark_names[:3]))


def covered(pixels: Pixels, face: Face, part: str) -> Pixels:
    """The picture with a flat patch over the mouth and chin, or over one half of the face."""
    picture, apart = pixels.copy(), face.inter_eye_px
    (x0, y0), (x1, _), (x, y) = face.landmark("image_left_eye"), face.landmark("image_right_eye"), face.landmark("nose")
    if part == "mouth":
        box = (x - 0.9 * apart, y - 0.1 * apart, x + 0.9 * apart, y + 1.3 * apart)
    else:
        box = ((x0 + x1) / 2, y0 - 0.8 * apart, x1 + 0.8 * apart, y0 + 1.8 * apart)
    left, top, right, bottom = (max(0, round(v)) for v in box)
    picture[top:bottom, left:right] = (90, 120, 160)
    return picture


@pytest.mark.parametrize("name", ["collins", "hopper"])
@pytest.mark.parametrize("part", ["mouth", "half"])
def test_a_partly_hidden_face_is_compared_but_not_enrolled(
    pipeline: Pipeline, portraits: dict[str, Pixels], name: str, part: str
) -> None:
    assert pipeline.locator is not None
    pixels = portraits[name]
    (face,) = pipeline.locator.locate(frame(pixels))
    assert face.hidden < 0.2
    found = pipeline.samples(frame(covered(pixels, face, part)))
    assert found, "the detector still finds the face"
    assert found[0].faults == (), "a partly hidden face may be compared"
    assert [f.code for f in found[0].reference_faults] == ["hidden"]
    at_limit = replace(pipeline.gates.reference, max_hidden=found[0].quality.hidden)
    assert reference_faults(found[0].quality, found[0].face, frame(pixels), at_limit, fills=False) == ()
    nobody = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    with pytest.raises(EnrollmentError) as caught:
        enroll_from_frame(pipeline, frame(covered(pixels, face, part)), Identity(identity_id="a", name="A"), nobody)
    assert "uncover the face" in caught.value.faults[0]


@pytest.mark.parametrize("kind", [*KINDS, "free"])
def test_a_face_under_something_worn_is_not_enrolled(
    make_recognizer: Callable[..., Recognizer], pipeline: Pipeline, portraits: dict[str, Pixels], kind: str
) -> None:
    """Rendered in shapes and textures that no training used. Of ten pictures of a kind, three may pass."""
    recognizer, messages = make_recognizer(), []
    assert pipeline.locator is not None
    for name, pixels in portraits.items():
        (face,) = pipeline.locator.locate(frame(pixels))
        marks = np.array([face.landmark(n) for n in pipeline.locator.placer.card.points])
        for seed in range(1 if kind == "free" else 5):
            random = np.random.default_rng([1, seed])
            worn = pixels if kind == "free" else occlude(pixels, marks, kind, random, held_out=True)
            try:
                recognizer.enroll(f"{name} {seed}", worn)
            except EnrollmentError as error:
                messages += error.faults
    known = ("uncover the face", "no face found", "2 faces found")
    assert all(any(k in m for k in known) for m in messages), messages
    assert messages == [] if kind == "free" else len(messages) >= 7


def test_undo_inverts_a_transform() -> None:
    random = np.random.default_rng(0)
    source, target = random.normal(size=(5, 2)) * 50, random.normal(size=(5, 2)) * 50
    transform = estimate_similarity(source, target)
    assert np.allclose(undo(transform, source @ transform[:, :2].T + transform[:, 2]), source)


def test_the_order_of_the_landmarks_is_the_models(bundle: Bundle) -> None:
    """JSON objects have no order; the card states it, and it is not alphabetical."""
    assert tuple(bundle.landmarks.points) == ("image_left_eye", "image_right_eye", "nose", "mouth")


def test_a_model_that_contradicts_its_card_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    card = split(bundle.path.read_bytes(), "x")[1]
    assert card is not None
    names = ["nose", "mouth"]
    fewer = card | {"output": card["output"] | {"landmarks": names}, "points": {n: card["points"][n] for n in names}}
    with pytest.raises(
        ModelError, match=r"output shape \(batch, values\): expected \(1, 6\) \(from the card\), got \(1, 12\)"
    ):
        LandmarkPlacer(write_bundle(tmp_path / "fewer.tflite", bundle.model, fewer))


def test_a_refiner_without_the_points_that_the_network_starts_from(bundle: Bundle, tmp_path: Path) -> None:
    card = split(bundle.path.read_bytes(), "x")[1]
    assert card is not None
    names = ["image_left_eye", "image_right_eye", "nose", "chin"]
    other = write_bundle(
        tmp_path / "chin.tflite",
        bundle.model,
        card
        | {
            "output": card["output"] | {"landmarks": names},
            "points": {("chin" if n == "mouth" else n): p for n, p in card["points"].items()},
        },
    )
    trust_made_here(other.path)
    with pytest.raises(
        ModelError, match=r"decoder\.landmarks: expected \['chin'\] too, since face-landmarks-int8 starts from them"
    ):
        build_pipeline(Config(model=ModelConfig(landmarks=str(other.path))))
