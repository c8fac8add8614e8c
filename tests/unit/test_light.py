"""Dark faces are brightened before they are encoded; all others are encoded as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pictures import Pixels, frame, view
from PIL import Image

from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Frame, Sample
from edge_oneshot.vision.light import DARK, brighten, light_up


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


DARK_PX = 230  # side of the picture: about 20 px between the eyes


def night(collins: Pixels, number: int, source: str) -> Frame:
    """Frame `number` of a dark scene, 100 ms apart, with noise of its own."""
    small = np.asarray(Image.fromarray(collins).resize((DARK_PX, DARK_PX)))
    noise = np.random.default_rng(number).normal(0, 4, small.shape)
    pixels = np.clip(np.rint(small * 0.15 + noise), 0, 255).astype(np.uint8)
    return replace(frame(pixels, captured_ns=1 + number * 100_000_000), source=source)


def roughness(pipeline: Pipeline, seen: Frame) -> float:
    """The noise of the one chip: the spread of the differences of neighbouring pixels."""
    (sample,) = pipeline.samples(seen)
    return float(np.diff(sample.chip.pixels.astype(float), axis=1).std())


def test_the_noise_of_a_dark_face_falls_from_frame_to_frame(pipeline: Pipeline, collins: Pixels) -> None:
    noise = [roughness(pipeline, night(collins, i, "falls")) for i in range(9)]
    assert noise[1] < 0.9 * noise[0]
    assert noise[8] < 0.75 * noise[0]


def test_another_camera_a_gap_and_a_step_back_start_afresh(pipeline: Pipeline, collins: Pixels) -> None:
    first, _, _, averaged = (roughness(pipeline, night(collins, i, "a")) for i in range(4))
    assert averaged < 0.85 * first
    for number, source in ((4, "b"), (30, "b"), (29, "b")):
        assert roughness(pipeline, night(collins, number, source)) > 0.95 * first


def test_a_lit_face_and_a_still_picture_are_never_averaged(pipeline: Pipeline, collins: Pixels) -> None:
    lit = [replace(frame(collins, captured_ns=1 + i), source="lit") for i in range(2)]
    first, second = (pipeline.samples(f)[0].chip.pixels for f in lit)
    assert np.array_equal(first, second)
    stills = [night(collins, i, "still") for i in range(2)]
    alone = pipeline.picture_samples(stills[1])[0].chip.pixels
    pipeline.samples(stills[0])
    assert np.array_equal(pipeline.picture_samples(stills[1])[0].chip.pixels, alone)


def test_the_landmark_network_sees_a_lit_cut_out_as_it_is(collins: Pixels) -> None:
    assert light_up(collins) is collins
    half = collins.copy()
    half[:, 300:] = 0
    assert light_up(half) is half, "a cut-out that lies half outside the picture is not dark"
    night = (collins * 0.1).astype(np.uint8)
    assert light_up(night).mean() > 4 * night.mean()
