"""Enrollment from live frames makes one template of a burst, and reports its lowest score against the burst."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import Pixels, frame, view
from samples import random_unit, unit

from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import References, score_all
from edge_oneshot.recognition.enrollment import (
    BURST_FRAMES,
    POOLED_FRAMES,
    CaptureSession,
    Enrollment,
    enroll_from_frame,
    merit,
    pooled,
)
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import Float32Array, Identity

IDENTITY = Identity(identity_id="eileen", name="Eileen")


@pytest.fixture
def threshold(recognizer: Recognizer) -> float:
    """Of the default rule, for an empty gallery."""
    return recognizer.threshold.value


def enroll(
    recognizer: Recognizer, pixels: list[Pixels], step_ns: int = 90_000_000, threshold: float | None = None
) -> Enrollment:
    """The enrollment of these frames into an empty gallery."""
    used = recognizer.threshold.value if threshold is None else threshold
    session = CaptureSession(recognizer.pipeline, IDENTITY, recognizer.references, used, prompt_ns=0, timeout_s=30.0)
    for i, picture in enumerate(pixels):
        done = session.offer(frame(np.ascontiguousarray(picture), captured_ns=1 + i * step_ns))
        if done is not None:
            return done
    done = session.finish_if_due(40_000_000_000)
    assert done is not None
    return done


def vectors(pipeline: Pipeline, pixels: list[Pixels]) -> Float32Array:
    return np.stack([pipeline.encode(pipeline.samples(frame(p))[0]).vector for p in pixels])


def test_the_best_frames_of_the_burst_go_into_one_template(
    recognizer: Recognizer, pipeline: Pipeline, collins: Pixels
) -> None:
    pictures = [view(collins, n) for n in range(BURST_FRAMES)]
    done = enroll(recognizer, pictures)
    pictures.sort(key=lambda p: -merit(pipeline.samples(frame(p))[0]))
    own = vectors(pipeline, pictures[:POOLED_FRAMES])
    mean = own.mean(axis=0)
    assert done.frames == POOLED_FRAMES
    assert done.template.quality == pipeline.samples(frame(pictures[0]))[0].quality
    assert np.allclose(done.template.embedding.vector, mean / np.linalg.norm(mean), atol=1e-5)
    # Nearer to the burst as a whole than any one of its frames is.
    among = (own @ own.T).mean(axis=1)
    assert float((own @ done.template.embedding.vector).mean()) > among.max()
    assert done.self_score == pytest.approx(float((own @ done.template.embedding.vector).min()), abs=1e-5)


def test_a_burst_of_one_person_has_a_self_score_above_the_threshold(
    recognizer: Recognizer, threshold: float, collins: Pixels
) -> None:
    done = enroll(recognizer, [view(collins, n) for n in range(5)])
    assert done.self_score is not None and done.self_score > threshold


def test_a_second_person_in_a_burst_is_left_out_of_the_template_and_makes_it_weak(
    recognizer: Recognizer, threshold: float, pipeline: Pipeline, collins: Pixels, hopper: Pixels
) -> None:
    """Two people who take turns: the template is of one of them alone, the one with the best frame."""
    mixed = [view(collins, 0), view(hopper, 0), view(collins, 1), view(hopper, 1)]
    done = enroll(recognizer, mixed)
    assert done.self_score is not None and done.self_score < threshold
    assert done.frames < POOLED_FRAMES
    scores = vectors(pipeline, mixed) @ done.template.embedding.vector
    assert sorted(scores >= threshold) == [False, False, True, True]
    assert scores[scores < threshold].max() < 0.3, "the template holds nothing of the other person"


def test_a_single_frame_is_the_template_and_has_no_self_score(
    recognizer: Recognizer, pipeline: Pipeline, collins: Pixels
) -> None:
    done = enroll(recognizer, [view(collins, 0)])
    assert done.self_score is None and done.frames == 1
    assert np.allclose(done.template.embedding.vector, vectors(pipeline, [view(collins, 0)])[0], atol=1e-6)


def test_a_still_person_gets_the_template_of_one_frame(
    recognizer: Recognizer, pipeline: Pipeline, collins: Pixels
) -> None:
    nobody = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    one = enroll_from_frame(pipeline, frame(view(collins, 0)), IDENTITY, nobody).template
    many = enroll(recognizer, [view(collins, 0)] * 6).template
    assert float(one.embedding.vector @ many.embedding.vector) == pytest.approx(1.0, abs=1e-5)


def test_a_threshold_that_no_frame_reaches_leaves_the_best_frame(recognizer: Recognizer, collins: Pixels) -> None:
    done = enroll(recognizer, [view(collins, n) for n in range(4)], threshold=50.0)
    assert done.frames == 1 and np.linalg.norm(done.template.embedding.vector) == pytest.approx(1.0, abs=1e-5)


def test_the_template_is_stored_replaced_and_removed_as_one(
    recognizer: Recognizer, collins: Pixels, tmp_path: Path
) -> None:
    first, second = (enroll(recognizer, [view(collins, n) for n in range(start, start + 4)]) for start in (0, 4))
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
    with pytest.raises(ValueError, match="expected similar vectors"):
        pooled(np.stack([own[0], -own[0]]), pipeline.encoder.encoder_id)
