"""Whether a JSON value is a record of a track, as `explain` reads it. Pure."""

from __future__ import annotations

import types
import typing
from datetime import datetime
from typing import Any, NotRequired, cast

from edge_oneshot.events.explain import TrackRecord

SINCE_0_1 = ("pad",)  # keys that records of the first release lack


def checked(value: object) -> TrackRecord:
    """`value` as a record. Raises ValueError that names the key which does not fit."""
    _check("record", TrackRecord, value)
    record = cast(TrackRecord, value)
    for moment in (record["first_at"], record["last_at"]):
        if datetime.fromisoformat(moment).tzinfo is None:
            raise ValueError(f"expected a time with its zone, got {moment}")
    return record


def _check(name: str, kind: Any, value: object) -> None:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if typing.is_typeddict(kind):
        _check_keys(name, kind, _of(name, dict, value))
    elif origin is types.UnionType:
        if not (value is None and type(None) in args):
            _check(name, args[0], value)
    elif origin is dict:
        for key, item in _of(name, dict, value).items():
            _check(f"{name}.{key}", args[1], item)
    elif origin is list:
        for item in _of(name, list, value):
            _check(name, args[0], item)
    else:
        _of(name, kind, value)


def _check_keys(name: str, kind: Any, value: dict[str, object]) -> None:
    for key, hint in typing.get_type_hints(kind, include_extras=True).items():
        optional = typing.get_origin(hint) is NotRequired
        if key in value:
            _check(f"{name}.{key}", typing.get_args(hint)[0] if optional else hint, value[key])
        elif not optional and key not in SINCE_0_1:
            raise ValueError(f"{name}: expected a key {key}, got none")


def _of(name: str, kind: Any, value: Any) -> Any:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name}: expected {kind.__name__}, got {value!r}"[:200])
    return value
