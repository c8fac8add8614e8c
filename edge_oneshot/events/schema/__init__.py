"""The JSON Schemas (2020-12) of the published messages. They are part of the package."""

from __future__ import annotations

import json
from importlib import resources


def load(name: str) -> dict[str, object]:
    """`event-v1` or `state-v1`. Raises FileNotFoundError for any other name."""
    text = resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    schema: dict[str, object] = json.loads(text)
    return schema
