"""Example requests and responses of the control protocol, built from the types of their fields."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar

from edge_oneshot.control.codec import hints
from edge_oneshot.control.protocol import Answer, Finished, PendingRequest, Progress, result_of

T = TypeVar("T")


def example(kind: type[T], **values: Any) -> T:
    """An instance of a request or response with every field set, also those with a default. values: fields to set."""
    assert is_dataclass(kind)
    return kind(**{f.name: _example(hints(kind)[f.name]) for f in fields(kind)} | values)  # type: ignore[return-value]


def _example(kind: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _example(next(k for k in inner if k is not type(None)))
    if origin is Literal:
        return inner[0]
    if origin in (list, tuple):
        return origin([_example(inner[0])] * 2)
    if origin is dict:
        return {"first": _example(inner[1])}
    if is_dataclass(kind) and isinstance(kind, type):
        return example(kind)
    return {str: "Zoë", int: 7, float: 0.25, bool: True, bytes: b"\xff\xd8 a picture \x00"}.get(
        kind, {"any": ["JSON", None]}
    )


def answers_of(pending: PendingRequest) -> list[Answer]:
    """The answers so far."""
    found = []
    while not pending.answers.empty():
        found.append(pending.answers.get())
    return found


def response_of(pending: PendingRequest) -> Any:
    """The response of a request that was served, or its error raised. Progress before it is skipped."""
    *progress, last = answers_of(pending)
    assert all(isinstance(p, Progress) for p in progress)
    assert not isinstance(last, Progress), "the request is not answered yet"
    if isinstance(last, Finished):
        assert isinstance(last.response, pending.request.response)
    return result_of(pending.request, last)
