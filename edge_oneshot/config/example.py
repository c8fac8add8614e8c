"""The example configuration: every key at its default, commented out, with its documentation."""

from __future__ import annotations

import json

from edge_oneshot.config.root import SECTIONS, section_keys


def example_toml() -> str:
    """A complete file: every key at its default, commented out, with its documentation."""
    lines = ["# edge-oneshot: every key with its default. To change a key, remove the # before it."]
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        for key in section_keys(section):
            choices = key.metadata["choices"]
            doc = key.metadata["doc"] + (f": {' | '.join(map(str, choices))}" if choices else "")
            value = toml_value(key.metadata["example"]) if key.default is None else toml_value(key.default)
            lines += [f"# {doc}", f"#{key.name} = {value}"]
    return "\n".join(lines) + "\n"


def toml_value(value: object) -> str:
    """A configuration value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
