"""The public API: its names, and the examples of docs/reference/api.md, which run in order as one program."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge_oneshot
from edge_oneshot.errors import EdgeOneshotError

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "api.md"
PUBLIC = {
    *("Recognizer", "Recognition", "Enrollment", "open_camera", "Config", "errors", "__version__"),
    *("Frame", "Box", "Identity", "Observation", "Sample", "Quality", "Decision", "DecisionKind", "Rate"),
}


def test_the_public_names_are_these() -> None:
    """A change here is a change for users: say so in CHANGELOG.md."""
    assert set(edge_oneshot.__all__) == PUBLIC
    assert len(PUBLIC - {"errors"}) <= 15


def test_every_public_name_exists_and_stands_in_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in edge_oneshot.__all__:
        assert getattr(edge_oneshot, name) is not None
        assert name in (*("__version__", "Quality", "Identity", "Box"), *re.findall(r"\w+", page)), name


def test_type_checkers_see_the_same_names() -> None:
    """The stub repeats the names; a name of one file alone would be wrong in the other."""
    stub = (Path(edge_oneshot.__file__).parent / "__init__.pyi").read_text(encoding="utf-8")
    listed = re.search(r"__all__ = \[(.*?)\]", stub, re.DOTALL)
    assert listed is not None and set(re.findall(r'"(\w+)"', listed[1])) == set(edge_oneshot.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Recogniser'"):
        edge_oneshot.Recogniser  # noqa: B018


def test_errors_are_reached_by_the_package() -> None:
    assert edge_oneshot.errors is importlib.import_module("edge_oneshot.errors")
    assert issubclass(edge_oneshot.errors.CameraError, EdgeOneshotError)


def test_the_examples_of_the_page_run(portrait_files: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(portrait_files["collins"], tmp_path / "eileen.png")
    shutil.copy(portrait_files["hopper"], tmp_path / "grace.png")
    (tmp_path / "frames").mkdir()
    for i in range(2):
        shutil.copy(portrait_files["collins"], tmp_path / "frames" / f"{i}.png")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("eileen-collins ")
    assert lines[1].startswith("eileen-collins ")
    assert lines[2].startswith("non-match ")
    assert sum("match" in line for line in lines[3:]) >= 2
    assert "Nobody" in lines[-1]
