"""Markdown for the documentation scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table. `|` in a cell is escaped."""
    cells = [list(head), *([c.replace("|", "\\|") for c in row] for row in rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]])


def plain(text: str) -> str:
    """Text from the code as Markdown: a `<word>` outside of backticks must not become an HTML tag."""
    return re.sub(r"(`[^`]*`)|<", lambda m: m[1] or "\\<", text)
