"""A checkpoint of this trainer as a source of `edge-oneshot-convert`; training/pyproject.toml registers it for `.pt`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from converters.card import Preparation, pixels
from converters.graph import Array
from converters.reference import Reference
from converters.sources import Source
from edge_oneshot.model.card import Comparator
from training.omniglot.graph import float_graph
from training.omniglot.model import Model, load


def preparation(model: Model, comparator: str = "weighted-l1") -> Preparation:
    """How drawings are prepared for the model, and its head as the device's comparator."""
    head = Comparator(kind="cosine")
    if comparator == "weighted-l1":
        head = Comparator(
            kind="weighted-l1",
            weights=tuple(round(float(w), 8) for w in model.head.weights.detach()),
            bias=round(float(model.head.bias.detach()), 6),
        )
    # (pixel - 255) / -255 is the share of ink. The card has a positive divisor; the sign is in the weights.
    return Preparation(input=pixels(int(model.encoder.side_px), [255.0], [255.0]), regions="frame", comparator=head)


def read_checkpoint(path: Path) -> Source:
    """The float graph of a checkpoint and its preparation. Raises ModelError if it is not one."""
    model, _ = load(path)
    return source_of(model)


def source_of(model: Model) -> Source:
    """The float graph of a model, with the model itself as the reference of the source check."""

    def run(picture: Array) -> Array:
        ink = torch.from_numpy(1 - picture.transpose(2, 0, 1)[None] / np.float32(255))
        with torch.no_grad():
            return np.asarray(model.encoder(ink).numpy())

    def reference() -> Reference:
        return Reference(f"torch {torch.__version__}", run)

    return Source(float_graph(model.encoder), takes_pixels=True, preparation=preparation(model), reference=reference)
