"""Mutators: bytes, JSON values and text in, damaged ones out. All randomness comes from the `rng` given."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

EDGES = (0, 1, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
WORDS = (
    "",
    " ",
    "\x00",
    "\x1b[2J\x1b]0;x\x07",
    "\x85\x9b31m",
    "\ud800",
    "\u202eevil",
    "\u200c",
    "\u2028",
    "ﬀİß",
    "x" * 5000,
    "-" * 300,
    "../../etc/passwd",
    "~nosuchuser/x",
    "$HOME/x",
    "%s%n{0}",
    "nan",
    "1e999",
    "9" * 5000,
    "２",
    "²",
    "2026-13-45T99:99:99",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "a/b#+",
    "sha256:" + "00" * 32,
)
VALUES: tuple[Any, ...] = (
    *WORDS,
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**53,
    -(2**63),
    2**64,
    10**400,
    0.0,
    -0.0,
    1e-320,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    [],
    {},
    [[]],
    [None] * 100,
    {"": {}},
)


def mutate_bytes(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """One to eight changes: bit flips, numbers at their edges, chunks cut, doubled, moved or taken from another input."""
    out = bytearray(data)
    for _ in range(1 if rng.random() < 0.4 else rng.randint(2, 8)):
        rng.choice(_BYTES)(out, rng, others)
    return bytes(out[: 4 * len(data) + 65536])


def _flip(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    if out:
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _byte(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    if out:
        out[rng.randrange(len(out))] = rng.choice((0, 1, 0x20, 0x22, 0x2C, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _early(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """Most formats decide by their first bytes."""
    if out:
        out[rng.randrange(min(64, len(out)))] = rng.randrange(256)


def _number(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    form = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    if len(out) >= size:
        at = rng.randrange(len(out) - size + 1)
        out[at : at + size] = struct.pack(form, rng.choice(EDGES) & (256**size - 1))


def _cut(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    if out:
        at = rng.randrange(len(out))
        del out[at : at + rng.choice((1, 2, 4, 16, 256, len(out)))]


def _insert(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    at = rng.randint(0, len(out))
    out[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 4, 16, 100))))


def _double(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    if out:
        at = rng.randrange(len(out))
        chunk = out[at : at + rng.choice((1, 4, 16, 256, 4096))]
        place = rng.randint(0, len(out))
        out[place : place + (len(chunk) if rng.random() < 0.5 else 0)] = chunk


def _fill(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    if out:
        at, size = rng.randrange(len(out)), rng.choice((4, 16, 256, 4096))
        size = min(size, len(out) - at)
        out[at : at + size] = bytes([rng.choice((0, 0xFF, 0x20))]) * size


def _page(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """Copy one block over another, as a disk does that writes to the wrong place."""
    size = rng.choice((512, 4096))
    if len(out) >= 2 * size:
        a, b = (rng.randrange(len(out) // size) * size for _ in range(2))
        out[a : a + size] = out[b : b + size]


def _splice(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    if others and out:
        other = rng.choice(others)
        at, start = rng.randrange(len(out)), rng.randrange(max(1, len(other)))
        chunk = other[start : start + rng.choice((16, 256, 4096, len(other)))]
        out[at : at + len(chunk)] = chunk


_BYTES: tuple[Callable[[bytearray, Random, Sequence[bytes]], None], ...] = (
    *(_flip, _byte, _early, _number, _cut, _insert, _double, _fill, _page, _splice),
)


def mutate_json(value: Any, rng: Random) -> Any:
    """One to four places of a JSON value replaced, removed, renamed or doubled. `value` itself is not changed."""
    for _ in range(1 if rng.random() < 0.6 else rng.randint(2, 4)):
        value = _change(_copy(value), rng)  # a change may put one object in two places
    return value


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(v) for key, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _change(value: Any, rng: Random) -> Any:
    if not isinstance(value, dict | list) or not value or rng.random() < 0.08:
        return _other(value, rng)
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    kind = rng.random()
    if kind < 0.7:
        value[key] = _change(value[key], rng)
    elif kind < 0.8:
        del value[key]
    elif isinstance(value, list):
        value.insert(key, _copy(rng.choice(value)) if rng.random() < 0.5 else _copy(rng.choice(VALUES)))
    elif kind < 0.9:
        value[rng.choice(list(value))] = value[key]
    else:
        value[rng.choice(WORDS)] = value.pop(key) if rng.random() < 0.5 else _copy(rng.choice(VALUES))
    return value


def _other(value: Any, rng: Random) -> Any:
    """A value near `value`, or one of another kind."""
    kind = rng.random()
    if isinstance(value, str) and kind < 0.6:
        return mutate_text(value, rng)
    if isinstance(value, int | float) and not isinstance(value, bool) and kind < 0.6:
        return rng.choice((-value, value + 1, value * 1000, str(value), -1e9, 1e9, 0.5))
    if kind > 0.97:
        deep: Any = value
        for _ in range(rng.choice((50, 2000))):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        return deep
    return _copy(rng.choice(VALUES))


def mutate_text(text: str, rng: Random) -> str:
    """One change: a character replaced, words put in, cut, doubled, another case."""
    text = text[:200_000]
    at = rng.randint(0, len(text))
    return rng.choice(
        (
            text[:at] + rng.choice(WORDS) + text[at:],
            text[:at] + text[at + 1 :],
            text[:at]
            + chr(rng.choice((9, 10, 13, 34, 39, 44, 58, 92, 0xFEFF, rng.randrange(32, 0x3000))))
            + text[at + 1 :],
            text[:at],
            text * 2,
            text.swapcase(),
            text[:50].replace(rng.choice(text or "x"), rng.choice(WORDS)) + text[50:],
            rng.choice(WORDS),
        )
    )


def dump_json(value: Any, rng: Random) -> bytes:
    """As UTF-8, mostly; what no JSON text can hold is written as Python does. Sometimes another encoding."""
    try:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.3, indent=rng.choice((None, 1)))
    except RecursionError:
        text = "[" * 100_000 + "]" * 100_000
    encoding = rng.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16", "latin-1"))
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


def mutate_document(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """Of a JSON document: its values in three of four cases, else its bytes."""
    if rng.random() < 0.75:
        return dump_json(mutate_json(json.loads(data), rng), rng)
    return mutate_bytes(data, rng, others)
