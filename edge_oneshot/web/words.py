"""The catalogue: every sentence that the page shows stands in text/en.toml. A translation is another such file."""

from __future__ import annotations

import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent / "text"


class Words:
    """words("people.title") is the text of that key; values fill its {places}."""

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self._texts = flat(tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8")))

    def __call__(self, key: str, /, **values: object) -> str:
        text = self._texts[key]
        return text.format(**values) if values else text

    def get(self, key: str, default: str = "") -> str:
        return self._texts.get(key, default)

    @property
    def keys(self) -> set[str]:
        return set(self._texts)


def flat(table: dict[str, object], prefix: str = "") -> dict[str, str]:
    """{"people": {"title": …}} -> {"people.title": …}."""
    found: dict[str, str] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: str(value)}
    return found
