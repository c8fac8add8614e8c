"""A key of a section of the configuration."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def key(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    slug: bool = False,
    example: Any = None,
    path: str = "",
) -> Any:
    """A key of a section: its default, its documentation in one line (with the unit), and the values that it accepts.

    low, high: bounds, inclusive. example: the value in the example file if the default is None. path: "file" for a path; "bundle"
    and "name" where a name without / may be a shipped bundle, or a systemd credential.
    """
    return field(
        default=default,
        metadata={
            "doc": doc,
            "low": low,
            "high": high,
            "choices": choices,
            "slug": slug,
            "example": example,
            "path": path,
        },
    )
