"""Cards that are made to exhaust the reader."""

from __future__ import annotations

import io
import zipfile

import pytest

from edge_oneshot.errors import ModelError
from edge_oneshot.model import bundle

MODEL = b"\0\0\0\0TFL3" + bytes(64)


def bundled(card: bytes, method: int) -> bytes:
    out = io.BytesIO(MODEL)
    with zipfile.ZipFile(out, "a", method) as archive:
        archive.writestr(bundle.CARD_NAME, card)
    return out.getvalue()


def test_a_card_that_unfolds_is_refused() -> None:
    data = bundled(b" " * (bundle.MAX_CARD_BYTES + 1), zipfile.ZIP_DEFLATED)
    assert len(data) < 100_000
    with pytest.raises(ModelError, match="at most 4 MB, got more"):
        bundle.split(data, "a.tflite")


def test_a_card_of_deep_json_is_refused() -> None:
    with pytest.raises(ModelError, match="damaged data"):
        bundle.split(bundled(b"[" * 1_000_000, zipfile.ZIP_DEFLATED), "a.tflite")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damaged_compression_is_an_error(method: int) -> None:
    data = bytearray(bundled(b'{"a": "' + bytes(range(97, 123)) * 50 + b'"}', method))
    start = data.index(bundle.CARD_NAME.encode()) + len(bundle.CARD_NAME)
    for at in range(start, start + 40):
        damaged = bytes(data[:at]) + bytes([data[at] ^ 0xFF]) + bytes(data[at + 1 :])
        try:
            bundle.split(damaged, "a.tflite")
        except ModelError:
            continue
