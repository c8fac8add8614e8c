"""Sizes that keep the code readable: no file over 300 lines, no function over 60. ruff limits the complexity (C901)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("edge_oneshot", "converters", "training", "benchmarks", "scripts")
FILES = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py")) if "build" not in p.parts]
MAX_FILE, MAX_FUNCTION = 300, 60
# Longer functions, each with the reason.
EXCEPTIONS: dict[str, str] = {}


def long_functions(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    name = str(path.relative_to(ROOT))
    return [f"{name}:{f.name}" for f in functions if (f.end_lineno or 0) - f.lineno + 1 > MAX_FUNCTION]


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE
    assert [f for f in long_functions(path) if f not in EXCEPTIONS] == []


def test_no_exception_is_out_of_date() -> None:
    assert set(EXCEPTIONS) <= {f for path in FILES for f in long_functions(path)}
