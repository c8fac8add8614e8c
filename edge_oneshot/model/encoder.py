"""The twin encoder: the same network for template and probe (Koch, Zemel, Salakhutdinov 2015), int8 on the device."""

from __future__ import annotations

import numpy as np

from edge_oneshot.model.bundle import Bundle
from edge_oneshot.model.runtime import PixelModel, Runtime
from edge_oneshot.types import Chip, Embedding, Float32Array


class TwinEncoder:
    """Turns chips into embeddings.

    Input: chip uint8 (H, W, C) as the card says. Output: float32 (D,), dequantized, unit norm for `cosine`. Where the card
    says `mirror`, the mean of the unit vectors of the chip and of its mirror image, brought to unit norm again: a face
    and its mirror image are of one person, and what the network makes of the difference averages out.
    Raises ModelError when the model contradicts its card. Belongs to one thread.
    """

    def __init__(self, bundle: Bundle, runtime: str = "auto", threads: int = 1) -> None:
        self.card = bundle.encoder
        self.encoder_id = bundle.encoder_id
        self.runtime = Runtime(bundle.model, bundle.path, runtime, threads)
        self._model = PixelModel(self.runtime, bundle.path, self.card.input.shape, self.card.dimension)

    def encode(self, chip: Chip) -> Embedding:
        """Raises ValueError for a chip of another shape."""
        vector = self._model(chip.pixels)
        if self.card.mirror:
            vector = unit(vector) + unit(self._model(np.ascontiguousarray(chip.pixels[:, ::-1])))
        if self.card.comparator.kind == "cosine":
            vector = unit(vector)
        return Embedding(vector=vector, encoder_id=self.encoder_id)


def unit(vector: Float32Array) -> Float32Array:
    """A zero vector has no direction: it stays, and scores 0 against everything, which no threshold accepts."""
    return (vector / max(float(np.linalg.norm(vector)), 1e-6)).astype(np.float32, copy=False)
