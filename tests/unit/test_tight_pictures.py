"""Still pictures that a face fills: found with a border, in px of the picture; the gates see the picture only."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import Pixels, empty_scene, extra_or_reason, frame
from PIL import Image, ImageEnhance, ImageFilter

from edge_oneshot.errors import EnrollmentError
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import Box, Sample
from edge_oneshot.vision.quality import shown

SIDE = 150


def square(pipeline: Pipeline, pixels: Pixels) -> Box:
    """The square around the box of the one face of a picture."""
    (sample,) = pipeline.samples(frame(pixels))
    assert sample.face is not None
    b = sample.face.box
    x, y, half = (b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2, max(b.width, b.height) / 2
    return Box(x0=round(x - half), y0=round(y - half), x1=round(x + half), y1=round(y + half))


def tight(pipeline: Pipeline, pixels: Pixels, side: int = SIDE) -> Pixels:
    """The picture cut at the box of its face, and scaled."""
    b = square(pipeline, pixels)
    cut = Image.fromarray(pixels).crop((int(b.x0), int(b.y0), int(b.x1), int(b.y1)))
    return np.asarray(cut.resize((side, side), Image.Resampling.BICUBIC))


def one(pipeline: Pipeline, pixels: Pixels | Image.Image) -> Sample:
    (sample,) = pipeline.picture_samples(frame(np.asarray(pixels)))
    return sample


@pytest.fixture(params=["collins", "hopper"])
def portrait(request: pytest.FixtureRequest, portraits: dict[str, Pixels]) -> Pixels:
    return portraits[request.param]


def test_a_face_that_fills_a_picture_is_usable_and_matches(recognizer: Recognizer, portrait: Pixels) -> None:
    cut = tight(recognizer.pipeline, portrait)
    assert all(s.faults for s in recognizer.pipeline.samples(frame(cut))), "expected a picture that failed before"
    recognizer.enroll("Whole", portrait)
    found = recognizer.verify("Whole", cut)
    assert found.matched
    assert recognizer.identify_one(cut).identity == "whole"
    assert [r.identity for r in recognizer.identify(cut)] == ["whole"]
    assert (found.score or 0) > 0.8
    recognizer.enroll("Tight", cut)
    assert recognizer.verify("Tight", portrait).matched


def test_coordinates_are_px_of_the_picture(pipeline: Pipeline, portrait: Pixels) -> None:
    (whole,) = pipeline.samples(frame(portrait))
    found = one(pipeline, tight(pipeline, portrait))
    area = square(pipeline, portrait)
    assert whole.face is not None
    assert found.face is not None
    origin, scale = np.array([area.x0, area.y0]), SIDE / area.width
    expected = (whole.face.landmarks[:4] - origin) * scale
    assert np.abs(found.face.landmarks[:4] - expected).max() < 3.0
    assert found.quality.inter_eye_px == pytest.approx(whole.quality.inter_eye_px * scale, rel=0.05)
    assert found.face.box.iou(Box(x0=0, y0=0, x1=SIDE, y1=SIDE)) > 0.8


def test_live_frames_are_searched_as_they_are(recognizer: Recognizer, portrait: Pixels) -> None:
    cut = frame(tight(recognizer.pipeline, portrait))
    recognizer.enroll("Whole", portrait)
    assert all(o.embedding is None for o in recognizer.observe(cut))


def test_a_picture_with_a_usable_face_is_searched_once(pipeline: Pipeline, portraits: dict[str, Pixels]) -> None:
    both = np.hstack([portraits["collins"], portraits["hopper"][:512]])
    for pixels in (*portraits.values(), both):
        before, after = pipeline.samples(frame(pixels)), pipeline.picture_samples(frame(pixels))
        assert len(before) == len(after)
        for a, b in zip(before, after, strict=True):
            assert a.quality == b.quality
            assert np.array_equal(a.chip.pixels, b.chip.pixels)


def test_the_border_adds_no_face_to_an_empty_picture(pipeline: Pipeline) -> None:
    for seed in range(5):
        assert pipeline.picture_samples(frame(empty_scene(seed=seed))) == []


# ---- the gates


def codes(sample: Sample) -> set[str]:
    return {f.code for f in sample.reference_faults}


def test_the_measures_are_those_of_the_part_inside(pipeline: Pipeline, portrait: Pixels) -> None:
    cut = tight(pipeline, portrait)
    found = one(pipeline, cut)
    inside = shown(found.chip, (SIDE, SIDE))
    assert 0.2 < found.quality.cropped < 0.6
    assert inside.mean() == pytest.approx(1 - found.quality.cropped, abs=0.05)
    luma = (found.chip.pixels.astype(float) @ [0.299, 0.587, 0.114])[1:-1, 1:-1]
    assert found.quality.luma == pytest.approx(luma[inside].mean(), rel=1e-3)
    assert found.quality.luma > luma.mean() * 1.2, "the black border does not darken the face"


def test_the_edge_of_the_picture_does_not_sharpen_a_blurred_face(pipeline: Pipeline, portrait: Pixels) -> None:
    soft = Image.fromarray(tight(pipeline, portrait, 300)).filter(ImageFilter.GaussianBlur(9))
    (sample,) = pipeline.picture_samples(frame(np.asarray(soft)))
    assert "blurred" in codes(sample)


def test_a_dark_face_stays_too_dark(pipeline: Pipeline, portrait: Pixels) -> None:
    dark = ImageEnhance.Brightness(Image.fromarray(tight(pipeline, portrait))).enhance(0.25)
    assert "too_dark" in codes(one(pipeline, dark))


def test_a_small_picture_stays_too_far(pipeline: Pipeline, portrait: Pixels) -> None:
    assert "too_far" in codes(one(pipeline, tight(pipeline, portrait, 40)))


def test_half_a_face_is_cropped(recognizer: Recognizer, portrait: Pixels) -> None:
    cut = tight(recognizer.pipeline, portrait)
    with pytest.raises(EnrollmentError):
        recognizer.enroll("Half", cut[:, : SIDE * 2 // 5])


# ---- forty people


@pytest.mark.slow
def test_forty_tight_portraits(make_recognizer: Callable[..., Recognizer], tmp_path: Path) -> None:
    """London Set (DeBruine and Jones, CC BY 4.0): 40 people enrolled from 150 px portraits, 32 probes, 8 strangers."""
    archive = extra_or_reason("london_canada.tar")
    if isinstance(archive, str):
        pytest.skip(archive)
    with tarfile.open(archive) as tar:
        names = sorted(m.name for m in tar.getmembers() if m.name.endswith(".jpg") and "canada" not in m.name)
        for name in names[:96]:
            tar.extract(name, tmp_path, filter="data")
    folders = sorted({(tmp_path / n).parent for n in names[:96]})[:48]
    recognizer = make_recognizer()
    cuts = {
        f.name: [tight(recognizer.pipeline, np.asarray(Image.open(p).convert("RGB"))) for p in sorted(f.iterdir())]
        for f in folders
    }
    people = list(cuts)
    for name in people[:40]:
        recognizer.enroll(name, cuts[name][0])
    matched = [recognizer.identify_one(cuts[name][1]).name for name in people[:32]]
    assert matched == people[:32]
    assert [recognizer.identify_one(cuts[name][1]).name for name in people[40:]] == [None] * 8
