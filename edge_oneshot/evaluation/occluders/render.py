"""One object over one face: `occlude`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edge_oneshot.evaluation.occluders import headwear, held, masks
from edge_oneshot.evaluation.occluders.canvas import Canvas
from edge_oneshot.types import Float32Array, Float64Array, UInt8Array

KINDS: Mapping[str, Callable[..., Float64Array]] = {
    "surgical mask": masks.surgical,
    "FFP2 mask": masks.ffp2,
    "cloth mask": masks.cloth_mask,
    "scarf": masks.scarf,
    "sunglasses": headwear.sunglasses,
    "cap": headwear.cap,
    "hood": headwear.hood,
    "hand": held.hand,
    "phone": held.phone,
}


LEARNT: Mapping[str, Callable[..., Float64Array]] = {**KINDS, "patch": held.patch, "block": held.block}


def occlude(
    pixels: UInt8Array,
    landmarks: Float32Array | Float64Array,
    kind: str,
    random: np.random.Generator,
    *,
    held_out: bool,
) -> UInt8Array:
    """A copy of an RGB picture (H, W, 3) with one of LEARNT over the face.

    landmarks: px, (4, 2), of image-left eye, image-right eye, nose and mouth. held_out: with the shapes and textures of the
    reports instead of those of the training. Raises KeyError for another kind.
    """
    canvas = Canvas(pixels, np.asarray(landmarks, np.float64)[:4], random)
    return canvas.finished(LEARNT[kind](canvas, held_out=held_out))
