"""What a training run leaves in its folder: checkpoints that are whole, and a line for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; a power cut leaves the one before."""
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def log(out: Path, row: dict[str, Any]) -> None:
    """Append a line to log.jsonl and print it."""
    with (out / "log.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
