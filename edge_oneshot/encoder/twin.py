"""The twin encoder: the same network for template and probe (Koch, Zemel, Salakhutdinov 2015), int8 on the device."""

from __future__ import annotations

import numpy as np

from edge_oneshot.bundle import Bundle
from edge_oneshot.errors import ModelError
from edge_oneshot.runtime import Runtime
from edge_oneshot.types import Chip, Embedding


class TwinEncoder:
    """Turns chips into embeddings.

    Input: chip uint8 (H, W, C) as the card says. The bundle takes raw pixels as int8 with scale 1 and zero point -128,
    so the whole preparation is one XOR with 0x80. Output: float32 (D,), dequantized, unit norm for `cosine`.
    Raises ModelError when the model contradicts its card. Belongs to one thread.
    """

    def __init__(self, bundle: Bundle, runtime: str = "auto", threads: int = 1) -> None:
        self.card = bundle.encoder
        self.encoder_id = bundle.encoder_id
        self.runtime = Runtime(bundle.model, bundle.path, runtime, threads)
        self._unit_norm = self.card.comparator.kind == "cosine"
        self._check(bundle)

    def _check(self, bundle: Bundle) -> None:
        spec = self.card.input
        inputs, outputs = self.runtime.inputs, self.runtime.outputs
        shape = (1, spec.height_px, spec.width_px, spec.channels)
        facts: tuple[tuple[str, object, object], ...] = (
            ("inputs", 1, len(inputs)),
            ("outputs", 1, len(outputs)),
            ("input shape (batch, height, width, channels)", shape, inputs[0].shape),
            ("input type", np.dtype(np.int8), inputs[0].dtype),
            ("input scale and zero point (raw pixels)", (1.0, -128), (inputs[0].scale, inputs[0].zero_point)),
            ("output shape (batch, dimension)", (1, self.card.dimension), outputs[0].shape),
            ("output type", np.dtype(np.int8), outputs[0].dtype),
            ("output quantized", True, outputs[0].scale > 0),
        )
        for field, expected, got in facts:
            if expected != got:
                raise ModelError(f"{bundle.path} {field}: the card expects {expected}, the model has {got}",
                                 "convert the model again with edge-oneshot-convert")

    def encode(self, chip: Chip) -> Embedding:
        spec = self.card.input
        if chip.pixels.shape != (spec.height_px, spec.width_px, spec.channels):
            raise ValueError(f"chip: expected {(spec.height_px, spec.width_px, spec.channels)}, got {chip.pixels.shape}")
        signed = (chip.pixels ^ 0x80).view(np.int8)
        (quantized,) = self.runtime.invoke(signed[np.newaxis])
        output = self.runtime.outputs[0]
        vector = (quantized[0].astype(np.float32) - output.zero_point) * np.float32(output.scale)
        if self._unit_norm:
            # A zero vector has no direction: it scores 0 against everything, which no threshold accepts.
            vector /= max(float(np.linalg.norm(vector)), 1e-6)
        return Embedding(vector=vector.astype(np.float32, copy=False), encoder_id=self.encoder_id)
