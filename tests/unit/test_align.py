"""Alignment against a float oracle, and the transform against transforms that are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from pictures import Pixels, frame
from samples import face

from edge_oneshot.model.bundle import Bundle
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Float64Array
from edge_oneshot.vision.align import align, estimate_similarity, undo, warp, whole_frame


def similarity(scale: float, degrees: float, x: float, y: float) -> Float64Array:
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return np.array([[c, -s, x], [s, c, y]])


def apply(transform: Float64Array, points: Float64Array) -> Float64Array:
    return points @ transform[:, :2].T + transform[:, 2]


def keys(distance: float) -> float:
    """The kernel of cubic convolution (Keys 1981) with a = -1, as in Pillow's transforms; resizing has a = -1/2."""
    d = abs(distance)
    if d >= 2:
        return 0.0
    return d**3 - 2 * d**2 + 1 if d < 1 else -(d**3) + 5 * d**2 - 8 * d + 4


def oracle_warp(
    pixels: Pixels, transform: Float64Array, size: tuple[int, int], *, smooth: bool = False
) -> Float64Array:
    """Bilinear or cubic sampling at pixel centres, in float64, black outside; for transforms that do not shrink."""
    width, height = size
    inverse = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))
    result = np.zeros((height, width, 3))
    for v in range(height):
        for u in range(width):
            x, y, _ = inverse @ (u + 0.5, v + 0.5, 1)
            if not (0 <= x < pixels.shape[1] and 0 <= y < pixels.shape[0]):
                continue
            x, y = x - 0.5, y - 0.5
            x0, y0 = math.floor(x), math.floor(y)
            steps = range(-1, 3) if smooth else range(2)
            for dy, dx in itertools.product(steps, steps):
                px, py = min(max(x0 + dx, 0), pixels.shape[1] - 1), min(max(y0 + dy, 0), pixels.shape[0] - 1)
                kernel = keys if smooth else lambda d: 1 - abs(d)
                result[v, u] += kernel(x - (x0 + dx)) * kernel(y - (y0 + dy)) * pixels[py, px]
    return np.clip(result, 0, 255)


@pytest.mark.parametrize(
    ("scale", "degrees", "x", "y"),
    [
        (1.0, 0, -200, -60),
        (1.0, 0, -200.25, -60.5),
        (1.7, 12, -350, -190),
        (1.0, -30, -60, 80),
        (3.0, 180, 800, 500),
        (1.2, 5, 20, 10),
    ],
)
def test_the_warp_agrees_with_a_float_oracle(collins: Pixels, scale: float, degrees: float, x: float, y: float) -> None:
    transform, size = similarity(scale, degrees, x, y), (64, 48)
    got, expected = warp(collins, transform, size).astype(float), oracle_warp(collins, transform, size)
    assert got.shape == (48, 64, 3)
    # Rows whose samples fall onto the very border of the frame may go either way.
    differs = np.abs(got - expected).max(axis=2) > 1.01
    assert differs.mean() < 0.02
    assert np.abs(got - expected)[~differs].max() <= 1.01


@pytest.mark.parametrize(("scale", "degrees", "x", "y"), [(1.7, 12, -350, -190), (3.0, -20, -500, -200)])
def test_enlarging_by_cubic_curves_agrees_with_a_float_oracle(
    collins: Pixels, scale: float, degrees: float, x: float, y: float
) -> None:
    transform, size = similarity(scale, degrees, x, y), (64, 48)
    got = warp(collins, transform, size, smooth=True).astype(float)
    differs = np.abs(got - oracle_warp(collins, transform, size, smooth=True)).max(axis=2) > 1.6
    assert differs.mean() < 0.02
    straight = oracle_warp(collins, transform, size)
    assert np.abs(got - straight).max() > 3


def test_only_faces_that_are_enlarged_by_much_are_interpolated_by_cubic_curves(
    pipeline: Pipeline, collins: Pixels
) -> None:
    card, whole = pipeline.encoder.card, frame(collins)
    for size, smooth in ((50.0, True), (65.0, False)):  # 20 and 26 px between the eyes
        chip = align(whole, face(190.0, 60.0, size), card)
        kinds = [
            warp(collins, chip.transform, (card.input.width_px, card.input.height_px), smooth=s) for s in (True, False)
        ]
        assert [np.array_equal(chip.pixels, k) for k in kinds] == [smooth, not smooth]


@pytest.mark.parametrize("shrink", [2, 3, 4.5])
def test_shrinking_averages_and_does_not_alias(shrink: float) -> None:
    """A chessboard of single pixels becomes grey; point sampling would keep black and white."""
    board = ((np.indices((400, 400)).sum(axis=0) % 2) * 255).astype(np.uint8)
    chip = warp(np.repeat(board[..., None], 3, axis=2), similarity(1 / shrink, 0, 0, 0), (60, 60))
    assert 100 < chip.mean() < 155
    assert chip.std() < 70


def test_shrinking_keeps_positions(collins: Pixels) -> None:
    """Half size by warp = the mean of 2 x 2 pixels, not shifted by half a pixel."""
    chip = warp(collins, similarity(0.5, 0, 0, 0), (256, 256)).astype(float)
    means = collins.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(chip - means)[1:-1, 1:-1].max() <= 1.0


def test_outside_the_frame_is_black() -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    assert (warp(white, similarity(1, 0, 1000, 0), (32, 32)) == 0).all()
    half = warp(white, similarity(1, 0, 16, 0), (32, 32))
    assert (half[:, :15] == 0).all()
    assert (half[:, 17:] == 255).all()


