"""The script, the configuration and the commands of docs/how-to/any-domain.md give what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ai_edge_litert", reason="the bundle runs on LiteRT here")

PAGE = Path(__file__).parents[2] / "docs" / "any-domain.md"
ENROLLED = ("anchor", "bolt", "cup", "fish", "house", "key", "ladder", "wheel")
UNKNOWN = ("sail", "spectacles")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow  # eighteen starts of the command
@pytest.mark.timeout(900)
def test_signs_are_enrolled_from_one_drawing_and_recognised_in_another(tmp_path: Path) -> None:
    (tmp_path / "draw.py").write_text(blocks("python")[0], encoding="utf-8")
    (tmp_path / "signs.toml").write_text(blocks("toml")[0], encoding="utf-8")
    commands = tmp_path / "commands"
    commands.mkdir()
    # Commands with the names of the page, run by the interpreter of this test.
    for name, words in (("edge-oneshot", "-c 'from edge_oneshot.cli import main; main()'"), ("python", "")):
        script = commands / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    shown = {}
    for block in blocks("sh")[:2]:  # the third runs the daemon
        done = subprocess.run(
            ["sh", "-eu", "-c", block] if "identify" not in block else ["sh", "-u", "-c", block],
            cwd=tmp_path, env={**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
        shown |= dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert [sign for sign in ENROLLED if not shown[sign].startswith(f"{sign} ({sign})")] == []
    assert [sign for sign in UNKNOWN if not shown[sign].startswith("unknown")] == []
