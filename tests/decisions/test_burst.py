"""Enrollment from live frames says how well the template stands for the person."""

from __future__ import annotations

import numpy as np
from pictures import Pixels, frame, view

from edge_oneshot.enrollment import CHECKED_FRAMES, CaptureSession, Enrollment
from edge_oneshot.matching.compare import References
from edge_oneshot.pipeline import Pipeline
from edge_oneshot.types import Identity

IDENTITY = Identity(identity_id="eileen", name="Eileen")


def enroll(pipeline: Pipeline, pixels: list[Pixels]) -> Enrollment:
    nobody = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    session = CaptureSession(pipeline, IDENTITY, nobody, prompt_ns=0, timeout_s=30.0)
    for i, picture in enumerate(pixels):
        done = session.offer(frame(np.ascontiguousarray(picture), captured_ns=1 + i * 400_000_000))
        if done is not None:
            return done
    raise AssertionError("the burst did not end")


def test_a_burst_of_one_person_agrees_with_itself(pipeline: Pipeline, collins: Pixels) -> None:
    done = enroll(pipeline, [view(collins, n) for n in range(5)])
    assert done.self_score is not None and done.self_score > pipeline.threshold.value


def test_two_people_in_one_burst_do_not(pipeline: Pipeline, collins: Pixels, hopper: Pixels) -> None:
    assert CHECKED_FRAMES == 2
    done = enroll(pipeline, [view(collins, 0), view(hopper, 0), view(collins, 1), view(hopper, 1)])
    assert done.self_score is not None and done.self_score < pipeline.threshold.value


def test_one_frame_says_nothing_of_itself(pipeline: Pipeline, collins: Pixels) -> None:
    nobody = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    session = CaptureSession(pipeline, IDENTITY, nobody, prompt_ns=0, timeout_s=30.0)
    session.offer(frame(view(collins, 0), captured_ns=1))
    done = session.finish_if_due(2_000_000_000)
    assert done is not None and done.self_score is None
