"""The tables of the requests for docs_tables.py, from the dataclasses of the control protocol."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal

from docs_markdown import plain, table

from edge_oneshot.control.codec import hints
from edge_oneshot.control.requests import REQUESTS, AnyRequest
from edge_oneshot.mqtt.commands import VERBS as OVER_MQTT

WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    bytes: "base64",
    type(None): "null",
    Any: "JSON",
}


def type_words(kind: Any) -> str:
    """A field's type in words of JSON."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(type_words, inner))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (list, tuple):
        return f"list of {type_words(inner[0])}"
    if origin is dict or is_dataclass(kind):
        return "object"
    return WORDS[kind]


def _doc(f: Field[Any]) -> str:
    text = plain(f.metadata.get("doc", ""))
    at_most = f.metadata.get("at_most")
    return text if at_most is None else f"{text} (more than 0, at most {at_most:g})"


def _default(f: Field[Any]) -> str:
    if f.default is MISSING:
        return "required"
    return "" if f.default is None else f"`{str(f.default).lower() if isinstance(f.default, bool) else f.default}`"


def argument_rows(request: type[AnyRequest]) -> Iterator[tuple[str, str, str, str]]:
    for f in fields(request):  # type: ignore[arg-type]
        kind = hints(request)[f.name]
        words = type_words(kind).removesuffix(" or null")
        yield f"`{f.name}`", words, _default(f), _doc(f)


def response_rows(kind: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Each field of a response; fields of objects and of list items follow their object, as `object.field`."""
    for f in fields(kind):  # type: ignore[arg-type]
        hint = hints(kind)[f.name]
        yield f"`{prefix}{f.name}`", type_words(hint), _doc(f)
        for part in (hint, *typing.get_args(hint)):
            if is_dataclass(part) and isinstance(part, type):
                yield from response_rows(part, f"{prefix}{f.name}.")


def request_table() -> str:
    rows = (
        (f"[`{verb}`](#{verb})", plain(inspect.getdoc(kind) or ""), "yes" if verb in OVER_MQTT else "no")
        for verb, kind in REQUESTS.items()
    )
    return table(("request", "purpose", "over MQTT"), rows)


def request_sections() -> str:
    parts = []
    for verb, kind in REQUESTS.items():
        parts += [f"### {verb}", plain(inspect.getdoc(kind) or "")]
        arguments = list(argument_rows(kind))
        if arguments:
            parts.append(table(("argument", "type", "default", "meaning"), arguments))
        parts.append(table(("answer", "type", "meaning"), response_rows(kind.response)))
    return "\n\n".join(parts)
