"""Dataclasses <-> JSON objects, and their JSON Schema: one description of a message for socket, MQTT and documentation.

A field is a plain type: str, int, float, bool, bytes (base64 in JSON), None, Literal, a list or tuple, a dict with str
keys, another dataclass, or `Json` for a document that is passed on unread. `arg` and `out` add what a type cannot say.
"""

from __future__ import annotations

import base64
import binascii
import functools
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any, Literal, TypeVar

from edge_oneshot.errors import ControlError

MAX_TEXT = 1000
Json = Any  # a JSON value of any kind
T = TypeVar("T")


def arg(doc: str, default: object = MISSING, *, at_most: float | None = None) -> Any:
    """A field of a request. at_most: of a number, which must be more than 0 then."""
    metadata = {"doc": doc, "at_most": at_most}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def out(doc: str, default: object = MISSING) -> Any:
    """A field of a response. default: what an earlier release, which does not send it, means."""
    return arg(doc, default)


@functools.cache
def hints(kind: type) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


# ---- to JSON


def to_json(value: object) -> Any:
    """A message, or a part of one, as JSON values."""
    if is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return value


# ---- from JSON


def from_json(kind: type[T], data: object, name: str, *, strict: bool) -> T:
    """Raises ControlError that names the argument, as `name key`, with what was expected and what was received.

    strict: an unknown key is an error. A null stands for a missing key where there is a default.
    """
    assert is_dataclass(kind)
    if not isinstance(data, Mapping):
        raise wrong(name, "a JSON object", data)
    types_, known, values = hints(kind), {f.name: f for f in fields(kind)}, {}
    if strict and (unknown := sorted(set(data) - set(known))):
        expected = ", ".join(known) or "no arguments"
        raise ControlError(f"{name}: unknown argument {unknown[0][:60]!r}: expected {expected}", HINT)
    for key, f in known.items():
        value = data.get(key)
        if value is None and (f.default is not MISSING or f.default_factory is not MISSING):
            continue
        values[f.name] = _read(types_[f.name], value, f"{name} {key}", f.metadata.get("at_most"), strict)
    return kind(**values)


HINT = "see docs/reference/requests.md"


def _read(kind: Any, value: Any, name: str, at_most: float | None, strict: bool) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (kind,) = (k for k in inner if k is not type(None))
        return _read(kind, value, name, at_most, strict)
    if origin is Literal:
        if value not in inner:
            raise wrong(name, f"one of {', '.join(map(repr, inner))}", value)
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return from_json(kind, value, name, strict=strict)
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise wrong(name, "a list", value)
        return origin(_read(inner[0], v, name, at_most, strict) for v in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise wrong(name, "a JSON object", value)
        return {k: _read(inner[1], v, f"{name}.{k}", at_most, strict) for k, v in value.items()}
    return _scalar(kind, value, name, at_most, strict)


def _scalar(kind: Any, value: Any, name: str, at_most: float | None, strict: bool) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise wrong(name, "true or false", value)
    if kind in (int, float):
        number = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
        if at_most is not None and not (number and 0 < value <= at_most):  # NaN fails this as well
            raise wrong(name, f"seconds, more than 0 and at most {at_most:g}", value)
        # NaN, infinity, or an integer that no float can hold.
        if not number or (kind is float and not abs(value) <= sys.float_info.max):
            raise wrong(name, "a whole number" if kind is int else "a number", value)
        return kind(value)
    if kind is str:
        # A request comes from outside, so its texts are short and none is empty.
        if isinstance(value, str) and (not strict or 0 < len(value) <= MAX_TEXT):
            return value
        raise wrong(name, f"text of 1 to {MAX_TEXT} characters" if strict else "text", value)
    if kind is bytes:
        try:
            return binascii.a2b_base64(value, strict_mode=True)  # base64.b64decode copies text first
        except (binascii.Error, ValueError, TypeError):
            raise wrong(name, "base64", value) from None
    return value


def wrong(name: str, expected: str, got: object) -> ControlError:
    """The error for a JSON value that is not what `name` must be."""
    if isinstance(got, Mapping | list):
        # Its content is not quoted: it may be large or deeply nested.
        received = "a JSON object" if isinstance(got, Mapping) else "a list"
    else:
        received = "nothing" if got is None else repr(str(got)[:60])
    return ControlError(f"{name}: expected {expected}, got {received}", HINT)


# ---- JSON Schema


def schema(kind: Any) -> dict[str, Any]:
    """JSON Schema (2020-12) of a message or a part of one."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [schema(k) for k in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if is_dataclass(kind) and isinstance(kind, type):
        needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        return {
            "type": "object",
            "properties": {f.name: schema(hints(kind)[f.name]) | _notes(f) for f in fields(kind)},
            "required": needed,
        }
    if origin in (list, tuple):
        return {"type": "array", "items": schema(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema(inner[1])}
    return dict(_SCALARS.get(kind, {}))


_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    type(None): {"type": "null"},
}


def _notes(f: Field[Any]) -> dict[str, Any]:
    notes: dict[str, Any] = {"description": f.metadata["doc"]} if f.metadata.get("doc") else {}
    if f.metadata.get("at_most") is not None:
        notes |= {"exclusiveMinimum": 0, "maximum": f.metadata["at_most"]}
    if f.default is not MISSING and f.default is not None:
        notes["default"] = to_json(f.default)
    return notes
