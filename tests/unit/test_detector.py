"""BlazeFace decoding against a slow oracle, letterboxing, and both portraits through the real networks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from pictures import Pixels, empty_scene, frame
from PIL import Image

from edge_oneshot.model.bundle import SHIPPED, find_bundle, read_bundle
from edge_oneshot.model.card import DetectorCard
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Face
from edge_oneshot.vision.detector import STEPS_PER_PX, BlazeFaceDetector, make_anchors
from edge_oneshot.vision.locate import FaceLocator


@pytest.fixture(scope="module", params=["detector", "refiner"])
def detector(request: pytest.FixtureRequest) -> Iterator[BlazeFaceDetector]:
    assert request.param in SHIPPED
    yield BlazeFaceDetector(read_bundle(find_bundle("", request.param)), threads=1)


def slow_anchors(card: DetectorCard) -> list[tuple[float, float]]:
    anchors = []
    for stride, repeat in zip(card.strides, card.anchors_per_cell, strict=True):
        for row in range(math.ceil(card.input.height_px / stride)):
            for column in range(math.ceil(card.input.width_px / stride)):
                anchors += [((column + 0.5) * stride, (row + 0.5) * stride)] * repeat
    return anchors


def slow_decode(card: DetectorCard, regressors: np.ndarray, logits: np.ndarray) -> list[tuple[float, list[float]]]:
    """(best score, [x0 y0 x1 y1 landmarks...]) in input px, in plain Python."""
    candidates = []
    for (ax, ay), values, logit in zip(slow_anchors(card), regressors.tolist(), logits.tolist(), strict=True):
        score = 1 / (1 + math.exp(-logit))
        if score < card.min_score:
            continue
        x, y, w, h = values[0] + ax, values[1] + ay, values[2], values[3]
        points = [v + (ax, ay)[i % 2] for i, v in enumerate(values[4:])]
        candidates.append((score, [x - w / 2, y - h / 2, x + w / 2, y + h / 2, *points]))
    candidates.sort(key=lambda c: -c[0])
    faces = []
    while candidates:
        best = candidates[0]
        same = [c for c in candidates if c is best or iou(c[1], best[1]) >= card.nms_iou]
        candidates = [c for c in candidates if c not in same]
        total = sum(s for s, _ in same)
        faces.append((best[0], [sum(s * v[i] for s, v in same) / total for i in range(len(best[1]))]))
    return faces


def iou(a: list[float], b: list[float]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def flat(face: Face) -> list[float]:
    b = face.box
    return [b.x0, b.y0, b.x1, b.y1, *face.landmarks.ravel().tolist()]


def test_anchors(detector: BlazeFaceDetector) -> None:
    assert np.allclose(make_anchors(detector.card), slow_anchors(detector.card))


def test_decoding_agrees_with_a_slow_oracle(detector: BlazeFaceDetector) -> None:
    """The oracle does not round; a border of the box is half a step of the centre and a quarter of one of the size off."""
    generator = np.random.default_rng(0)
    count, values = len(make_anchors(detector.card)), 4 + 2 * len(detector.card.landmarks)
    for _ in range(5):
        regressors = generator.normal(0, 4, (count, values)).astype(np.float32)
        regressors[:, 2:4] = generator.uniform(5, 60, (count, 2))
        logits = np.full(count, -9.0, np.float32)
        logits[generator.choice(count, 40, replace=False)] = generator.uniform(-2, 6, 40)
        expected = slow_decode(detector.card, regressors, logits)
        got = detector.decode(regressors, logits, 1.0, np.zeros(2, np.float32))
        assert [f.detection_score for f in got] == pytest.approx([s for s, _ in expected], abs=1e-5)
        for face, (_, numbers) in zip(got, expected, strict=True):
            assert flat(face) == pytest.approx(numbers, abs=0.75 / STEPS_PER_PX + 1e-3)
            assert face.landmarks.ravel() == pytest.approx(numbers[4:], abs=0.5 / STEPS_PER_PX + 1e-3)
            assert (face.landmarks * STEPS_PER_PX % 1 == 0).all()


@pytest.mark.parametrize("off", [-1e-4, 1e-4])
def test_the_last_bits_of_the_network_do_not_show(detector: BlazeFaceDetector, off: float) -> None:
    """Landmarks and box of one anchor, 1e-3 px or more from the border between two grid points."""
    generator, count = np.random.default_rng(1), len(make_anchors(detector.card))
    values = 4 + 2 * len(detector.card.landmarks)
    logits = np.full(count, -9.0, np.float32)
    logits[7] = 3.0
    regressors = np.zeros((count, values), np.float32)
    regressors[7] = (generator.integers(16, 800, values) + generator.uniform(-0.48, 0.48, values)) / STEPS_PER_PX
    scale, pad = 0.3, np.array([0, 24], np.float32)
    (plain,) = detector.decode(regressors, logits, scale, pad)
    (other,) = detector.decode(regressors + np.float32(off), logits + np.float32(off), scale, pad)
    assert flat(plain) == flat(other)


def test_nothing_above_the_minimum_gives_nothing(detector: BlazeFaceDetector) -> None:
    count = len(make_anchors(detector.card))
    nothing = detector.decode(
        np.zeros((count, 16), np.float32), np.full(count, -50, np.float32), 1.0, np.zeros(2, np.float32)
    )
    assert nothing == []


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1920, 1080), (97, 31), (192, 192)])
def test_letterboxing_keeps_the_ratio_and_is_undone(detector: BlazeFaceDetector, size: tuple[int, int]) -> None:
    width, height = size
    spec = detector.card.input
    canvas = np.zeros(spec.shape, np.float32)
    scale, pad = detector.prepare(np.full((height, width, 3), 255, np.uint8), canvas)
    bright = np.argwhere(canvas[..., 0] > 0)
    (y0, x0), (y1, x1) = bright.min(axis=0), bright.max(axis=0) + 1
    assert (x0, y0) == tuple(pad)
    assert abs((x1 - x0) - width * scale) <= 0.5 and abs((y1 - y0) - height * scale) <= 0.5
    assert max((x1 - x0) / spec.width_px, (y1 - y0) / spec.height_px) == 1.0
    assert canvas.max() == pytest.approx(1.0) and canvas[..., 0].min() >= -1.0


def test_a_wide_picture_leaves_no_trace_of_the_one_before(detector: BlazeFaceDetector) -> None:
    canvas = np.zeros(detector.card.input.shape, np.float32)
    detector.prepare(np.full((192, 192, 3), 255, np.uint8), canvas)
    detector.prepare(np.zeros((96, 192, 3), np.uint8), canvas)
    assert canvas.max() == pytest.approx(-1.0)


def test_each_portrait_holds_one_face_with_eyes_at_its_eyes(pipeline: Pipeline, portraits: dict[str, Pixels]) -> None:
    # read off the pictures by hand, px
    eyes = {"collins": ((203, 101), (247, 103)), "hopper": ((223, 189), (307, 187))}
    assert pipeline.locator is not None
    for name, pixels in portraits.items():
        (found,) = pipeline.locator.locate(frame(pixels))
        for landmark, expected in zip(("image_left_eye", "image_right_eye"), eyes[name], strict=True):
            assert math.dist(found.landmark(landmark), expected) < 0.1 * found.inter_eye_px, (
                name,
                landmark,
                found.landmarks,
            )


def test_no_face_in_an_empty_scene(pipeline: Pipeline) -> None:
    assert pipeline.locator is not None
    assert pipeline.locator.locate(frame(empty_scene())) == []


def placed(portrait: Pixels, inter_eye_share: float, at: tuple[int, int]) -> Pixels:
    picture = Image.fromarray(portrait)
    picture = picture.resize(
        (round(picture.width * inter_eye_share), round(picture.height * inter_eye_share)), Image.Resampling.LANCZOS
    )
    scene = Image.fromarray(empty_scene())
    scene.paste(picture, at)
    return np.asarray(scene)


@pytest.mark.parametrize(("share", "at"), [(0.9, (0, 0)), (0.7, (250, 100)), (0.55, (330, 190))])
def test_a_face_is_found_where_it_stands(
    pipeline: Pipeline, collins: Pixels, share: float, at: tuple[int, int]
) -> None:
    assert pipeline.locator is not None
    (home,) = pipeline.locator.locate(frame(collins))
    (found,) = pipeline.locator.locate(frame(placed(collins, share, at)))
    expected = home.landmarks[:4] * share + at
    assert np.linalg.norm(found.landmarks[:4] - expected, axis=1).max() < 0.2 * found.inter_eye_px
    assert found.inter_eye_px == pytest.approx(home.inter_eye_px * share, rel=0.12)


def test_two_faces_come_largest_first(pipeline: Pipeline, collins: Pixels, hopper: Pixels) -> None:
    assert pipeline.locator is not None
    both = np.hstack([collins, hopper[:512]])
    large, small = pipeline.locator.locate(frame(both))
    assert large.box.area > small.box.area
    assert large.box.x0 > 512 > small.box.x1  # Hopper fills more of her portrait


def test_the_lores_stream_finds_and_the_main_stream_places(pipeline: Pipeline, hopper: Pixels) -> None:
    assert pipeline.locator is not None
    small = np.asarray(Image.fromarray(hopper).resize((256, 300), Image.Resampling.BOX))
    (plain,), (both,) = pipeline.locator.locate(frame(hopper)), pipeline.locator.locate(frame(hopper, lores=small))
    assert np.abs(plain.landmarks[:4] - both.landmarks[:4]).max() < 0.08 * plain.inter_eye_px
    assert plain.box.iou(both.box) > 0.8


def test_a_find_that_the_refiner_does_not_confirm_is_dropped(pipeline: Pipeline, hopper: Pixels) -> None:
    """The lores stream shows a face, the main stream shows a wall in its place."""
    assert isinstance(pipeline.locator, FaceLocator)
    assert len(pipeline.locator.finder.detect(hopper)) == 1
    assert pipeline.locator.locate(frame(empty_scene((512, 600)), lores=hopper)) == []


@pytest.mark.parametrize(("shift_px", "kept"), [(30, True), (80, False)])
def test_a_second_look_far_from_the_first_saw_somebody_else(
    pipeline: Pipeline, hopper: Pixels, shift_px: int, kept: bool
) -> None:
    """The main stream shows her 0.35 and 0.9 inter-eye distances beside where the lores stream found her."""
    assert pipeline.locator is not None
    main = np.roll(hopper, shift_px, axis=1)
    found = pipeline.locator.locate(frame(main, lores=hopper))
    assert len(found) == kept
    if kept:
        (home,) = pipeline.locator.locate(frame(hopper))
        moved = found[0].landmarks[:2].mean(axis=0) - home.landmarks[:2].mean(axis=0)
        assert math.dist(moved, (shift_px, 0)) < 5
