"""Encode drawings with the device's own code: picture -> frame -> chip -> int8 bundle on the TFLite runtime -> embedding."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.model.card import EncoderCard
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.types import Chip, Frame
from edge_oneshot.vision.align import whole_frame
from training.omniglot.data import PACKED, DataError, pack, pictures, unpack

_EPOCH = datetime.fromtimestamp(0, UTC)


def chips(ink: NDArray[np.uint8], card: EncoderCard) -> Iterator[Chip]:
    """Ink uint8 (N, 105, 105) of 0 and 1 -> one chip each, in the size and colour of the card, resized by the device."""
    for number, picture in enumerate(pictures(ink)):
        colour = np.repeat(picture[:, :, None], 3, axis=2)
        yield whole_frame(Frame(pixels=colour, seq=number, captured_ns=0, captured_at=_EPOCH, source="omniglot"), card)


def embed(ink: NDArray[np.uint8], encoder: TwinEncoder) -> NDArray[np.float32]:
    """Embeddings float32 (..., D) of ink uint8 (..., 105, 105); equal drawings are encoded once.

    Raises DataError for a bundle that encodes faces.
    """
    if encoder.card.regions != "frame":
        raise DataError(f'bundle {encoder.card.name}: expected regions "frame", got "{encoder.card.regions}"')
    flat = pack(ink).reshape(-1, PACKED)
    distinct, inverse = np.unique(flat, axis=0, return_inverse=True)
    vectors = np.stack([encoder.encode(chip).vector for chip in chips(unpack(distinct), encoder.card)])
    return vectors[inverse.reshape(-1)].reshape(*ink.shape[:-2], -1)
