"""The known-answer test passes here, and fails for a model that computes wrongly although it loads and runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from known import ENCODERS

from edge_oneshot.config import Config
from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import find_bundle, read_bundle
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.recognition.compose import build_locator
from edge_oneshot.recognition.known_answer import check_encoder, check_locator

Invoke = Callable[..., tuple[Any, ...]]


def garbled(invoke: Invoke, amount: float) -> Invoke:
    """Adds noise of `amount` times the spread of each output, as a processor with a wrong instruction would."""
    rng = np.random.default_rng(0)

    def wrong(value: Any) -> tuple[Any, ...]:
        return tuple((a + rng.normal(0, amount * (a.std() + 1e-3), a.shape)).astype(a.dtype) for a in invoke(value))

    return wrong


@pytest.mark.parametrize("name", ENCODERS)
def test_every_shipped_encoder_has_a_known_answer_and_gives_it(name: str) -> None:
    encoder = TwinEncoder(read_bundle(find_bundle(name, "encoder")))
    assert "passed" in check_encoder(encoder), "run: python tests/golden/known.py"
    encoder.runtime.invoke = garbled(encoder.runtime.invoke, 0.5)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"known-answer test: expected a cosine of at least 0\.98"):
        check_encoder(encoder)


def test_an_encoder_that_always_gives_the_same_embedding_fails() -> None:
    encoder = TwinEncoder(read_bundle(find_bundle("face", "encoder")))
    first = encoder.runtime.invoke(np.zeros(encoder.runtime.inputs[0].shape, np.int8))
    encoder.runtime.invoke = lambda value: first  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="known-answer"):
        check_encoder(encoder)


def test_the_detectors_and_the_landmark_network_give_the_known_answer() -> None:
    locator = build_locator(Config())
    assert "passed" in check_locator(locator)
    locator.placer.runtime.invoke = garbled(locator.placer.runtime.invoke, 0.5)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="known-answer test: got"):
        check_locator(locator)
