"""Which pictures are compared: LFW's pairs file, or every picture with every other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.dataset import Embedded, Picture
from edge_oneshot.evaluation.metrics import Ints
from edge_oneshot.matching.compare import score_all
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float32Array

FOLDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """first, second: picture numbers (P,). mated: bool (P,). folds: for cross-validation (P,)."""

    first: Ints
    second: Ints
    mated: NDArray[np.bool_]
    folds: Ints


def read_pairs(path: Path, pictures: Sequence[Picture]) -> Pairs:
    """LFW's format: a head "FOLDS N" (or "N"), then per fold N lines `name i j` and N lines `name i other j`.

    Raises EdgeOneshotError for a line that does not fit it, or names a picture that is not there.
    """
    index = {(p.person, p.number): i for i, p in enumerate(pictures)}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise EdgeOneshotError(
            f"cannot read the pairs {path}: {e}", "name a file in LFW's pairs format, or `all`"
        ) from None
    rows: list[tuple[int, int, bool]] = []
    head = lines[0].split() if lines else []
    has_head = 1 <= len(head) <= 2 and all(w.isdigit() for w in head)
    for number, line in enumerate(lines[1 if has_head else 0 :], start=2 if has_head else 1):
        words = line.split("\t") if "\t" in line else line.split()
        if not line.strip():
            continue
        try:
            person, other = words[0], words[0] if len(words) == 3 else words[2]
            keys = (person, int(words[1])), (other, int(words[-1]))
            if len(words) not in (3, 4):
                raise ValueError
        except (ValueError, IndexError):
            raise EdgeOneshotError(
                f"{path} line {number}: expected `name i j` or `name i other j`, got {line!r}", "mend the line"
            ) from None
        missing = [k for k in keys if k not in index]
        if missing:
            raise EdgeOneshotError(
                f"{path} line {number}: no picture {missing[0][1]} of {missing[0][0]!r}", "check --images"
            )
        rows.append((index[keys[0]], index[keys[1]], len(words) == 3))
    if not rows:
        raise EdgeOneshotError(f"{path} holds no pairs", "name a file in LFW's pairs format, or `all`")
    if has_head and int(head[0]) < 1:
        raise EdgeOneshotError(f"{path} line 1: expected at least one fold, got {lines[0]!r}", "mend the line")
    folds = int(head[0]) if has_head and len(head) == 2 else FOLDS if len(rows) >= 10 * FOLDS else 2
    first, second, mated = (np.array(column) for column in zip(*rows, strict=True))
    size = -(-len(rows) // folds)
    return Pairs(
        first=first,
        second=second,
        mated=mated,
        folds=np.arange(len(rows)) // size if has_head else np.arange(len(rows)) % folds,
    )


def all_pairs(pictures: Sequence[Picture]) -> Pairs:
    """Every picture with every other, once. Folds by the first picture's identity."""
    people = identity_numbers(pictures)
    first, second = np.triu_indices(len(pictures), k=1)
    return Pairs(first=first, second=second, mated=people[first] == people[second], folds=people[first] % FOLDS)


def only_used(pictures: Sequence[Picture], pairs: Pairs) -> tuple[list[Picture], Pairs]:
    """Leaves out the pictures that no pair names."""
    used = np.unique(np.concatenate([pairs.first, pairs.second]))
    number = np.full(len(pictures), -1)
    number[used] = np.arange(used.size)
    return [pictures[i] for i in used], replace(pairs, first=number[pairs.first], second=number[pairs.second])


def identity_numbers(pictures: Sequence[Picture]) -> Ints:
    numbers: Ints = np.unique([p.person for p in pictures], return_inverse=True)[1].astype(np.intp)
    return numbers


def rows_of_pairs(embedded: Embedded, first: Ints, second: Ints, comparator: Comparator) -> Float32Array:
    """Scores float32 (P,) of the pictures first (P,) with second (P,)."""
    return np.array(
        [
            score_all(comparator, embedded.vectors[b][None], embedded.vectors[a])[0]
            for a, b in zip(first, second, strict=True)
        ],
        dtype=np.float32,
    )


def score_pairs(embedded: Embedded, pairs: Pairs, comparator: Comparator) -> Float32Array:
    """Scores float32 (P,); -inf where one of the two was not acquired."""
    vectors = embedded.vectors
    scores = np.empty(len(pairs.first), dtype=np.float32)
    # Runs of one first picture are scored together; all_pairs is made of such runs.
    starts = np.flatnonzero(np.diff(pairs.first, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(pairs.first)], strict=True):
        scores[start:end] = score_all(comparator, vectors[pairs.second[start:end]], vectors[pairs.first[start]])
    lost = np.zeros(len(vectors), dtype=bool)
    lost[list(embedded.faults)] = True
    scores[lost[pairs.first] | lost[pairs.second]] = -np.inf
    return scores
