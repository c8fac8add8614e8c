"""Cohorts made by hand: people as points on a sphere, their pictures scattered round them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from samples import ENCODER

from edge_oneshot.evaluation.cohort import fit
from edge_oneshot.evaluation.dataset import Embedded, Picture
from edge_oneshot.model.card import Cohort, Comparator
from edge_oneshot.model.card_reader import parse_cohort

COSINE = Comparator(kind="cosine")


def crowd(people: int, pictures: int, seed: int, dimension: int = 24, scatter: float = 0.45) -> Embedded:
    """`people` with `pictures` each, unit vectors; the first three have twenty times as many, as press photographs do."""
    random = np.random.default_rng(seed)
    counts = [pictures * 20 if i < 3 else pictures for i in range(people)]
    centres = random.normal(size=(people, dimension))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    owners = np.repeat(np.arange(people), counts)
    vectors = centres[owners] + random.normal(size=(len(owners), dimension)) * scatter / np.sqrt(dimension)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = [
        Picture(path=Path(f"{o}/{i}.jpg"), person=f"person-{seed}-{o:04d}", number=i) for i, o in enumerate(owners)
    ]
    return Embedded(pictures=found, vectors=vectors.astype(np.float32), faults={}, encoder_id=ENCODER)


@cache
def fitted() -> dict[str, Any]:
    """A cohort as the card holds it."""
    return fit(crowd(500, 3, seed=1), COSINE, "points on a sphere", rounds=10)


def cohort() -> Cohort:
    return parse_cohort(fitted(), "the test")
