"""The twin encoder: one network for template and probe (Koch, Zemel, Salakhutdinov 2015), int8 on the device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_oneshot.model.bundle import Bundle
from edge_oneshot.model.runtime import PixelModel, Runtime
from edge_oneshot.types import Chip, Embedding, Float32Array, UInt8Array


class TwinEncoder:
    """Turns chips into embeddings.

    Input: chip uint8 (H, W, C) as the card states. Output: float32 (D,), dequantized, unit norm for the comparator
    cosine. If the card sets `mirror`, the output is the mean of the unit vectors of the chip and of its mirror image, again
    of unit norm: both show the same person, so averaging removes their difference.
    Raises ModelError if the model contradicts its card. One thread may use it.
    """

    def __init__(self, bundle: Bundle, runtime: str = "auto", threads: int = 1) -> None:
        self.card = bundle.encoder
        self.encoder_id, self.path = bundle.encoder_id, bundle.path
        self.runtime = Runtime(bundle.model, bundle.path, runtime, threads)
        height, width, channels = self.card.input.shape
        self._model = PixelModel(self.runtime, bundle.path, (height, width, channels), self.card.dimension)
        # a row of the mirror image in values of a row: several times faster than a copy with a negative stride
        self._mirrored = np.arange(width * channels).reshape(width, channels)[::-1].ravel()

    def encode(self, chip: Chip) -> Embedding:
        """The embedding of a chip. Raises ValueError for a chip of another shape."""
        *_, whole = self.steps(chip)
        return whole

    def steps(self, chip: Chip) -> Iterator[Embedding]:
        """The embedding of a chip, after that of the chip without its mirror image if both are unit vectors.

        Each step is one run of the network, when it is asked for. Raises ValueError for a chip of another shape.
        """
        vector = self._model(chip.pixels)
        cosine = self.card.comparator.kind == "cosine"
        if self.card.mirror:
            if cosine:
                yield Embedding(vector=unit(vector), encoder_id=self.encoder_id)
            vector = unit(vector) + unit(self._model(self._mirror(chip.pixels)))
        yield Embedding(vector=unit(vector) if cosine else vector, encoder_id=self.encoder_id)

    def _mirror(self, pixels: UInt8Array) -> UInt8Array:
        rows = pixels.reshape(len(pixels), -1)
        return rows.take(self._mirrored, axis=1).reshape(pixels.shape)


def unit(vector: Float32Array) -> Float32Array:
    """The vector at unit norm, float32 (D,). A zero vector stays zero and scores 0, which no threshold accepts."""
    return (vector / max(float(np.linalg.norm(vector)), 1e-6)).astype(np.float32, copy=False)
