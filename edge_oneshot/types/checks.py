"""Array types, and the checks that the value types share."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


def require(ok: bool, what: str, expected: str, got: object) -> None:
    if not ok:
        raise ValueError(f"{what}: expected {expected}, got {describe(got) if isinstance(got, np.ndarray) else got}")


def aware(what: str, moment: datetime) -> None:
    require(moment.tzinfo is not None, what, "an aware datetime (UTC)", f"naive {moment!r}")


def describe(array: object) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
