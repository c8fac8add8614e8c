"""Quality: the measures compared with their definitions, a picture that fails each gate, and messages with the fix."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pictures import Pixels, empty_scene, frame
from PIL import Image, ImageEnhance, ImageFilter
from samples import face

from edge_oneshot.config import EnrollmentConfig, QualityConfig
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Chip, Face, Fault, Frame, Quality
from edge_oneshot.vision import align
from edge_oneshot.vision.gates import probe_faults, reference_faults
from edge_oneshot.vision.quality import estimate_pitch_deg, estimate_yaw_deg, laplacian, measure, outside

GATES, REFERENCE = QualityConfig(), EnrollmentConfig()


def probe(f: Frame, face: Face, chip: Chip, gates: QualityConfig = GATES) -> tuple[Fault, ...]:
    return probe_faults(measure(f, face, chip), face, f, gates, fills=False)


def template(f: Frame, face: Face, chip: Chip, gates: EnrollmentConfig = REFERENCE) -> tuple[Fault, ...]:
    return reference_faults(measure(f, face, chip), face, f, gates, fills=False)


def faults(pipeline: Pipeline, picture: Pixels | Image.Image) -> dict[str, str]:
    (sample,) = pipeline.samples(frame(np.asarray(picture)))
    return {f.code: f.message for f in sample.reference_faults}


def test_the_portraits_have_no_fault(pipeline: Pipeline, portraits: dict[str, Pixels]) -> None:
    for pixels in portraits.values():
        assert faults(pipeline, pixels) == {}


def test_dark(pipeline: Pipeline, hopper: Pixels) -> None:
    found = faults(pipeline, ImageEnhance.Brightness(Image.fromarray(hopper)).enhance(0.2))
    assert "more light on the face" in found["too_dark"]


def test_bright(pipeline: Pipeline, hopper: Pixels) -> None:
    found = faults(pipeline, np.clip(hopper.astype(int) + 160, 0, 255).astype(np.uint8))
    assert "less light" in found["too_bright"]


def test_flat(pipeline: Pipeline, hopper: Pixels) -> None:
    found = faults(pipeline, ImageEnhance.Contrast(Image.fromarray(hopper)).enhance(0.1))
    assert "clean the lens" in found["flat"]


def test_blurred(pipeline: Pipeline, hopper: Pixels) -> None:
    found = faults(pipeline, Image.fromarray(hopper).filter(ImageFilter.GaussianBlur(9)))
    assert set(found) == {"blurred"}
    assert "hold still" in found["blurred"]


def test_far(pipeline: Pipeline, hopper: Pixels) -> None:
    scene = Image.fromarray(empty_scene())
    scene.paste(Image.fromarray(hopper).resize((102, 120), Image.Resampling.LANCZOS), (260, 180))
    found = faults(pipeline, scene)
    assert "24 needed: come closer" in found["too_far"]


def test_a_capture_too_poor_for_a_template_is_compared(pipeline: Pipeline, hopper: Pixels) -> None:
    """A poor probe raises no false match rate; a poor template does."""
    far = Image.fromarray(empty_scene())
    far.paste(Image.fromarray(hopper).resize((102, 120), Image.Resampling.LANCZOS), (260, 180))
    dark = ImageEnhance.Brightness(Image.fromarray(hopper)).enhance(0.2)
    for picture in (far, dark):
        (sample,) = pipeline.samples(frame(np.asarray(picture)))
        assert sample.reference_faults
        assert sample.faults == ()


def test_cropped(pipeline: Pipeline, hopper: Pixels) -> None:
    found = faults(pipeline, hopper[:270])  # the border is above the mouth
    assert "move to the middle" in found["cropped"]


@pytest.mark.parametrize(
    "cut",
    [lambda h, keep: h[keep:], lambda h, keep: h[:, keep:], lambda h, keep: h[:, :-keep]],
    ids=["top", "left", "right"],
)
def test_a_face_cut_by_the_border_although_every_landmark_is_visible(
    pipeline: Pipeline, hopper: Pixels, cut: Any
) -> None:
    """The measured share grows with the part that is cut off, and the gates refuse above their limits."""
    shares = []
    for keep in range(0, 240, 10):
        picture = np.ascontiguousarray(cut(hopper, keep) if keep else hopper)
        (sample,) = pipeline.samples(frame(picture))
        shares.append(sample.quality.cropped)
        height, width = sample.chip.pixels.shape[:2]
        seen = align.warp(np.full_like(picture, 255), sample.chip.transform, (width, height))
        assert sample.quality.cropped == pytest.approx(1 - seen.mean() / 255, abs=0.02), (
            "what the chip really shows of the picture"
        )
        refused = "cropped" in {f.code for f in sample.reference_faults}
        assert refused == (sample.quality.cropped > REFERENCE.max_cropped)
        if refused:
            break
    assert shares[0] == 0.0 and shares[-1] > REFERENCE.max_cropped and shares == sorted(shares)


@pytest.mark.parametrize(
    ("turn", "shift", "expected"),
    [
        (0, (0, 0), 0.0),
        (0, (-10, 0), 0.1),
        (0, (0, -25), 0.25),
        (0, (150, 0), 0.5),
        (0, (-10, 175), 1 - 0.9 * 0.25),
        (0, (500, 0), 1.0),
        (45, (0, 0), 0.5),
        (90, (0, 0), 1.0),
    ],
)
def test_the_share_outside_computed_by_hand(turn: float, shift: tuple[float, float], expected: float) -> None:
    """A chip of 100 px on a frame of 200 px: its corner is at `shift`, and it is rotated around that corner."""
    t = math.radians(turn)
    c, s = math.cos(t), math.sin(t)
    x, y = shift
    transform = np.array([[c, s, -c * x - s * y], [-s, c, s * x - c * y]])  # frame -> chip
    assert outside(transform, (100, 100), (200, 200)) == pytest.approx(expected, abs=1e-9)


def turned(yaw_deg: float, roll_deg: float = 0.0, pitch_deg: float = 0.0) -> Face:
    """A head model under orthography: eyes 63 mm apart, nose 37 mm below and 35 mm in front of them, mouth 64 and 8 mm.

    The head pitches before it turns, so its own axes are kept.
    """
    yaw, roll, pitch = math.radians(yaw_deg), math.radians(roll_deg), math.radians(pitch_deg)
    points = [(-31.5, 0, 0), (31.5, 0, 0), (0, 36.5, 34.65), (0, 63.6, 7.6), (-70, 10, -60), (70, 10, -60)]
    points = [
        (x, y * math.cos(pitch) + z * math.sin(pitch), z * math.cos(pitch) - y * math.sin(pitch)) for x, y, z in points
    ]
    seen = [(x * math.cos(yaw) + z * math.sin(yaw), y) for x, y, z in points]
    seen = [
        (200 + x * math.cos(roll) - y * math.sin(roll), 200 + x * math.sin(roll) + y * math.cos(roll)) for x, y in seen
    ]
    return replace(face(), landmarks=np.array(seen, dtype=np.float32))


@pytest.mark.parametrize("roll", [0, 25, -140])
@pytest.mark.parametrize("yaw", [-70, -30, 0, 15, 60])
def test_yaw_of_a_model_head(yaw: float, roll: float) -> None:
    assert estimate_yaw_deg(turned(yaw, roll)) == pytest.approx(yaw, abs=1.0)


@pytest.mark.parametrize("roll", [0, 25, -140])
@pytest.mark.parametrize("yaw", [-30, 0, 20])
@pytest.mark.parametrize("pitch", [-45, -10, 0, 30, 50])
def test_pitch_of_a_model_head(pitch: float, yaw: float, roll: float) -> None:
    assert estimate_pitch_deg(turned(yaw, roll, pitch)) == pytest.approx(pitch, abs=1.0)


def test_pitch_of_frontal_portraits_is_near_zero(pipeline: Pipeline, hopper: Pixels, collins: Pixels) -> None:
    for picture in (hopper, collins):
        (sample,) = pipeline.samples(frame(picture))
        assert abs(sample.quality.pitch_deg) < 12
        assert sample.face is not None
        low = replace(sample.face, landmarks=sample.face.landmarks.copy())
        low.landmarks[low.landmark_names.index("nose"), 1] += 0.2 * sample.face.inter_eye_px
        assert estimate_pitch_deg(low) > sample.quality.pitch_deg + 10


def test_eyes_in_one_place_are_a_profile() -> None:
    points = face().landmarks.copy()
    points[1] = points[0]
    assert estimate_yaw_deg(replace(face(), landmarks=points)) == 90.0
    assert estimate_pitch_deg(replace(face(), landmarks=points)) == 90.0


def test_a_mouth_above_the_eyes_is_no_face_to_compare() -> None:
    points = turned(0).landmarks.copy()
    points[3] = points[0] - (0, 20)
    assert estimate_pitch_deg(replace(turned(0), landmarks=points)) == 90.0


def grey_chip(luma: np.ndarray) -> Chip:
    return Chip(pixels=luma.astype(np.uint8)[..., None], transform=np.eye(2, 3))


def test_a_face_turned_too_far(collins: Pixels) -> None:
    chip = grey_chip(np.random.default_rng(0).integers(60, 200, (32, 32)))
    assert [f.code for f in probe(frame(collins), turned(65), chip)] == ["turned"]
    assert not probe(frame(collins), turned(-55), chip)


def test_a_camera_too_far_above_or_below(collins: Pixels) -> None:
    chip = grey_chip(np.random.default_rng(0).integers(60, 200, (32, 32)))
    (above,) = probe(frame(collins), turned(0, 0, 45), chip)
    (below,) = probe(frame(collins), turned(0, 0, -45), chip)
    assert (above.code, below.code) == ("tilted", "tilted")
    assert "45 degrees above" in above.message
    assert "lower" in above.message
    assert "45 degrees below" in below.message
    assert "higher" in below.message
    assert not probe(frame(collins), turned(0, 0, 35), chip)


def test_a_template_is_more_frontal_than_a_probe(collins: Pixels) -> None:
    chip = grey_chip(np.random.default_rng(0).integers(60, 200, (32, 32)))
    assert not probe(frame(collins), turned(40, 0, 30), chip)
    assert [f.code for f in template(frame(collins), turned(40, 0, 30), chip)] == ["turned", "tilted"]
    assert not template(frame(collins), turned(-25, 0, 15), chip)


def test_the_measures_equal_their_definitions() -> None:
    luma = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.float32)
    expected = np.array(
        [
            [luma[y - 1, x] + luma[y + 1, x] + luma[y, x - 1] + luma[y, x + 1] - 4 * luma[y, x] for x in range(1, 29)]
            for y in range(1, 19)
        ]
    )
    assert np.allclose(laplacian(luma), expected)
    quality = measure(frame(np.zeros((400, 400, 3), np.uint8)), face(), grey_chip(luma))
    assert quality.sharpness == pytest.approx(expected.var(), rel=1e-4)
    assert (quality.luma, quality.contrast) == (pytest.approx(luma.mean()), pytest.approx(luma.std(), rel=1e-5))
    assert quality.inter_eye_px == pytest.approx(40.0)


def test_luma_is_that_of_bt601() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:] = (200, 100, 50)
    quality = measure(frame(np.zeros((400, 400, 3), np.uint8)), face(), Chip(pixels=pixels, transform=np.eye(2, 3)))
    assert quality.luma == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=1e-3)


def test_a_whole_frame_has_no_eyes_and_no_gates() -> None:
    quality = measure(frame(np.zeros((40, 40, 3), np.uint8)), None, grey_chip(np.zeros((16, 16))))
    assert quality == Quality(inter_eye_px=0.0, sharpness=0.0, luma=0.0, contrast=0.0, yaw_deg=0.0)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("min_inter_eye_px", "too_far"),
        ("min_luma", "too_dark"),
        ("max_luma", "too_bright"),
        ("min_contrast", "flat"),
        ("min_sharpness", "blurred"),
        ("max_yaw_deg", "turned"),
        ("max_pitch_deg", "tilted"),
        ("max_cropped", "cropped"),
    ],
)
def test_each_gate_uses_its_key_and_includes_the_limit(pipeline: Pipeline, hopper: Pixels, key: str, code: str) -> None:
    (sample,) = pipeline.samples(frame(hopper))
    q = sample.quality
    value = {
        "min_inter_eye_px": q.inter_eye_px,
        "min_luma": q.luma,
        "max_luma": q.luma,
        "min_contrast": q.contrast,
        "min_sharpness": q.sharpness,
        "max_yaw_deg": abs(q.yaw_deg),
        "max_pitch_deg": abs(q.pitch_deg),
        "max_cropped": q.cropped,
    }[key]
    beyond = -1e-3 if key.startswith("max") else 1e-3
    assert sample.face is not None
    look = (frame(hopper), sample.face, sample.chip)
    assert not probe(*look, replace(GATES, **{key: value}))
    assert [f.code for f in probe(*look, replace(GATES, **{key: value + beyond}))] == [code]
    assert not template(*look, replace(REFERENCE, **{key: value}))
    assert [f.code for f in template(*look, replace(REFERENCE, **{key: value + beyond}))] == [code]