def test_a_known_similarity_is_recovered() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (5, 2))
    for truth in (similarity(1, 0, 0, 0), similarity(0.3, 170, -5, 9), similarity(4, -45, 1e3, -1e3)):
        assert np.allclose(estimate_similarity(points, apply(truth, points)), truth, atol=1e-9)


def test_the_estimate_is_the_best_there_is() -> None:
    """Against noise: no nearby similarity has a smaller squared error (oracle: trying many)."""
    generator = np.random.default_rng(3)
    source, target = generator.uniform(0, 100, (2, 4, 2))
    best = estimate_similarity(source, target)

    def error(t: Float64Array) -> float:
        return float(((apply(t, source) - target) ** 2).sum())

    a, b, x, y = best[0, 0], best[1, 0], best[0, 2], best[1, 2]
    for da, db, dx, dy in generator.normal(0, 0.01, (300, 4)):
        other = np.array([[a + da, -b - db, x + 100 * dx], [b + db, a + da, y + 100 * dy]])
        assert error(other) >= error(best) - 1e-9


def test_no_reflection_is_ever_made() -> None:
    points = np.array([[0.0, 0.0], [10, 0], [5, 8]])
    mirrored = points * (-1, 1)
    assert np.linalg.det(estimate_similarity(points, mirrored)[:, :2]) > 0


def test_coinciding_points_are_refused() -> None:
    with pytest.raises(ValueError, match="expected distinct points"):
        estimate_similarity(np.ones((3, 2)), np.random.default_rng(0).uniform(size=(3, 2)))


def test_landmarks_land_on_the_cards_points(pipeline: Pipeline, portraits: dict[str, Pixels]) -> None:
    card = pipeline.encoder.card
    for pixels in portraits.values():
        (sample,) = pipeline.samples(frame(pixels))
        assert sample.face is not None
        for name, point in card.alignment.items():
            landed = apply(sample.chip.transform, np.array([sample.face.landmark(name)]))[0]
            assert math.dist(landed, point) < 8, name


def test_a_detector_without_the_landmark_is_named(encoder_bundle: Bundle, collins: Pixels) -> None:
    from dataclasses import replace

    other = replace(face(), landmark_names=("image_left_eye", "image_right_eye", "tip", "mouth", "a", "b"))
    with pytest.raises(KeyError, match="nose"):
        align(frame(collins), other, encoder_bundle.encoder)


def grey_card(card: EncoderCard, size: int) -> EncoderCard:
    from dataclasses import replace

    spec = replace(card.input, width_px=size, height_px=size, channels=1, colour="L", mean=(0.0,), std=(1.0,))
    return replace(card, input=spec)


def test_a_grey_chip_is_bt601_luma(encoder_bundle: Bundle, collins: Pixels) -> None:
    colour = align(frame(collins), face(180, 60, 90), encoder_bundle.encoder)
    grey = align(frame(collins), face(180, 60, 90), grey_card(encoder_bundle.encoder, 112))
    luma = colour.pixels.astype(float) @ (0.299, 0.587, 0.114)
    assert grey.pixels.shape == (112, 112, 1)
    assert np.abs(grey.pixels[..., 0] - luma).max() <= 0.51


@pytest.mark.parametrize("size", [28, 105, 700])
def test_a_whole_frame_is_stretched_to_the_cards_size(encoder_bundle: Bundle, hopper: Pixels, size: int) -> None:
    chip = whole_frame(frame(hopper), grey_card(encoder_bundle.encoder, size))
    assert chip.pixels.shape == (size, size, 1)
    corners = apply(chip.transform, np.array([[0.0, 0.0], [512, 600]]))
    assert np.allclose(corners, [[0, 0], [size, size]])
    luma = (hopper.astype(float) @ (0.299, 0.587, 0.114)).mean()
    assert chip.pixels.mean() == pytest.approx(luma, abs=1.5)


def test_the_same_points_give_the_same_bits_everywhere() -> None:
    """Written down on one processor, true on all: plain float operations in a fixed order, nothing fused."""
    source = np.array([[101.3, 87.1], [143.7, 85.9], [123.3, 111.7], [121.9, 133.3]])
    target = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [56.1, 92.3]])
    transform = estimate_similarity(source, target)
    assert [v.hex() for v in transform[:, [0, 2]].ravel().tolist()] == [
        "0x1.b2bc48ef7a23cp-1",
        "-0x1.80fcda0d88e8dp+5",
        "-0x1.a6e7b660ac03fp-12",
        "-0x1.5e179e5b4948cp+4",
    ]
    assert [v.hex() for v in undo(transform, target).ravel().tolist()] == [
        "0x1.96f7ed34b5613p+6",
        "0x1.5ad362218b74fp+6",
        "0x1.1e657e90eb116p+7",
        "0x1.59f65943f8b9fp+6",
        "0x1.ea4e8afc1b255p+6",
        "0x1.b9156112b8803p+6",
        "0x1.eabb577a26239p+6",
        "0x1.0d1071c3e1a87p+7",
    ]


def test_a_grey_chip_rounds_halves_up(encoder_bundle: Bundle) -> None:
    """Luma of this colour is 26.5; float32 makes 26.499998 of it, here and there."""
    plain = np.full((300, 300, 3), (4, 40, 16), np.uint8)
    grey = align(frame(plain), face(100, 100, 90), grey_card(encoder_bundle.encoder, 112))
    assert (grey.pixels[40:70, 40:70] == 27).all()
