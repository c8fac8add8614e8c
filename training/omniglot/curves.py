"""Curves of a run as PNG."""

from __future__ import annotations

import json
from pathlib import Path


def draw_curves(log: Path, path: Path) -> None:
    """Loss and validation scores over the steps, as PNG. log: the run's log.jsonl."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    for axis, keys in ((left, ("loss",)), (right, ("one_shot_cosine", "one_shot_l1", "verification"))):
        for key in keys:
            axis.plot([row["step"] for row in rows], [row[key] for row in rows], label=key)
        axis.set_xlabel("step")
        axis.legend()
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
