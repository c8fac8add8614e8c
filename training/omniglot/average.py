"""The mean of the weights of several checkpoints (Izmailov et al. 2018): the effect of a longer cooldown without its cost.

While the rate is high the weights move around the point that they would settle at; their mean is nearer to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, update_bn

from training import runs
from training.omniglot.batches import epoch_steps, pictures
from training.omniglot.data import DataError, Drawings
from training.omniglot.model import Model, TrainConfig, load
from training.omniglot.split import alphabets
from training.omniglot.train import validate

STEPS = 60  # of the training stream, to measure the batch statistics of the mean


def remeasure(model: Model, drawings: Drawings, config: TrainConfig) -> None:
    """Measure the batch norm statistics again, as plain means over STEPS: those of the checkpoints do not fit the mean."""

    def stream() -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(config.seed)
        steps = epoch_steps(drawings, config, np.random.default_rng(config.seed))
        for _, groups in zip(range(STEPS), steps, strict=False):
            yield pictures(drawings, groups, config, int(model.encoder.side_px), generator)[0]

    update_bn(stream(), model.encoder)


def average(checkpoints: Sequence[Path], data: Drawings, out: Path) -> dict[str, float]:
    """Write the mean of the checkpoints to `out`; returns its float validation. Raises DataError if they do not match."""
    loaded = [load(path) for path in checkpoints]
    model, config = loaded[0]
    shapes = [{name: value.shape for name, value in m.state_dict().items()} for m, _ in loaded]
    if any(c.network != config.network for _, c in loaded) or any(s != shapes[0] for s in shapes):
        raise DataError(
            "average: expected checkpoints of one network and one set of alphabets, got different ones",
            "name checkpoints of one run",
        )
    mean = AveragedModel(model.double())  # in double precision, so that the order does not matter
    for other, _ in loaded:
        mean.update_parameters(other.double())
    model = mean.module.float()
    remeasure(model, data.only(name for part in config.parts for name in alphabets(part)), config)
    kept = torch.load(checkpoints[-1], weights_only=True)
    runs.save(out, {**kept, "model": model.state_dict(), "averaged": [path.name for path in checkpoints]})
    return validate(model, data.only(alphabets("validate")))
