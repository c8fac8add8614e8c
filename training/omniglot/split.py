"""The split of the alphabets into parts. It was drawn once with seed 0 and is stored in alphabets.json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

ALPHABETS = Path(__file__).with_name("alphabets.json")
SIZES = {"train": 20, "validate": 5, "report": 5}


def draw(names: Iterable[str], seed: int = 0) -> dict[str, list[str]]:
    """Split a permutation of the sorted names by `numpy.random.default_rng(seed)` into 20 / 5 / 5."""
    ordered = sorted(names)
    if len(ordered) != sum(SIZES.values()):
        raise ValueError(f"alphabets: expected the {sum(SIZES.values())} of the background set, got {len(ordered)}")
    order = np.random.default_rng(seed).permutation(len(ordered))
    parts: dict[str, list[str]] = {}
    start = 0
    for part, size in SIZES.items():
        parts[part] = [ordered[i] for i in order[start : start + size]]
        start += size
    return parts


def alphabets(part: str) -> tuple[str, ...]:
    """The committed names of `train`, `validate` or `report`."""
    parts = json.loads(ALPHABETS.read_text(encoding="utf-8"))
    if part not in SIZES:
        raise ValueError(f"part: expected one of {', '.join(SIZES)}, got {part!r}")
    return tuple(parts[part])
