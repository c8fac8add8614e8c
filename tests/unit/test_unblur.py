"""Faces that moved are sharpened along the rows; all others are encoded as they are."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import Pixels, frame

from edge_oneshot.evaluation.conditions import degrade
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Sample
from edge_oneshot.vision.light import for_encoder
from edge_oneshot.vision.unblur import unblur

LIT = 120.0


def one(pipeline: Pipeline, pixels: Pixels) -> Sample:
    (sample,) = pipeline.samples(frame(pixels))
    return sample


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_a_face_that_moved_is_more_like_its_template_than_without(
    pipeline: Pipeline, portraits: dict[str, Pixels], name: str
) -> None:
    sample = one(pipeline, portraits[name])
    template = pipeline.encode(sample).vector
    length = 2 * round(0.1 * sample.quality.inter_eye_px) + 1
    moved = one(pipeline, degrade.move(portraits[name], length))
    as_it_is = pipeline.encoder.encode(moved.chip).vector
    assert pipeline.encode(moved).vector @ template > as_it_is @ template + 0.01


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_a_face_that_stood_still_is_not_changed(pipeline: Pipeline, portraits: dict[str, Pixels], name: str) -> None:
    pixels = one(pipeline, portraits[name]).chip.pixels
    assert for_encoder(pixels, LIT) is pixels
    soft = degrade.defocus(pixels, 2.0)
    assert unblur(soft) is soft
    empty = np.zeros_like(pixels)
    assert unblur(empty) is empty


def test_detail_along_the_rows_is_restored_and_columns_do_not_mix(pipeline: Pipeline, collins: Pixels) -> None:
    pixels = one(pipeline, collins).chip.pixels
    moved = degrade.move(pixels, 7)
    before, after = (np.abs(p.astype(int) - pixels).mean() for p in (moved, unblur(moved)))
    assert after < 0.95 * before
    assert np.array_equal(unblur(moved)[::-1], unblur(np.ascontiguousarray(moved[::-1])))


def test_a_chip_too_small_for_a_rim_is_left_alone() -> None:
    for side in (8, 20):
        pixels = np.full((side, side, 3), 7, np.uint8)
        assert unblur(pixels) is pixels
