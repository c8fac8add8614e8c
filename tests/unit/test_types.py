"""Invalid values are refused, with a message that gives expected and actual value."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest
from samples import ENCODER, face, unit

from edge_oneshot import types
from edge_oneshot.types import Box, Candidate, Chip, Decision, DecisionKind, Embedding, Event, Face, Frame, Template

NOW = datetime.now(UTC)


def make_frame(pixels: np.ndarray) -> Frame:
    return Frame(pixels=pixels, seq=0, captured_ns=0, captured_at=NOW, source="test")


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["float", "grey", "rgba", "empty"],
)
def test_frame_refuses_other_pixels(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"Frame\.pixels: expected uint8 \(H, W, 3\) RGB, got "):
        make_frame(pixels)


def test_frame_refuses_strided_pixels_and_naive_time() -> None:
    with pytest.raises(ValueError, match="C-contiguous"):
        make_frame(np.zeros((4, 8, 3), np.uint8)[:, ::2])
    with pytest.raises(ValueError, match="aware datetime"):
        Frame(pixels=np.zeros((4, 4, 3), np.uint8), seq=0, captured_ns=0, captured_at=datetime(2026, 1, 1), source="x")


def test_frame_is_read_only_and_its_size_is_width_first() -> None:
    frame = make_frame(np.zeros((4, 6, 3), np.uint8))
    assert frame.size == (6, 4)
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0, 0, 0] = 1


@pytest.mark.parametrize(
    "corners", [(1, 0, 1, 1), (2, 0, 1, 1), (0, 1, 1, 0), (0, 0, float("nan"), 1), (0, 0, float("inf"), 1)]
)
def test_box_refuses_corners_without_an_area(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="x1 > x0 and y1 > y0"):
        Box(**dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True)))


def test_iou_by_counting_pixels() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        a, b = (Box(x0=x, y0=y, x1=x + w, y1=y + h) for x, y, w, h in generator.integers(1, 12, (2, 4)).tolist())
        grid = np.zeros((2, 30, 30), bool)
        for plane, box in zip(grid, (a, b), strict=True):
            plane[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = True
        assert a.iou(b) == pytest.approx((grid[0] & grid[1]).sum() / (grid[0] | grid[1]).sum())
        assert a.iou(b) == b.iou(a)


def test_face_refuses_wrong_landmarks_and_scores() -> None:
    good = face()
    for landmarks, match in (
        (good.landmarks[:3], r"float32 \(6, 2\)"),
        (good.landmarks.astype(np.float64), "float64"),
        (np.full((6, 2), np.nan, np.float32), "finite"),
    ):
        with pytest.raises(ValueError, match=match):
            dataclasses.replace(good, landmarks=landmarks)
    for score in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="detection_score"):
            dataclasses.replace(good, detection_score=score)


def test_inter_eye_distance_is_euclidean_and_an_unknown_landmark_is_named() -> None:
    points = np.array([(0, 0), (3, 4)], np.float32)
    two = Face(
        box=Box(x0=0, y0=0, x1=1, y1=1),
        landmarks=points,
        landmark_names=("image_left_eye", "image_right_eye"),
        detection_score=1.0,
    )
    assert two.inter_eye_px == 5.0
    with pytest.raises(KeyError, match="'nose': expected one of"):
        two.landmark("nose")


def test_chip_and_embedding_are_checked() -> None:
    with pytest.raises(ValueError, match=r"Chip\.pixels"):
        Chip(pixels=np.zeros((4, 4, 2), np.uint8), transform=np.eye(2, 3))
    with pytest.raises(ValueError, match=r"Chip\.transform"):
        Chip(pixels=np.zeros((4, 4, 1), np.uint8), transform=np.eye(3))
    for vector in (np.zeros(4), np.zeros((1, 4), np.float32), np.zeros(0, np.float32), np.array([np.nan], np.float32)):
        with pytest.raises(ValueError, match=r"Embedding\.vector"):
            Embedding(vector=vector, encoder_id=ENCODER)
    with pytest.raises(ValueError, match=r"Embedding\.encoder_id"):
        Embedding(vector=unit(1.0), encoder_id="mobilefacenet")


def test_a_match_needs_a_candidate_at_the_threshold() -> None:
    for candidate in (None, Candidate(identity_id="a", score=0.49)):
        with pytest.raises(ValueError, match=r"Decision\(MATCH\)"):
            Decision(kind=DecisionKind.MATCH, threshold=0.5, target_fmr=None, candidate=candidate)
    exactly = Decision(
        kind=DecisionKind.MATCH, threshold=0.5, target_fmr=None, candidate=Candidate(identity_id="a", score=0.5)
    )
    assert exactly.margin == 0.0


def test_events_need_a_known_type_and_an_aware_time() -> None:
    for kind in types.EVENT_TYPES:
        Event(event_id="1", event_type=kind, ts=NOW, captured_ns=0, boot_id="b")
    with pytest.raises(ValueError, match="one of"):
        Event(event_id="1", event_type="hello", ts=NOW, captured_ns=0, boot_id="b")
    with pytest.raises(ValueError, match="aware"):
        Event(event_id="1", event_type="gone", ts=datetime(2026, 1, 1), captured_ns=0, boot_id="b")


def test_every_value_type_is_frozen_slotted_and_keyword_only() -> None:
    classes = [
        c for c in vars(types).values() if dataclasses.is_dataclass(c) and c.__module__.startswith(types.__name__)
    ]
    assert len(classes) >= 13 and Template in classes
    for cls in classes:
        parameters = cls.__dataclass_params__
        assert parameters.frozen, cls
        assert "__slots__" in vars(cls), cls
        assert all(f.kw_only for f in dataclasses.fields(cls)), cls
