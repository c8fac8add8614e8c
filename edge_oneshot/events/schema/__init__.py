"""The JSON Schemas (2020-12) of what is published, shipped with the package."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def load(name: str) -> dict[str, Any]:
    """`event-v1` or `state-v1`. Raises FileNotFoundError for another name."""
    text = resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
