"""Frames in Pillow's memory: the same pixels as by Pillow's own calls, and no copy of a frame on the way to the chip."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from pictures import Pixels, frame
from PIL import Image

from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.vision.shrink import Reducer, cut, shrink


def noise(width: int, height: int) -> Pixels:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("to", [(192, 144), (50, 7)])
@pytest.mark.parametrize("size", [(640, 480), (1921, 1079), (384, 288), (200, 150), (97, 31)])
def test_bands_give_the_bits_that_pillow_gives(size: tuple[int, int], to: tuple[int, int]) -> None:
    pixels, reduce = noise(*size), Reducer()
    expected = np.asarray(Image.fromarray(pixels).resize(to, Image.Resampling.BILINEAR, reducing_gap=1.0))
    for _ in range(2):  # the second picture meets the band of the first
        assert np.array_equal(shrink(pixels, to, reduce), expected)


@pytest.mark.parametrize("box", [(0, 0, 640, 480), (13, 7, 500, 480), (3, 470, 640, 480), (639, 0, 640, 1)])
def test_a_part_is_cut_and_reduced_as_a_copy_of_it_would_be(box: tuple[int, int, int, int]) -> None:
    pixels, (x0, y0, x1, y1) = noise(640, 480), box
    copy = Image.fromarray(np.ascontiguousarray(pixels[y0:y1, x0:x1]))
    assert np.array_equal(np.asarray(cut(pixels, box)), np.asarray(copy))
    assert np.array_equal(np.asarray(Reducer()(pixels, box, (2, 3))), np.asarray(copy.reduce((2, 3))))


def test_pixels_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match="expected C order"):
        cut(noise(64, 48)[:, ::2], (0, 0, 10, 10))


def test_a_frame_is_not_copied_between_the_camera_and_the_embedding(pipeline: Pipeline, collins: Pixels) -> None:
    """numpy reports its memory to tracemalloc. At most the chip and the cut-outs, and the bytes of the finder's picture."""
    picture = frame(np.ascontiguousarray(np.tile(collins, (2, 2, 1))[:960, :1024]))
    pipeline.encode(pipeline.samples(picture)[0])
    tracemalloc.start()
    try:
        pipeline.encode(pipeline.samples(picture)[0])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < picture.pixels.nbytes / 4
