"""People for whom no error rate can be stated: the encoder cannot tell small children from one another. Pure.

A template is compared with a cohort of small children and one of adults, both measured with this encoder. No age is guessed:
what counts is whether the encoder places a template among the children, whom it confuses.
"""

from __future__ import annotations

import numpy as np

from edge_oneshot.model.card import NoRate
from edge_oneshot.types import Embedding


def score(rule: NoRate, embedding: Embedding) -> float:
    """Comparison score with the children of the cohort, less that with its adults: weights @ vector, in [-1, 1]."""
    return float(np.asarray(rule.weights, dtype=np.float32) @ embedding.vector)


def applies(rule: NoRate | None, embedding: Embedding) -> bool:
    """Whether no rate can be stated for a template of this encoder. False for an encoder without a rule."""
    return rule is not None and score(rule, embedding) >= rule.threshold
