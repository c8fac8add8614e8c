"""Curves of a run as PNG."""

from __future__ import annotations

from pathlib import Path

from training.omniglot.model import Row


def draw_curves(history: list[Row], path: Path) -> None:
    """Losses and validation scores over the epochs, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    epochs = [row["epoch"] for row in history]
    for axis, keys in (
        (left, ("softmax_loss", "verification_loss")),
        (right, ("one_shot_cosine", "one_shot_l1", "verification")),
    ):
        for key in keys:
            axis.plot(epochs, [row[key] for row in history], label=key)
        axis.set_xlabel("epoch")
        axis.legend()
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
