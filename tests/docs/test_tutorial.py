"""docs/tutorial.md without a camera: every ```sh block runs as a reader would type it, and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ai_edge_litert", reason="the models run on LiteRT here")
pytest.importorskip("skimage", reason="scikit-image carries one of the portraits")
pytest.importorskip("matplotlib", reason="matplotlib carries the other portrait")

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.timeout(300)
def test_the_tutorial_works_without_a_camera(tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, words in (("edge-oneshot", "-c 'from edge_oneshot.cli import main; main()'"), ("python", "")):
        (bin_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
        (bin_folder / name).chmod(0o755)
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
    }
    environment.pop("EDGE_ONESHOT_CONFIG", None)
    done = subprocess.run(
        ["sh", "-eu", "-c", "\n".join(COMMANDS)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "exit code 3" in done.stdout
    shown = logged_events(PAGE)
    assert len(shown) == 4
    assert sorted(logged_events(done.stderr)) == sorted(shown)


def logged_events(text: str) -> list[str]:
    """What was logged of each event, without its scores: they depend on the model."""
    return [m[0].split(" score=")[0] for m in re.finditer(r"(?<=: )(match|unknown|gone|rejected) .*", text)]
