"""Dark faces are brightened before they are encoded; all others are encoded as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from pictures import Pixels, frame, view
from PIL import Image

from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Frame, Sample
from edge_oneshot.vision import align
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


def night(pixels: Pixels, number: int, source: str = "camera", step_ns: int = 100_000_000) -> Frame:
    noise = np.random.default_rng(number).normal(0, 4, pixels.shape)
    dark = np.clip(np.rint(pixels * 0.1 + noise), 0, 255).astype(np.uint8)
    return replace(frame(dark, captured_ns=1 + number * step_ns), source=source)


def noise_of(pipeline: Pipeline, frames: Sequence[Frame], clean: Pixels) -> list[float]:
    """How far the chip of each frame is from that of the same picture without noise."""
    found = []
    for seen in frames:
        (sample,) = pipeline.samples(seen)
        quiet = align.align(frame(clean), sample.face, pipeline.encoder.card).pixels * 0.1
        found.append(float(np.std(sample.chip.pixels - quiet)))
    return found


def test_the_noise_of_a_dark_face_falls_from_frame_to_frame(pipeline: Pipeline, collins: Pixels) -> None:
    small = np.asarray(Image.fromarray(collins).resize((230, 230)))
    noise = noise_of(pipeline, [night(small, i, "falls") for i in range(9)], small)
    assert noise[1] < 0.85 * noise[0]
    assert noise[8] < 0.6 * noise[0]


def test_another_camera_a_gap_and_a_step_back_start_afresh(pipeline: Pipeline, collins: Pixels) -> None:
    small = np.asarray(Image.fromarray(collins).resize((230, 230)))
    frames = [night(small, i, "a") for i in range(4)]
    frames += [night(small, 4, "b"), night(small, 30, "b"), night(small, 29, "b")]
    noise = noise_of(pipeline, frames, small)
    assert noise[3] < 0.8 * noise[0]
    assert all(n > 0.9 * noise[0] for n in noise[4:])


def test_a_lit_face_and_a_still_picture_are_never_averaged(pipeline: Pipeline, collins: Pixels) -> None:
    lit = [replace(frame(collins, captured_ns=1 + i), source="lit") for i in range(2)]
    first, second = (pipeline.samples(f)[0].chip.pixels for f in lit)
    assert np.array_equal(first, second)
    stills = [night(collins, i, "still") for i in range(2)]
    alone = pipeline.picture_samples(stills[1])[0].chip.pixels
    pipeline.samples(stills[0])
    assert np.array_equal(pipeline.picture_samples(stills[1])[0].chip.pixels, alone)
