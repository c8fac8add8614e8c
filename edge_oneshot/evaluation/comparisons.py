"""Which images are compared 1:1 (LFW's pairs file, or every image with every other), and their comparison scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.dataset import EncodedDataset, LabelledImage, identity_numbers
from edge_oneshot.evaluation.metrics import Ints
from edge_oneshot.matching.compare import score_all
from edge_oneshot.model.card import Comparator
from edge_oneshot.text_file import read_text
from edge_oneshot.types import Float32Array

FOLDS = 10
FORMAT_HINT = "give a file in LFW's pairs format, or `all`"
Key = tuple[str, int]  # person, number of the image


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparisons:
    """first, second: image numbers (P,). mated: bool (P,). folds: for cross-validation (P,)."""

    first: Ints
    second: Ints
    mated: NDArray[np.bool_]
    folds: Ints


def read_pairs_file(path: Path, images: Sequence[LabelledImage]) -> Comparisons:
    """Read LFW's format: a head line "FOLDS N" (or "N"); then, for each fold, N lines `name i j` and N `name i other j`.

    Raises EdgeOneshotError for a line in another format, and for an image that does not exist.
    """
    index = {(p.person, p.number): i for i, p in enumerate(images)}
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as e:
        raise EdgeOneshotError(f"cannot read the pairs file {path}: {e}", FORMAT_HINT) from None
    head = lines[0].split() if lines else []
    has_head = 1 <= len(head) <= 2 and all(w.isascii() and w.isdecimal() and len(w) <= 9 for w in head)
    rows: list[tuple[int, int, bool]] = []
    for number, line in enumerate(lines[1 if has_head else 0 :], start=2 if has_head else 1):
        if not line.strip():
            continue
        keys, same = _parse_line(line, f"{path} line {number}")
        if missing := [k for k in keys if k not in index]:
            raise EdgeOneshotError(
                f"{path} line {number}: no image {missing[0][1]} of {missing[0][0]!r}", "check --images"
            )
        rows.append((index[keys[0]], index[keys[1]], same))
    if not rows:
        raise EdgeOneshotError(f"the pairs file {path} contains no pairs", FORMAT_HINT)
    if has_head and int(head[0]) < 1:
        raise EdgeOneshotError(f"{path} line 1: expected at least one fold, got {lines[0]!r}", "correct the line")
    folds = int(head[0]) if has_head and len(head) == 2 else FOLDS if len(rows) >= 10 * FOLDS else 2
    first, second, mated = (np.array(column) for column in zip(*rows, strict=True))
    size = -(-len(rows) // folds)
    number_of = np.arange(len(rows))
    return Comparisons(
        first=first, second=second, mated=mated, folds=number_of // size if has_head else number_of % folds
    )


def _parse_line(line: str, where: str) -> tuple[tuple[Key, Key], bool]:
    """The two images that a line names, and whether it is a mated comparison."""
    words = line.split("\t") if "\t" in line else line.split()
    try:
        if len(words) not in (3, 4):
            raise ValueError
        person, other = words[0], words[0] if len(words) == 3 else words[2]
        return ((person, int(words[1])), (other, int(words[-1]))), len(words) == 3
    except ValueError:
        raise EdgeOneshotError(
            f"{where}: expected `name i j` or `name i other j`, got {line!r}", "correct the line"
        ) from None


def all_comparisons(images: Sequence[LabelledImage]) -> Comparisons:
    """Every image with every other, once. The fold is that of the first image's identity."""
    people = identity_numbers(images)
    first, second = np.triu_indices(len(images), k=1)
    return Comparisons(first=first, second=second, mated=people[first] == people[second], folds=people[first] % FOLDS)


def only_used(images: Sequence[LabelledImage], comparisons: Comparisons) -> tuple[list[LabelledImage], Comparisons]:
    """Drop the images that no comparison uses."""
    used = np.unique(np.concatenate([comparisons.first, comparisons.second]))
    number = np.full(len(images), -1)
    number[used] = np.arange(used.size)
    renumbered = replace(comparisons, first=number[comparisons.first], second=number[comparisons.second])
    return [images[i] for i in used], renumbered


def score_matrix(references: Float32Array, comparator: Comparator, probes: Float32Array) -> Float32Array:
    """Scores float32 (P, N) of probes (P, D) with references (N, D)."""
    if comparator.kind == "cosine":
        scores: Float32Array = probes @ references.T
        return scores
    return np.stack([score_all(comparator, references, probe) for probe in probes])


def score_one_by_one(dataset: EncodedDataset, first: Ints, second: Ints, comparator: Comparator) -> Float32Array:
    """Scores float32 (P,) of the images first (P,) with second (P,)."""
    vectors = dataset.vectors
    scores = [score_all(comparator, vectors[b][None], vectors[a])[0] for a, b in zip(first, second, strict=True)]
    return np.array(scores, dtype=np.float32)


def score_comparisons(dataset: EncodedDataset, comparisons: Comparisons, comparator: Comparator) -> Float32Array:
    """Scores float32 (P,); -inf where one of the two images was not acquired."""
    vectors, first, second = dataset.vectors, comparisons.first, comparisons.second
    scores = np.empty(len(first), dtype=np.float32)
    # Consecutive comparisons with the same first image are scored together; all_comparisons is in this order.
    starts = np.flatnonzero(np.diff(first, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(first)], strict=True):
        scores[start:end] = score_all(comparator, vectors[second[start:end]], vectors[first[start]])
    lost = dataset.lost
    scores[lost[first] | lost[second]] = -np.inf
    return scores
