"""Trials: within-alphabet one-shot runs as Lake et al. 2015 built theirs, and same/different pairs.

A run: `ways` characters of one alphabet, two drawers; the first drew the one stored example of each character, the
second drew the test items, one of each character in random order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters import scores
from training.omniglot.data import DataError, Drawings, Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Indices into a set of drawings, `left[i]` against `right[i]`; `same[i]`: one character, two drawers."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]


def run_indices(drawings: Drawings, runs_per_alphabet: int, ways: int, seed: int) -> tuple[NDArray[np.int64], ...]:
    """Draw runs: (train, test, answer), each (R, ways); train and test index into the drawings.

    Alphabets with fewer than `ways` characters have no such run and are skipped. Raises DataError if none remains.
    """
    rng = np.random.default_rng(seed)
    where = {(c, d): i for i, (c, d) in enumerate(zip(drawings.character, drawings.drawer, strict=True))}
    train, test, answer = [], [], []
    for alphabet in range(len(drawings.alphabet_names)):
        mine = drawings.alphabet == alphabet
        characters, drawers = np.unique(drawings.character[mine]), np.unique(drawings.drawer[mine])
        if len(characters) < ways or len(drawers) < 2:
            continue
        for _ in range(runs_per_alphabet):
            chosen = rng.choice(characters, ways, replace=False)
            first, second = rng.choice(drawers, 2, replace=False)
            order = rng.permutation(ways)
            train.append([where[c, first] for c in chosen])
            test.append([where[chosen[k], second] for k in order])
            answer.append(order)
    if not train:
        raise DataError(
            f"runs: expected an alphabet with {ways} characters and two drawers, got none in {', '.join(drawings.alphabet_names)}"
        )
    return np.array(train, np.int64), np.array(test, np.int64), np.array(answer, np.int64)


def draw_runs(drawings: Drawings, runs_per_alphabet: int = 20, ways: int = 20, seed: int = 0) -> Runs:
    """`run_indices` with the pictures."""
    train, test, answer = run_indices(drawings, runs_per_alphabet, ways, seed)
    return Runs(train=drawings.ink[train], test=drawings.ink[test], answer=answer)


def draw_pairs(drawings: Drawings, count: int, seed: int) -> Pairs:
    """`count` pairs, every second one mated: two drawers of one character, or two characters of one alphabet.

    Non-mated pairs come from one alphabet and two drawers, as the comparisons of a one-shot run do.
    """
    rng = np.random.default_rng(seed)
    where = {(c, d): i for i, (c, d) in enumerate(zip(drawings.character, drawings.drawer, strict=True))}
    characters, first = np.unique(drawings.character, return_index=True)
    alphabet_of = drawings.alphabet[first]
    left, right = np.empty(count, np.int64), np.empty(count, np.int64)
    same = np.arange(count) % 2 == 0
    for i in range(count):
        one = int(rng.integers(len(characters)))
        other = one
        if not same[i]:
            peers = np.flatnonzero(alphabet_of == alphabet_of[one])
            other = int(rng.choice(peers[peers != one]))
        drawers = np.unique(drawings.drawer[drawings.alphabet == alphabet_of[one]])
        a, b = rng.choice(drawers, 2, replace=False)
        left[i], right[i] = where[characters[one], a], where[characters[other], b]
    return Pairs(left=left, right=right, same=same)


def pairs_of_runs(
    runs: Runs, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Balanced verification pairs from runs: (run, class, item, same), each (2 * trials,).

    Every test item against the example of its own class, and against one other class of its run.
    """
    rng = np.random.default_rng(seed)
    run, item = (index.ravel() for index in np.indices(runs.answer.shape))
    truth = runs.answer.ravel()
    wrong = (truth + rng.integers(1, runs.ways, truth.shape)) % runs.ways
    same = np.repeat([True, False], len(truth))
    return np.tile(run, 2), np.concatenate([truth, wrong]), np.tile(item, 2), same


def within_alphabets(drawings: Drawings) -> scores.Pairs:
    """Every pair of drawings of one alphabet by two drawers: the comparisons of a one-shot trial."""
    first, second = [], []
    for i in range(len(drawings.ink)):
        peers = (drawings.alphabet == drawings.alphabet[i]) & (drawings.drawer != drawings.drawer[i])
        later = np.flatnonzero(peers[i + 1 :]) + i + 1
        first.append(np.full(len(later), i))
        second.append(later)
    return scores.Pairs(
        np.concatenate(first).astype(np.int32),
        np.concatenate(second).astype(np.int32),
        drawings.character.astype(np.int32),
    )
