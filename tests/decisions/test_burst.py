"""Enrollment from live frames makes one template of a burst, and says how well it stands for the person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import Pixels, frame, view
from samples import random_unit, unit

from edge_oneshot.config import Config, DecisionConfig, ModelConfig
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import References, score_all
from edge_oneshot.recognition.compose import build_pipeline
from edge_oneshot.recognition.enrollment import (
    BURST_FRAMES,
    POOLED_FRAMES,
    CaptureSession,
    Enrollment,
    _merit,
    enroll_from_frame,
    pooled,
)
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Float32Array, Identity

IDENTITY = Identity(identity_id="eileen", name="Eileen")


def enroll(pipeline: Pipeline, pixels: list[Pixels], step_ns: int = 90_000_000) -> Enrollment:
    nobody = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    session = CaptureSession(pipeline, IDENTITY, nobody, prompt_ns=0, timeout_s=30.0)
    for i, picture in enumerate(pixels):
        done = session.offer(frame(np.ascontiguousarray(picture), captured_ns=1 + i * step_ns))
        if done is not None:
            return done
    done = session.finish_if_due(40_000_000_000)
    assert done is not None
    return done


def vectors(pipeline: Pipeline, pixels: list[Pixels]) -> Float32Array:
    return np.stack([pipeline.encode(pipeline.samples(frame(p))[0]).vector for p in pixels])


def test_the_best_frames_of_the_burst_go_into_one_template(pipeline: Pipeline, collins: Pixels) -> None:
    pictures = [view(collins, n) for n in range(BURST_FRAMES)]
    done = enroll(pipeline, pictures)
    pictures.sort(key=lambda p: -_merit(pipeline.samples(frame(p))[0]))
    own = vectors(pipeline, pictures[:POOLED_FRAMES])
    mean = own.mean(axis=0)
    assert done.frames == POOLED_FRAMES
    assert done.template.quality == pipeline.samples(frame(pictures[0]))[0].quality
    assert np.allclose(done.template.embedding.vector, mean / np.linalg.norm(mean), atol=1e-5)
    # Nearer to the burst as a whole than any one of its frames is.
    among = (own @ own.T).mean(axis=1)
    assert float((own @ done.template.embedding.vector).mean()) > among.max()
    assert done.self_score == pytest.approx(float((own @ done.template.embedding.vector).min()), abs=1e-5)


def test_a_burst_of_one_person_agrees_with_itself(pipeline: Pipeline, collins: Pixels) -> None:
    done = enroll(pipeline, [view(collins, n) for n in range(5)])
    assert done.self_score is not None and done.self_score > pipeline.threshold.value


def test_who_walks_into_a_burst_goes_into_no_template_and_makes_it_weak(
    pipeline: Pipeline, collins: Pixels, hopper: Pixels
) -> None:
    """Two people who take turns: the template is of one of them alone, whoever had the best frame."""
    mixed = [view(collins, 0), view(hopper, 0), view(collins, 1), view(hopper, 1)]
    done = enroll(pipeline, mixed)
    assert done.self_score is not None and done.self_score < pipeline.threshold.value
    assert done.frames < POOLED_FRAMES
    scores = vectors(pipeline, mixed) @ done.template.embedding.vector
    assert sorted(scores >= pipeline.threshold.value) == [False, False, True, True]
    assert scores[scores < pipeline.threshold.value].max() < 0.3, "nothing of the other one went in"


def test_one_frame_says_nothing_of_itself_and_is_the_template(pipeline: Pipeline, collins: Pixels) -> None:
    done = enroll(pipeline, [view(collins, 0)])
    assert done.self_score is None and done.frames == 1
    assert np.allclose(done.template.embedding.vector, vectors(pipeline, [view(collins, 0)])[0], atol=1e-6)


def test_a_still_person_gets_the_template_of_one_frame(pipeline: Pipeline, collins: Pixels) -> None:
    nobody = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    one = enroll_from_frame(pipeline, frame(view(collins, 0)), IDENTITY, nobody).template
    many = enroll(pipeline, [view(collins, 0)] * 6).template
    assert float(one.embedding.vector @ many.embedding.vector) == pytest.approx(1.0, abs=1e-5)


def test_a_threshold_that_nothing_reaches_leaves_the_best_frame(collins: Pixels) -> None:
    strict = build_pipeline(Config(model=ModelConfig(threads=1), decision=DecisionConfig(threshold=50.0)))
    done = enroll(strict, [view(collins, n) for n in range(4)])
    assert done.frames == 1 and np.linalg.norm(done.template.embedding.vector) == pytest.approx(1.0, abs=1e-5)


def test_the_template_is_stored_replaced_and_removed_as_one(
    pipeline: Pipeline, collins: Pixels, tmp_path: Path
) -> None:
    first, second = (enroll(pipeline, [view(collins, n) for n in range(start, start + 4)]) for start in (0, 4))
    with Gallery(tmp_path / "gallery.sqlite") as gallery:
        gallery.add(IDENTITY, [first.template])
        gallery.add(IDENTITY, [second.template], replace=True)
        (kept,) = gallery.templates()
        assert kept.template_id == second.template.template_id
        assert np.array_equal(kept.embedding.vector, second.template.embedding.vector)
        gallery.remove("eileen")
        assert gallery.templates() == []


def test_pooled_is_the_direction_with_the_highest_mean_cosine(pipeline: Pipeline) -> None:
    random = np.random.default_rng(0)
    own = np.stack([unit(*(random_unit(1, 24) + 0.5 * random_unit(n, 24))) for n in range(2, 8)])
    vector = pooled(own, pipeline.encoder.encoder_id).vector
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)
    best = float((own @ vector).mean())
    for _ in range(200):
        other = unit(*(vector + 0.1 * random.normal(size=24)))
        assert float(score_all(pipeline.encoder.card.comparator, own, other).mean()) <= best + 1e-6
    with pytest.raises(ValueError, match="point one way"):
        pooled(np.stack([own[0], -own[0]]), pipeline.encoder.encoder_id)
