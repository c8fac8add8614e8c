"""What an enrollment says: one sentence for the fault to correct first, in one catalogue; and what it forecasts afterwards."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pictures import Pixels, frame, view

from edge_oneshot.config import CameraConfig, Config, EnrollmentConfig, QualityConfig
from edge_oneshot.control.parts import Forecast, Nearest
from edge_oneshot.matching import alike
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.forecast import forecast
from edge_oneshot.types import Face, Fault, Quality
from edge_oneshot.vision import gates
from edge_oneshot.vision.hints import HINTS, hint


def fault(code: str) -> Fault:
    return Fault(code=code, message=f"the message of {code}")


def test_each_fault_of_the_gates_has_a_sentence(pipeline: Any, collins: Pixels) -> None:
    """Limits that nothing passes give every fault that the gates know."""
    picture = frame(collins)
    (sample,) = pipeline.picture_samples(picture)
    face: Face = sample.face
    nothing = dict.fromkeys(("min_inter_eye_px", "min_luma", "min_contrast", "min_sharpness"), 1000000000.0)
    nothing |= dict.fromkeys(("max_luma", "max_yaw_deg", "max_pitch_deg", "max_cropped"), -1.0)
    found = gates.probe_faults(sample.quality, face, picture, replace(QualityConfig(), **nothing), fills=False)
    covered: Quality = replace(sample.quality, hidden=1.0)
    found += gates.reference_faults(covered, face, picture, EnrollmentConfig(), fills=False)
    assert {f.code for f in found} | {"no_frame", "frozen", "no_face", "several_faces"} == set(HINTS)


def test_the_sentence_is_for_what_helps_first() -> None:
    assert hint([fault("blurred"), fault("too_dark"), fault("too_far")]) == "Come closer."
    assert hint([fault("blurred"), fault("too_dark")]) == HINTS["too_dark"]
    assert hint([fault("attack")]) == "the message of attack", "a plug-in speaks for itself"
    assert hint([fault("attack"), fault("too_far")]) == "Come closer."
    assert hint([]) == ""


# ---- the forecast


def told(recognizer: Recognizer, config: Config, nearest: Nearest | None = None, **options: Any) -> Forecast:
    return forecast(config, recognizer, "Zoë", nearest, options.get("current", True), options.get("width_px"))


def test_the_range_of_this_camera_by_day_and_at_dusk(recognizer: Recognizer) -> None:
    said = told(recognizer, Config())
    day, dusk = said.ranges
    assert (day.light, dusk.light) == ("day", "dusk")
    assert day.metres is not None and dusk.metres is not None and day.metres > dusk.metres > 0.3
    assert (
        f"about {day.metres:.1f} m by day" in said.sentences[0] and f"{dusk.metres:.1f} m at dusk" in said.sentences[0]
    )
    assert "only enrolled person" in said.sentences[1] and said.taken_for is None
    assert told(recognizer, Config(), width_px=320).ranges[0].metres == pytest.approx(day.metres / 2, abs=0.06)
    turned = replace(Config(), camera=CameraConfig(rotation=90))
    assert (told(recognizer, turned).ranges[0].metres or 9) < day.metres, "the picture is 480 px wide"
    assert "at least" in told(recognizer, Config(), width_px=1280).sentences[0]


def test_no_range_is_stated_for_settings_that_were_not_measured(recognizer: Recognizer) -> None:
    said = told(recognizer, replace(Config(), quality=QualityConfig(min_luma=30.0)))
    assert said.ranges == [] and "was not measured for this configuration (quality.min_luma = " in said.sentences[0]


def test_who_looks_alike_is_told_with_a_modelled_share_only(
    recognizer: Recognizer, collins: Pixels, hopper: Pixels, tmp_path: Path
) -> None:
    recognizer.enroll("Grace", hopper)
    threshold = recognizer.threshold.value

    def near(score: float) -> Nearest:
        return Nearest(identity="grace", score=score, threshold=threshold, cohort_share=None)

    shares = [told(recognizer, Config(), near(score)).taken_for for score in (0.36, 0.42, 0.5, 0.6)]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(shares)), shares
    said = told(recognizer, Config(), near(0.42))
    assert said.sentences[1].startswith("Grace looks like Zoë: about 1 in ")
    assert "No enrolled person looks like Zoë: fewer than 1 in " in told(recognizer, Config(), near(0.1)).sentences[1]
    unknown = told(recognizer, Config(), near(0.5), current=False)
    assert unknown.taken_for is None and "was not measured for this encoder" in unknown.sentences[1]
    assert alike.read(tmp_path / "none.json") is None


def test_the_shipped_model_is_of_the_shipped_encoder(recognizer: Recognizer) -> None:
    model = alike.read()
    assert model is not None and model.encoder_id == recognizer.encoder_id
    residuals = [r for r, _ in model.tail]
    assert residuals == sorted(residuals) and 0 < model.slope < 1


def test_shares_between_and_beyond_the_measured_residuals() -> None:
    tail = ((-0.1, 0.9), (0.0, 0.1), (0.1, 0.001))
    model = alike.Alike(encoder_id="e", intercept=0.0, slope=1.0, tail=tail, lowest=0.3, people=9, triples=99)
    assert model.share(0.5, 0.5) == pytest.approx(0.1) and model.share(0.5, 0.55) == pytest.approx(0.01)
    assert model.share(0.5, 0.1) == 0.9 and model.share(0.5, 0.9) == 0.001
    assert model.share(0.2, 0.4) == model.share(0.3, 0.4), "an upper bound below what was measured"


def test_an_enrollment_from_the_live_camera_forecasts_for_its_frames(recognizer: Recognizer, collins: Pixels) -> None:
    from test_enrollment import Served

    served = Served(recognizer)
    served.requests._config = Config
    pending = served.begin("enroll", name="Zoë")
    start = 10**15
    for i in range(12):
        served.requests.offer(frame(view(collins, 0), start + i * 100_000_000))
    from example_messages import response_of

    assert response_of(pending).forecast.ranges[0].metres > 0.5
