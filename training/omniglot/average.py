"""The mean of several checkpoints' weights (Izmailov et al. 2018): what a longer cooldown would reach, for nothing.

While the rate is high the weights wander about the place that they would settle at; their mean lies nearer to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.omniglot.augment import distort
from training.omniglot.data import SIDE_PX, DataError, Drawings
from training.omniglot.split import alphabets
from training.omniglot.train import Model, TrainConfig, epoch_steps, load, turned, validate

STEPS = 60  # of the training stream, to measure the averaged network's batch statistics


def remeasure(model: Model, drawings: Drawings, config: TrainConfig) -> None:
    """Batch norm statistics belong to the weights they were seen with: measure them anew, as plain means over STEPS."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
    rng = np.random.default_rng(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    side = int(model.encoder.side_px)
    model.train()
    with torch.no_grad():
        for _, groups in zip(range(STEPS), epoch_steps(drawings, config, rng), strict=False):
            index = np.concatenate([g.ravel() for g, _ in groups])
            orientation = torch.from_numpy(np.repeat([o for _, o in groups], [g.size for g, _ in groups]))
            ink = turned(torch.from_numpy(drawings.ink[index])[:, None].float(), orientation)
            if side < SIDE_PX:
                ink = F.avg_pool2d(ink, 2, 1)
            model.encoder(distort(ink, side, config.distortion, generator))
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


def average(checkpoints: Sequence[Path], data: Drawings, out: Path) -> dict[str, float]:
    """Write the mean of the checkpoints to ``out``; returns its float validation. Raises DataError if they differ in kind."""
    model, config = load(checkpoints[0])
    states = [model.state_dict(), *(load(path)[0].state_dict() for path in checkpoints[1:])]
    if any(load(path)[1].network != config.network for path in checkpoints) or any(
        s.keys() != states[0].keys() or any(s[k].shape != states[0][k].shape for k in s) for s in states
    ):
        raise DataError("average: expected checkpoints of one network on one set of alphabets")
    model.load_state_dict(
        {key: torch.stack([s[key].double() for s in states]).mean(0).to(states[0][key].dtype) for key in states[0]}
    )
    remeasure(model, data.only(name for part in config.parts for name in alphabets(part)), config)
    kept = torch.load(checkpoints[-1], weights_only=True)
    torch.save({**kept, "model": model.state_dict(), "averaged": [path.name for path in checkpoints]}, out)
    return validate(model, data.only(alphabets("validate")))
