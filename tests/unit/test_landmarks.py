"""The landmark network on real faces: it brings landmarks that are off back to one place, however they are off."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import frame

from edge_oneshot.bundle import Bundle, find_bundle, read_bundle, split, write_bundle
from edge_oneshot.compose import build_pipeline
from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.errors import ModelError
from edge_oneshot.pipeline import Pipeline
from edge_oneshot.types import Face
from edge_oneshot.vision.align import estimate_similarity, undo
from edge_oneshot.vision.landmarks import LandmarkPlacer

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(find_bundle("", "landmarks"))


@pytest.fixture(scope="module")
def placer(bundle: Bundle) -> LandmarkPlacer:
    return LandmarkPlacer(bundle)


def moved(face: Face, random: np.random.Generator) -> Face:
    """The landmarks shifted, turned and scaled together, as far as a detector is off with a small face."""
    marks, apart = face.landmarks.astype(np.float64), face.inter_eye_px
    angle, scale = math.radians(random.uniform(-10, 10)), math.exp(random.uniform(-0.12, 0.12))
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shifted = (marks - marks.mean(0)) @ turn + marks.mean(0) + random.uniform(-0.12, 0.12, 2) * apart
    return replace(face, landmarks=shifted.astype(np.float32))


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_landmarks_that_are_off_come_back_to_one_place(pipeline: Pipeline, placer: LandmarkPlacer, portraits: dict[str, Pixels],
                                                       name: str) -> None:
    assert pipeline.locator is not None
    picture = frame(portraits[name])
    (face,) = pipeline.locator.locate(picture)
    random = np.random.default_rng(0)
    before = [moved(face, random) for _ in range(20)]
    after = [placer.place(picture, f) for f in before]
    at = [face.landmark_names.index(n) for n in placer.card.points]

    def off(faces: list[Face]) -> float:
        return float(np.mean([np.linalg.norm(f.landmarks[at] - face.landmarks[at], axis=1).mean() for f in faces])) / face.inter_eye_px

    assert off(before) > 0.1
    assert off(after) < 0.05


def test_a_mirrored_face_has_mirrored_landmarks(pipeline: Pipeline, hopper: Pixels) -> None:
    assert pipeline.locator is not None
    (face,) = pipeline.locator.locate(frame(hopper))
    (mirrored,) = pipeline.locator.locate(frame(np.ascontiguousarray(hopper[:, ::-1])))
    for name, other in (("image_left_eye", "image_right_eye"), ("image_right_eye", "image_left_eye"), ("nose", "nose"), ("mouth", "mouth")):
        x, y = mirrored.landmark(other)
        assert math.dist(face.landmark(name), (hopper.shape[1] - x, y)) < 0.08 * face.inter_eye_px, name


def test_points_that_the_network_does_not_place_stay(pipeline: Pipeline, placer: LandmarkPlacer, hopper: Pixels) -> None:
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


def test_undo_leads_back() -> None:
    random = np.random.default_rng(0)
    source, target = random.normal(size=(5, 2)) * 50, random.normal(size=(5, 2)) * 50
    transform = estimate_similarity(source, target)
    assert np.allclose(undo(transform, source @ transform[:, :2].T + transform[:, 2]), source)


def test_the_order_of_the_landmarks_is_the_models(bundle: Bundle) -> None:
    """JSON objects have no order; the card tells it, and it is not the alphabet's."""
    assert tuple(bundle.landmarks.points) == ("image_left_eye", "image_right_eye", "nose", "mouth")


def test_a_model_that_contradicts_its_card_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    card = split(bundle.path.read_bytes(), "x")[1]
    assert card is not None
    fewer = card | {"output": {"landmarks": ["nose", "mouth"]}, "points": {n: card["points"][n] for n in ("nose", "mouth")}}
    with pytest.raises(ModelError, match=r"output shape \(batch, values\): the card expects \(1, 4\), the model has \(1, 8\)"):
        LandmarkPlacer(write_bundle(tmp_path / "fewer.tflite", bundle.model, fewer))


def test_a_refiner_without_the_points_that_the_network_starts_from(bundle: Bundle, tmp_path: Path) -> None:
    card = split(bundle.path.read_bytes(), "x")[1]
    assert card is not None
    names = ["image_left_eye", "image_right_eye", "nose", "chin"]
    other = write_bundle(tmp_path / "chin.tflite", bundle.model, card | {
        "output": {"landmarks": names}, "points": {("chin" if n == "mouth" else n): p for n, p in card["points"].items()}})
    with pytest.raises(ModelError, match=r"decoder\.landmarks: expected \['chin'\] too, since face-landmarks-int8 starts from them"):
        build_pipeline(Config(model=ModelConfig(landmarks=str(other.path))))
