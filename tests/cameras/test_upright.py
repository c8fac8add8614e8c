"""Rotation, mirror, pace and pixel formats: pure functions, compared with simple oracles."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from edge_oneshot.cameras.base import Adapter, EndOfStream, Pacer, Shot, Thinner, upright
from edge_oneshot.cameras.libcamera_pixels import to_rgb
from edge_oneshot.errors import CameraError

PICTURES = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
TURNS = st.sampled_from([0, 90, 180, 270])


@given(PICTURES, TURNS, st.booleans())
def test_upright_equals_pillow(pixels: np.ndarray, rotation: int, mirror: bool) -> None:
    image = Image.fromarray(pixels).rotate(-rotation, expand=True)  # Pillow turns counter-clockwise
    if mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = upright(pixels, rotation, mirror)
    assert np.array_equal(turned, np.asarray(image))
    assert turned.flags.c_contiguous and turned.dtype == np.uint8


@given(PICTURES, TURNS, TURNS, st.booleans())
def test_rotations_add_up_and_two_mirrors_cancel(pixels: np.ndarray, a: int, b: int, mirror: bool) -> None:
    assert np.array_equal(upright(upright(pixels, a, False), b, mirror), upright(pixels, (a + b) % 360, mirror))
    assert np.array_equal(upright(upright(pixels, 0, True), 0, True), pixels)


@given(PICTURES, st.sampled_from([0, 180]), st.booleans())
def test_the_sensors_two_flips_equal_half_turn_and_mirror(pixels: np.ndarray, rotation: int, mirror: bool) -> None:
    """picamera2 gets hflip = (half turn) != mirror, vflip = half turn."""
    half = rotation == 180
    flipped = pixels[::-1] if half else pixels
    flipped = flipped[:, ::-1] if half != mirror else flipped
    assert np.array_equal(flipped, upright(pixels, rotation, mirror))


def test_another_angle_is_refused() -> None:
    with pytest.raises(ValueError, match="got 45"):
        upright(np.zeros((2, 2, 3), np.uint8), 45, False)


def test_lores_is_rotated_like_the_main_picture() -> None:
    class Still(Adapter):
        def grab(self, timeout_s: float) -> Shot:
            pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
            return Shot(pixels=pixels, lores=pixels[::2, ::2], captured_ns=time.monotonic_ns())

        def close(self) -> None:
            pass

    frame = Still("still:", rotation=90, mirror=True).read(1.0)
    assert frame.lores is not None and not frame.lores.flags.writeable and frame.lores.flags.c_contiguous
    plain = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(frame.lores, upright(plain[::2, ::2], 90, True))
    assert frame.size == (4, 6)


@given(st.floats(1, 60), st.floats(1, 60))
def test_thinner_shows_the_configured_rate_or_that_of_the_source(source_fps: float, asked_fps: float) -> None:
    thinner = Thinner(asked_fps)
    seconds = 20
    shown = sum(thinner.wanted(i / source_fps) for i in range(int(seconds * source_fps)))
    assert shown <= seconds * asked_fps * 1.35 + 1
    assert shown >= min(source_fps, asked_fps) * seconds * 0.5 - 1


def test_thinner_takes_exactly_every_third_picture_at_three_times_the_rate() -> None:
    thinner = Thinner(10.0)
    assert [i for i in range(301) if thinner.wanted(i / 30)] == list(range(0, 301, 3))


@given(st.lists(st.floats(-0.02, 0.02), min_size=20, max_size=60))
def test_thinner_keeps_a_jittering_source_of_the_configured_rate(jitter: list[float]) -> None:
    thinner = Thinner(10.0)
    times = sorted(i / 10 + j for i, j in enumerate(jitter))
    assert sum(thinner.wanted(t) for t in times) >= len(times) - 1


def test_pacer_does_not_catch_up_after_a_delay() -> None:
    pacer = Pacer("camera", threading.Event())
    first_ns = pacer.release(0.0)
    time.sleep(0.05)  # decoding takes longer than the 10 ms to the next picture
    late_ns = pacer.release(0.01)
    next_ns = pacer.release(0.02)
    assert late_ns - first_ns >= 50_000_000 and next_ns - late_ns == 10_000_000


def test_stop_ends_a_pacer() -> None:
    stop = threading.Event()
    pacer = Pacer("camera", stop)
    pacer.release(0.0)
    stop.set()
    with pytest.raises(EndOfStream):
        pacer.release(600.0)


def smooth(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], axis=2).astype(np.uint8)


def planes(rgb: np.ndarray, limited: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y (H, W), U and V (H/2, W/2), by the formulas of BT.601 in float: an oracle independent of Pillow's tables."""
    r, g, b = (rgb[..., i].astype(np.float64) for i in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u, v = (b - y) / 1.772, (r - y) / 1.402
    if limited:
        y, u, v = 16 + y * 219 / 255, u * 224 / 255, v * 224 / 255
    halve = [c.reshape(c.shape[0] // 2, 2, c.shape[1] // 2, 2).mean(axis=(1, 3)) for c in (u, v)]
    return tuple(np.clip(np.rint(c), 0, 255).astype(np.uint8) for c in (y, halve[0] + 128, halve[1] + 128))  # type: ignore[return-value]


def padded(rows: np.ndarray, stride: int) -> np.ndarray:
    return np.pad(rows, ((0, 0), (0, stride - rows.shape[1])), constant_values=77)


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("stride", [64, 96])
@pytest.mark.parametrize("pixel_format", ["YUV420", "YVU420", "NV12", "NV21", "YUYV", "UYVY", "YVYU", "VYUY"])
def test_yuv_formats(pixel_format: str, stride: int, limited: bool) -> None:
    width, height = 64, 48
    rgb = smooth(width, height)
    y, u, v = planes(rgb, limited)
    if pixel_format in ("YUV420", "YVU420"):
        first, second = (u, v) if pixel_format == "YUV420" else (v, u)
        chroma = np.concatenate([padded(first, stride // 2), padded(second, stride // 2)])
        array = np.concatenate([padded(y, stride), chroma.reshape(height // 2, stride)])
    elif pixel_format in ("NV12", "NV21"):
        pair = np.stack([u, v] if pixel_format == "NV12" else [v, u], axis=2).reshape(height // 2, width)
        array = np.concatenate([y, pair])  # make_array has cut the padding off
    else:
        full = {"U": np.repeat(u, 2, axis=0), "V": np.repeat(v, 2, axis=0)}
        line = np.empty((height, width * 2), np.uint8)
        line[:, pixel_format.index("Y") :: 2] = y
        for letter in "UV":
            line[:, pixel_format.index(letter) :: 4] = full[letter]
        array = padded(line, stride * 2).reshape(height, stride, 2)
    back = to_rgb(array, pixel_format, (width, height), limited_range=limited)
    assert back.shape == (height, width, 3) and back.flags.c_contiguous
    assert np.abs(back.astype(int) - rgb)[2:-2, 2:-2].max() <= 6  # halved chroma and 8-bit rounding
    half = to_rgb(array, pixel_format, (width, height), limited_range=limited, half=True)
    means = back.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    assert half.shape == means.shape and half.flags.c_contiguous
    assert np.abs(half - means).max() <= 3, "as the whole picture, made smaller"


@pytest.mark.parametrize(
    ("pixel_format", "order"), [("BGR888", "rgb"), ("RGB888", "bgr"), ("XBGR8888", "rgbx"), ("XRGB8888", "bgrx")]
)
def test_the_names_of_rgb_formats_are_reversed(pixel_format: str, order: str) -> None:
    value = {"r": 10, "g": 20, "b": 30, "x": 40}
    array = np.array([[[value[c] for c in order]] * 4] * 3, np.uint8)
    back = to_rgb(array, pixel_format, (4, 3))
    assert np.array_equal(to_rgb(array, pixel_format, (4, 3), half=True), back[:2, :2])
    assert tuple(back[1, 1]) == (10, 20, 30) and back.flags.c_contiguous and back.shape == (3, 4, 3)


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(CameraError, match="SRGGB10"):
        to_rgb(np.zeros((2, 2), np.uint8), "SRGGB10", (2, 2))
