"""Files from outside, read within limits. In text a byte order mark is accepted, and another encoding is named."""

from __future__ import annotations

import json
from pathlib import Path

MAX_BYTES = 64 * 1024 * 1024  # of a text file: an export of some 40,000 people
MAX_DEPTH = 32  # of JSON, so that no code that walks it recurses deeply
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file of at most `most` bytes, without a byte order mark.

    Raises OSError, or ValueError with what the file is instead.
    """
    return decode_text(read_bytes(path, most))


def read_bytes(path: Path, most: int) -> bytes:
    """Raises OSError, and ValueError for a file of more than `most` bytes."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(
            f"expected at most {most / 1e6:.0f} MB, got more"
            if most >= 1e6
            else f"expected at most {most} bytes, got more"
        )
    return data


def parse_json(text: str | bytes) -> object:
    """Raises ValueError, also for values that are nested more than MAX_DEPTH deep."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"expected at most {MAX_DEPTH} levels, got more") from None
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inside = (v for outer in level for v in (outer.values() if isinstance(outer, dict) else outer))
        level = [v for v in inside if isinstance(v, (dict, list))] if isinstance(value, (dict, list)) else []
        if not level:
            return value
    raise ValueError(f"expected at most {MAX_DEPTH} levels, got more")


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
