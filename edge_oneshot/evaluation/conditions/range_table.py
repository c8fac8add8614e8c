"""The range table (recognition/reach.py) from the results of `evaluate conditions`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.conditions.results import ConditionsResult
from edge_oneshot.recognition.reach import LIGHTS, RangeTable


def table_of(result: ConditionsResult) -> RangeTable:
    """Raises EdgeOneshotError without the conditions of the distances."""
    points: dict[float, list[tuple[float, float]]] = {}
    for light in LIGHTS:
        used = [
            c
            for c in result.conditions
            if c.light == light
            and c.frames == 1
            and c.family in ("distance", "light", "distance and light")
            and (c.family != "light" or light != 1.0)
        ]
        points[light] = sorted(((c.inter_eye_px, c.at[0].recognized) for c in used), reverse=True)
    if len(points[1.0]) < 2:
        raise EdgeOneshotError(
            "--range: expected the conditions of the family distance, got none", "leave out --conditions"
        )
    return RangeTable(
        points=points,
        width_px=result.frame[0],
        people=result.people,
        threshold=result.thresholds[0].threshold,
        settings=result.settings,
        encoder_id=result.encoder_id,
        version=result.version,
        commit=result.commit,
    )


def write(result: ConditionsResult, path: Path) -> None:
    """Raises EdgeOneshotError."""
    values = asdict(table_of(result))
    try:
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    except OSError as e:
        raise EdgeOneshotError(f"cannot write {path}: {e.strerror}", "give a file in a writable folder") from None


def commit() -> str:
    """The commit of this code if it runs from a repository, with "+" if files differ from it; else ""."""
    folder = str(Path(__file__).parent)

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        tracked = git("ls-files", "--error-unmatch", __file__)
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(Path(folder).parents[1]))
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "") if tracked else ""
    except OSError:
        return ""
