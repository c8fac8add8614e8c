"""Synthetic cohorts: each person is a point on a sphere, and the images of the person are scattered around it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from samples import ENCODER

from edge_oneshot.evaluation.cohort_fit import fit
from edge_oneshot.evaluation.dataset import EncodedDataset, LabelledImage
from edge_oneshot.model.card import CohortScores, Comparator
from edge_oneshot.model.card_reader import parse_cohort

COSINE = Comparator(kind="cosine")


def crowd(people: int, images: int, seed: int, dimension: int = 24, scatter: float = 0.45) -> EncodedDataset:
    """`people` people with `images` unit vectors each. The first three have twenty times as many, as in press photographs."""
    random = np.random.default_rng(seed)
    counts = [images * 20 if i < 3 else images for i in range(people)]
    centres = random.normal(size=(people, dimension))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    owners = np.repeat(np.arange(people), counts)
    vectors = centres[owners] + random.normal(size=(len(owners), dimension)) * scatter / np.sqrt(dimension)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = [
        LabelledImage(path=Path(f"{o}/{i}.jpg"), person=f"person-{seed}-{o:04d}", number=i)
        for i, o in enumerate(owners)
    ]
    return EncodedDataset(images=found, vectors=vectors.astype(np.float32), faults={}, encoder_id=ENCODER)


@cache
def fitted() -> dict[str, Any]:
    """A cohort as the card stores it."""
    return fit(crowd(500, 3, seed=1), COSINE, "points on a sphere", rounds=10)


def cohort() -> CohortScores:
    return parse_cohort(fitted(), "the test")
