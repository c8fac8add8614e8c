"""Dark faces are brightened before they are encoded; all others are encoded as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pictures import Pixels, frame, view

from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Sample
from edge_oneshot.vision.light import DARK, brighten


def dark(pixels: Pixels, share: float) -> Pixels:
    noise = np.random.default_rng(0).normal(0, 4, pixels.shape)
    return np.clip(np.rint(pixels * share + noise), 0, 255).astype(np.uint8)


def one(pipeline: Pipeline, pixels: Pixels) -> Sample:
    (sample,) = pipeline.samples(frame(pixels))
    return sample


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_a_dark_face_is_more_like_its_template_than_without(
    pipeline: Pipeline, portraits: dict[str, Pixels], name: str
) -> None:
    template = pipeline.encode(one(pipeline, portraits[name])).vector
    night = one(pipeline, dark(view(portraits[name], 1), 0.12))
    assert night.quality.luma < 20
    as_it_is = pipeline.encoder.encode(night.chip).vector
    assert pipeline.encode(night).vector @ template > as_it_is @ template + 0.05


def test_a_face_that_can_be_enrolled_is_not_changed(pipeline: Pipeline, hopper: Pixels) -> None:
    sample = one(pipeline, hopper)
    assert brighten(sample.chip.pixels, DARK) is sample.chip.pixels
    assert np.array_equal(pipeline.encode(sample).vector, pipeline.encoder.encode(sample.chip).vector)


def test_a_dark_drawing_is_no_face(pipeline: Pipeline, hopper: Pixels) -> None:
    night = replace(one(pipeline, dark(hopper, 0.12)), face=None)
    assert np.array_equal(pipeline.encode(night).vector, pipeline.encoder.encode(night.chip).vector)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("luma", [0.0, 5.0, 30.0])
def test_shape_and_brightness(channels: int, luma: float) -> None:
    pixels = np.full((40, 40, channels), round(luma), np.uint8)
    bright = brighten(pixels, luma)
    assert (bright.shape, bright.dtype) == (pixels.shape, pixels.dtype)
    assert bright.mean() == pytest.approx(min(12 * luma, 110), abs=4)
