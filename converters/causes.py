"""Find out why a float model does not tell people apart: try the usual preprocessing on the labelled pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from converters.labelled import Labelled
from converters.litert import embed
from converters.scores import Pairs, compare_pairs, rates
from edge_oneshot.model.card import Comparator

# The range of pixels that networks are trained on: (mean, std) per channel, RGB.
_RANGES = {
    "--mean 127.5 --std 127.5": ((127.5,) * 3, (127.5,) * 3),
    "--mean 0 --std 255": ((0.0,) * 3, (255.0,) * 3),
    "--mean 0 --std 1": ((0.0,) * 3, (1.0,) * 3),
    "--mean 123.7,116.3,103.5 --std 58.4,57.1,57.4": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
_CHIPS = 600  # enough to detect an EER of half the size
_NEARLY = 0.02  # of the EER: among settings within this margin, the one with the fewest changes is reported


def other_preparation(
    reference: bytes,
    mean: Sequence[float],
    std: Sequence[float],
    labelled: Labelled,
    comparator: Comparator,
    eer: float,
) -> str:
    """Describes the colour order or pixel range with which the EER is less than half of `eer`; "" if there is none.

    reference: float model that takes raw RGB pixels and computes (pixel - mean) / std itself. It is given pixels for which
    this yields the value of the other preprocessing.
    """
    chips, all_pairs = labelled.chips[:_CHIPS], labelled.pairs
    kept = (all_pairs.first < _CHIPS) & (all_pairs.second < _CHIPS)
    pairs = Pairs(all_pairs.first[kept], all_pairs.second[kept], all_pairs.identity)
    if len(mean) != 3 or not pairs.mated.any() or pairs.mated.all():
        return ""
    m, s = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    found: list[tuple[int, float, str]] = []  # number of changes, EER, words
    for (words, (shift, scale)), swap in product({"": (mean, std), **_RANGES}.items(), (False, True)):
        if words or swap:
            a, b = s / np.asarray(scale, np.float32), np.asarray(shift, np.float32)
            seen = [((chip[..., ::-1] if swap else chip) - b) * a + m for chip in chips]
            score = compare_pairs(embed(reference, seen), pairs, comparator)
            parts = ["the other colour order"] * swap + [words] * bool(words)
            found.append((len(parts), rates(score, pairs, (1e-2,)).eer, " and ".join(parts)))
    least = min(eer_found for _, eer_found, _ in found)
    _, best, words = min(f for f in found if f[1] <= least + _NEARLY)
    return f"tried: with {words} the EER is {100 * best:.1f} %" if best < eer / 2 else ""
