"""The settings of a run, the model that it trains, and its checkpoints."""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import runs
from training.losses import MarginSoftmax
from training.omniglot.data import DataError
from training.omniglot.networks import L1Head, build

Row = dict[str, Any]  # one epoch in the log


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Every setting and its reason. Stored in each checkpoint."""

    network: str = "small"  # "koch" for the network of the paper
    parts: tuple[str, ...] = (
        "train",
    )  # alphabets for training; ("train", "validate") only for a final run that is not measured
    epochs: int = 60  # an epoch shows each drawing once, in a random orientation
    group: int = 16  # characters of one alphabet in a group, near the 20 of a run
    groups: int = 4  # groups in a step: 4 x 16 x 2 drawers = 128 drawings
    orientations: int = 4  # quarter turns are new characters; 8 adds mirror images
    distortion: str = "elastic"  # "koch" for the affine maps of the paper
    optimizer: str = "adamw"  # "sgd" with per-layer rates for the network of the paper
    rate: float = 2e-3  # peak; warm-up of one epoch, constant, then a straight line to zero
    cooldown: float = 0.4  # share of the epochs on that line
    weight_decay: float = 0.05  # on matrices, not on norms and biases
    margin_scale: float = 24.0  # 0 turns off the softmax over characters
    margin: float = 0.25  # by which the true character's cosine must exceed the others
    pair_weight: float = 0.5  # share of the verification loss
    one_shot_weight: float = 0.0  # share of the one-shot loss: the head chooses among the characters of a group
    initial: str = ""  # a checkpoint with the encoder and head to start from, for a second run with other settings
    patience: int = 20  # epochs without a better one-shot validation before stopping, as in the paper
    keep: int = 6  # the newest epochs that stay as epoch-NNN.pt, for the mean of their weights
    seed: int = 0


# What the network of the paper changes.
KOCH = {
    "network": "koch",
    "orientations": 1,
    "distortion": "koch",
    "optimizer": "sgd",
    "epochs": 200,
    "margin_scale": 0.0,
    "pair_weight": 1.0,
}


class Model(nn.Module):
    """Encoder, verification head, and the softmax that is used in training only."""

    def __init__(self, config: TrainConfig, characters: int):
        super().__init__()
        self.encoder = build(config.network)
        dimension: int = self.encoder.dimension
        self.head = L1Head(dimension, weight=6 / dimension)  # starts with logits of a few units
        self.softmax = (
            MarginSoftmax(dimension, characters * config.orientations, config.margin_scale, config.margin)
            if config.margin_scale
            else None
        )


def save(model: Model, optimizer: torch.optim.Optimizer, config: TrainConfig, history: list[Row], path: Path) -> None:
    state = {
        "config": asdict(config),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": len(history),
        "history": history,
        "characters": 0 if model.softmax is None else len(model.softmax.centres) // config.orientations,
    }
    runs.save(path, state)


def load(path: Path) -> tuple[Model, TrainConfig]:
    """The model of a checkpoint, in evaluation mode, and its configuration. Raises DataError if it is not one."""
    try:
        kept = torch.load(path, weights_only=True, map_location="cpu")
        config = TrainConfig(**{**kept["config"], "parts": tuple(kept["config"]["parts"])})
        model = Model(config, kept["characters"])
        model.load_state_dict(kept["model"])
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, KeyError, EOFError for damaged files
        raise DataError(
            f"{path}: expected a checkpoint of training/omniglot, got {type(error).__name__}",
            "name a file that `python -m training.omniglot train` wrote",
        ) from error
    return model.eval(), config
