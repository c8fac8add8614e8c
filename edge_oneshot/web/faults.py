"""A fault of what was typed into a form."""

from __future__ import annotations

from edge_oneshot.errors import EdgeOneshotError


class FormError(EdgeOneshotError):
    """key: of the sentence in the catalogue. field: the name of the input. values: what the sentence names."""

    def __init__(self, key: str, field: str, **values: object) -> None:
        super().__init__(key)
        self.key, self.field, self.values = key, field, values
