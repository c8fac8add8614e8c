"""The arguments of a request, checked one by one: they come from outside, also over MQTT."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from edge_oneshot.control.protocol import Request
from edge_oneshot.errors import ControlError

MAX_TEXT = 1000


class Arguments:
    """Typed access to `request.arguments`. Every method raises ControlError that names the argument."""

    def __init__(self, request: Request) -> None:
        self._values, self._verb = request.arguments, request.verb

    def has(self, key: str) -> bool:
        return self._values.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        value = self._values.get(key, default)
        if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
            raise self._fault(key, f"text of 1 to {MAX_TEXT} characters", value)
        return value

    def flag(self, key: str) -> bool:
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise self._fault(key, "true or false", value)
        return value

    def seconds(self, key: str, default: float, longest_s: float = 600.0) -> float:
        value = self._values.get(key, default)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 < value <= longest_s:  # NaN fails this, too
            raise self._fault(key, f"seconds, more than 0 and at most {longest_s:g}", value)
        return float(value)

    def binary(self, key: str) -> bytes:
        try:
            return base64.b64decode(self._values.get(key, ""), validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise self._fault(key, "base64", "something else") from None

    def document(self, key: str) -> dict[str, Any]:
        value = self._values.get(key)
        if not isinstance(value, dict):
            raise self._fault(key, "a JSON object", value)
        return value

    def _fault(self, key: str, expected: str, got: object) -> ControlError:
        return ControlError(f"{self._verb} {key}: expected {expected}, got {str(got)[:60]!r}", "see docs/operations.md")
