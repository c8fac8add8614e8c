"""Exposure by faces, against a simple camera: luma follows light to the power of 1 / 2.2."""

from __future__ import annotations

import pytest

from edge_oneshot.cameras.exposure import MOST_STOPS, TOO_BRIGHT, TOO_DARK, FaceExposure, bounded

FRAME_NS = 100_000_000


def play(exposure: FaceExposure, luma: float, frames: int, start: int = 0) -> list[float]:
    """What the camera shows of a face that has this luma at its own exposure, frame by frame."""
    seen = []
    for number in range(start, start + frames):
        seen.append(min(255.0, luma * 2 ** (exposure.stops / 2.2)))
        exposure.follow([seen[-1]], number * FRAME_NS)
    return seen


@pytest.mark.parametrize("luma", [35.0, 45.0, 59.0])
def test_a_dark_face_becomes_light_enough_and_stays_so(luma: float) -> None:
    exposure = FaceExposure()
    seen = play(exposure, luma, 60)
    assert TOO_DARK <= seen[-1] <= TOO_BRIGHT and 0 < exposure.stops <= MOST_STOPS
    assert len(set(seen[30:])) == 1, "it settles"


def test_the_raise_is_bounded_and_never_negative() -> None:
    night, bright = FaceExposure(), FaceExposure()
    play(night, 3.0, 100)
    play(bright, 240.0, 100)
    assert night.stops == MOST_STOPS and bright.stops == 0.0


def test_a_face_that_is_lit_again_gets_the_exposure_of_the_camera_back() -> None:
    exposure = FaceExposure()
    play(exposure, 35.0, 60)
    play(exposure, 140.0, 60, start=60)
    assert exposure.stops < 0.6


def test_without_faces_the_exposure_is_that_of_the_camera() -> None:
    exposure = FaceExposure()
    play(exposure, 35.0, 60)
    exposure.follow([], 64 * FRAME_NS)
    assert exposure.stops > 0, "a person who turns the head is still there"
    exposure.follow([], 120 * FRAME_NS)
    assert exposure.stops == 0.0


def test_a_control_is_kept_within_the_limits_of_the_camera() -> None:
    limits = (-1.0, 1.0, 0.0)
    assert [bounded(v, limits) for v in (-2.0, 0.5, 2.0)] == [-1.0, 0.5, 1.0]
