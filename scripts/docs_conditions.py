"""The table of recognition by distance, light and cover in docs/explanation/evaluation.md, from the files that were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs_markdown import table

DATA = Path(__file__).parent.parent / "docs" / "explanation" / "data"
ROWS = (
    *("eyes-43", "eyes-32", "eyes-24", "eyes-18", "eyes-14", "eyes-12", "eyes-10"),
    *("light-0.5", "light-0.25", "light-0.12", "photons-0.12", "track-light-0.12", "infrared", "backlight"),
    *("eyes-18-light-0.25", "motion-5", "motion-9", "motion-13", "focus-1.5", "focus-3", "jpeg-15"),
    *("roll-30", "crop-20", "crop-30", "cap", "mask", "sunglasses"),
)


def conditions_table() -> str:
    """A: the threshold set by hand, B: the one in force; per cent of all probes."""
    near, far = ({c["name"]: c for c in json.loads((DATA / f).read_text())["conditions"]}
                 for f in ("conditions.json", "conditions-far.json"))  # fmt: skip
    rows = [
        [
            near[name]["title"],
            *(_percent(near[name]["found"]), _recognized(near[name], 1), _recognized(near[name], 0)),
            *(_percent(far[name]["found"]), _interval(far[name]["at"][1]), _recognized(far[name], 0)),
            _false(far[name]["at"][1]["false_matches"]),
        ]
        for name in ROWS
    ]
    return table(["condition", "near: found", "A", "B", "far: found", "A (95 %)", "B", "far: false at A"], rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _recognized(condition: dict[str, Any], at: int) -> str:
    return _percent(condition["at"][at]["recognized"])


def _interval(at: dict[str, Any]) -> str:
    low, high = at["recognized_ci95"]
    return f"{_percent(at['recognized'])} ({100 * low:.0f} to {100 * high:.0f})"


def _false(counts: dict[str, Any]) -> str:
    return f"{counts['observed']} of {counts['expected']:.1f}"
