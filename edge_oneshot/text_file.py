"""Text files that people write with any editor: a byte order mark is accepted, another encoding is named."""

from __future__ import annotations

from pathlib import Path

_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark. Raises OSError, or ValueError with what the file is instead."""
    return decode_text(path.read_bytes())


def decode_text(data: bytes) -> str:
    """As `read_text`."""
    kind = _MARKS.get(data[:2]) or ("UTF-16 or binary" if b"\0" in data[:200] else None)
    if kind is not None:
        raise ValueError(f"expected UTF-8 text, got {kind}; save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        got = f"byte 0x{data[e.start]:02x} in line {line} (Latin-1?)"
        raise ValueError(f"expected UTF-8 text, got {got}; save the file as UTF-8") from None
