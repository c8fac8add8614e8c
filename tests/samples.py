"""Value types made by hand: embeddings, templates, observations. For the parts that need no picture."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from edge_oneshot.types import (
    Box,
    Candidate,
    Chip,
    Decision,
    DecisionKind,
    Embedding,
    Face,
    Fault,
    Float32Array,
    Identity,
    Observation,
    Quality,
    Sample,
    Template,
)

ENCODER = "sha256:" + "aa" * 32
OTHER = "sha256:" + "bb" * 32
THRESHOLD = 0.5
LANDMARKS = ("image_left_eye", "image_right_eye", "nose", "mouth", "image_left_ear", "image_right_ear")
CHIP = Chip(pixels=np.zeros((8, 8, 3), np.uint8), transform=np.eye(2, 3))
QUALITY = Quality(inter_eye_px=40.0, sharpness=100.0, luma=120.0, contrast=40.0, yaw_deg=0.0)
BLURRED = Fault(code="blurred", message="sharpness 3, 15 needed")


def unit(*values: float) -> Float32Array:
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def random_unit(seed: int, dimension: int = 192) -> Float32Array:
    return unit(*np.random.default_rng(seed).normal(size=dimension))


def embedding(vector: Float32Array, encoder_id: str = ENCODER) -> Embedding:
    return Embedding(vector=vector, encoder_id=encoder_id)


def template(identity_id: str, vector: Float32Array, encoder_id: str = ENCODER) -> Template:
    return Template(
        template_id=str(uuid.uuid4()),
        identity_id=identity_id,
        embedding=embedding(vector, encoder_id),
        quality=QUALITY,
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


def person(identity_id: str, name: str = "") -> Identity:
    return Identity(identity_id=identity_id, name=name or identity_id.title())


def face(x: float = 100.0, y: float = 100.0, size: float = 100.0, score: float = 0.9) -> Face:
    """A frontal face whose box begins at (x, y): eyes 0.4 of the box apart, the nose between them."""
    points = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.5, 0.8), (0.05, 0.45), (0.95, 0.45)]
    return Face(
        box=Box(x0=x, y0=y, x1=x + size, y1=y + size),
        detection_score=score,
        landmark_names=LANDMARKS,
        landmarks=np.array([(x + size * u, y + size * v) for u, v in points], dtype=np.float32),
    )


_serial = itertools.count()
OTHERS = 0.2  # what everybody scores whom a sighting does not name
_scores: dict[int, tuple[Embedding, dict[str, float]]] = {}


def score(identity_id: str, probe: Embedding) -> float | None:
    """What a gallery would say of an embedding that `seen` made."""
    return _scores[id(probe)][1].get(identity_id, OTHERS)


def view_of(vector: Float32Array, scores: dict[str, float]) -> Embedding:
    """An embedding of its own that scores so against these identities, and OTHERS against everybody else."""
    made = embedding(vector)
    _scores[id(made)] = made, scores
    return made


def seen(who: str | None, x: float = 100.0, score: float | None = None, whole: Embedding | None = None) -> Observation:
    """One sighting at x. who: an identity = a match, "" = a non-match, None = a poor frame. whole: no face, this embedding."""
    sample = Sample(face=None if whole is not None else face(x), chip=CHIP, quality=QUALITY)
    if who is None:
        decision = Decision(kind=DecisionKind.NOT_COMPARED, threshold=THRESHOLD, target_fmr=1e-4, faults=(BLURRED,))
        return Observation(sample=sample, embedding=None, decision=decision)
    vector = whole.vector if whole is not None else random_unit(next(_serial), 8)
    own = view_of(vector, {who or "lookalike": score if score is not None else 0.8 if who else 0.3})
    if who:
        candidate = Candidate(identity_id=who, score=0.8 if score is None else score)
        decision = Decision(
            kind=DecisionKind.MATCH,
            threshold=THRESHOLD,
            target_fmr=1e-4,
            candidate=candidate,
            runner_up=Candidate(identity_id="runner-up", score=0.2),
            same_probability=0.99,
        )
    else:
        candidate = Candidate(identity_id="lookalike", score=0.3 if score is None else score)
        decision = Decision(
            kind=DecisionKind.NON_MATCH,
            threshold=THRESHOLD,
            target_fmr=1e-4,
            candidate=candidate,
            runner_up=Candidate(identity_id="runner-up", score=0.2),
        )
    return Observation(sample=sample, embedding=own, decision=decision)


def poorly(who: str) -> Observation:
    """A sighting that is compared, but too poor for a template."""
    observation = seen(who)
    return replace(observation, sample=replace(observation.sample, reference_faults=(BLURRED,)))
