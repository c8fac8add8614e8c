"""The settings of a run, the learner that it trains, and its checkpoints."""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.losses import MarginSoftmax
from training.omniglot.data import DataError
from training.omniglot.networks import L1Head, build
from training.runs import StepConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(StepConfig):
    """Every setting and its reason. Stored in each checkpoint."""

    steps: int = 4000
    batch: int = 960  # drawings in a step: 24 groups of 20 classes by two drawers
    rate: float = 2e-3  # peak; it rises for `warm_up` steps, stays, and falls on a straight line to zero
    warm_up: int = 300
    every: int = 100
    network: str = "base"  # "koch" for the network of the paper, "teacher" for one that others learn from
    parts: tuple[str, ...] = (
        "train",
    )  # alphabets for training; ("train", "validate") only for a final run that is not measured
    group: int = 20  # classes of one alphabet in a group, as in a run
    orientations: int = 8  # quarter turns and mirror images are new characters
    composed: float = 0.4  # share of the groups whose classes are composed of two characters each
    distortion: str = "elastic"  # "koch" for the affine maps of the paper
    optimizer: str = "adamw"  # "sgd" with per-layer rates for the network of the paper
    cooldown: float = 0.45  # share of the steps on the line to zero
    decay: float = 0.05  # weight decay, on matrices, not on norms and biases
    average: float = 0.999  # decay of the running mean of the weights, which is what is exported
    margin_scale: float = 24.0  # 0 turns off the softmax over characters
    margin: float = 0.25  # by which the true character's cosine must exceed the others
    softmax_weight: float = 0.5
    pair_weight: float = 0.5  # share of the verification loss
    one_shot_weight: float = 1.0  # share of the one-shot loss: the head chooses among the classes of a group
    absent_weight: float = 0.5  # share of the open-set loss
    initial: str = ""  # a checkpoint with the encoder and head to start from
    teachers: tuple[str, ...] = ()  # checkpoints whose answers the run learns, too

    @property
    def groups(self) -> int:
        """Groups in a step."""
        return max(1, self.batch // (2 * self.group))


# What the network of the paper changes. An epoch, 13,580 drawings, is 106 steps.
KOCH = {
    "network": "koch",
    "orientations": 1,
    "composed": 0.0,
    "distortion": "koch",
    "optimizer": "sgd",
    "batch": 128,
    "steps": 21_200,
    "margin_scale": 0.0,
    "pair_weight": 1.0,
    "one_shot_weight": 0.0,
    "absent_weight": 0.0,
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


def as_config(kept: dict[str, Any]) -> TrainConfig:
    """The settings in a checkpoint."""
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in kept["config"].items()}
    return TrainConfig(**settings)


def load(path: Path) -> tuple[Model, TrainConfig]:
    """The running mean in a checkpoint, in evaluation mode, and its settings. Raises DataError if it is not one."""
    try:
        kept = torch.load(path, weights_only=True, map_location="cpu")
        config = as_config(kept)
        names = kept["net"]
        characters = len(names["softmax.centres"]) // config.orientations if config.margin_scale else 0
        model = Model(config, characters)
        model.load_state_dict(dict(zip(names, kept["average"], strict=True)))
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, KeyError, EOFError for damaged files
        raise DataError(
            f"{path}: expected a checkpoint of training/omniglot, got {type(error).__name__}",
            "name a file that `python -m training.omniglot train` wrote",
        ) from error
    return model.eval(), config
