"""Reads the fields of one JSON object, each with its type and bounds, and names a wrong field in the error."""

from __future__ import annotations

import math
from typing import TypeVar

from edge_oneshot.errors import ModelError

Choice = TypeVar("Choice", bound=str)


MOST_ITEMS = 100_000  # of a list


class Fields:
    """The fields of one JSON object. Every method raises ModelError with the path of the field, expected and actual value.

    where: the file, for messages. path: the place of this object in the document, "" at the top.
    """

    def __init__(self, data: object, where: str, path: str = "") -> None:
        self.where, self.path = where, path
        if not isinstance(data, dict):
            raise self.fault("", "a JSON object", data)
        self.data: dict[str, object] = data

    def fault(self, key: str, expected: str, got: object) -> ModelError:
        field = f"{self.path}.{key}".strip(".") or "card"
        return ModelError(
            f"{self.where} {field}: expected {expected}, got {str(got)[:80]!r}",
            "convert the model again with a complete card",
        )

    def sub(self, key: str) -> Fields:
        """The object in a field."""
        return Fields(self.data.get(key), self.where, f"{self.path}.{key}".strip("."))

    def optional(self, key: str) -> Fields | None:
        """The object in a field; None if the field is absent or null."""
        return None if self.data.get(key) is None else self.sub(key)

    def text(self, key: str) -> str:
        value = self.data.get(key)
        if not isinstance(value, str) or not value:
            raise self.fault(key, "text", value)
        return value

    def choice(self, key: str, choices: tuple[Choice, ...]) -> Choice:
        value = self.data.get(key)
        for choice in choices:
            if value == choice:
                return choice
        raise self.fault(key, f"one of {', '.join(choices)}", value)

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        value = _finite(self.data.get(key))
        if value is None or not low <= value <= high:
            raise self.fault(key, f"a number from {low:g} to {high:g}", self.data.get(key))
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        value = self.number(key, low, high)
        if value != int(value):
            raise self.fault(key, "a whole number", value)
        return int(value)

    def flag(self, key: str) -> bool:
        """False if the field is absent."""
        value = self.data.get(key, False)
        if not isinstance(value, bool):
            raise self.fault(key, "true, false or no such field", value)
        return value

    def items(self, key: str, expected: str, most: int = MOST_ITEMS) -> list[object]:
        value = self.data.get(key)
        if not isinstance(value, list):
            raise self.fault(key, expected, value)
        if len(value) > most:
            raise self.fault(key, f"at most {most} values", f"{len(value)} values")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        expected = "a list of landmark names"
        values = self.items(key, expected)
        names = tuple(name for name in values if isinstance(name, str))
        if len(names) != len(values):
            raise self.fault(key, expected, values)
        return names

    def numbers(
        self, key: str, length: int | None = None, low: float = -math.inf, high: float = math.inf
    ) -> tuple[float, ...]:
        expected = f"{length if length is not None else 'a list of'} finite numbers >= {low:g}"
        expected += f" and <= {high:g}" if high < math.inf else ""
        values = self.items(key, expected)
        numbers = tuple(n for value in values if (n := _finite(value)) is not None and low <= n <= high)
        if len(numbers) != len(values) or (length is not None and len(numbers) != length):
            raise self.fault(key, expected, values)
        return numbers


def _finite(value: object) -> float | None:
    """The value as a float; None if it is not a finite number. Integers in JSON may have hundreds of digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
