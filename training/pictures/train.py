"""Stage one: train the twin network on the training classes.

Each step takes pairs of pictures of many classes. Three losses share the backbone: a cosine-margin softmax over all
training classes, cross-entropy on *same* and *different*, and the one-shot choice with *none of them* as an answer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_oneshot.errors import EdgeOneshotError
from training import runs
from training.losses import choice_loss, group_logits, verification_loss
from training.pictures.augment import distort
from training.pictures.folder import CAP, Folder
from training.pictures.model import MEAN, STD, Learner, PicturesConfig, encode
from training.pictures.trials import quick

GROUP = 32  # classes that are compared with each other in a step, if there are as many
EPOCHS = 40  # how often each training picture is used
LEAST_STEPS = 1_500
SEEN = 600  # validation pictures that are measured during training


def default_steps(pictures: int, batch: int) -> int:
    return max(LEAST_STEPS, -(-EPOCHS * pictures // batch))


class Sampler:
    """Draws the pictures of a step: `groups` groups of classes, two pictures of each class."""

    def __init__(self, folder: Folder, batch: int) -> None:
        rows = folder.rows("train")
        names, self.label = np.unique(folder.owner[rows], return_inverse=True)  # class numbers from 0, for the softmax
        self.members = [rows[self.label == c] for c in range(len(names))]
        many = np.sqrt([len(m) for m in self.members])
        self.weight = many / many.sum()  # a class with many pictures is drawn more often, but less than in proportion
        self.group = min(GROUP, len(names))
        self.groups = max(1, batch // (2 * self.group))

    def draw(self, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pictures (B,), in pairs of one class, group after group; their classes (B,)."""
        rows, labels = [], []
        for _ in range(self.groups):
            for c in random.choice(len(self.members), self.group, replace=False, p=self.weight):
                own = self.members[c]
                rows.append(random.choice(own, 2, replace=len(own) < 2))  # a single picture is distorted twice
                labels += [c, c]
        return np.concatenate(rows), np.array(labels, np.int64)


def step_loss(learner: Learner, pixels: Tensor, label: NDArray[np.int64], size: int, config: PicturesConfig) -> Tensor:
    """The loss of a step. pixels (B, 3, S, S) in [0, 1]; size: classes in a group."""
    scaled = (pixels * 255 - MEAN) / STD
    embedding = learner.backbone(scaled.contiguous(memory_format=torch.channels_last))  # (B, D)
    loss: Tensor = learner.softmax(embedding, torch.from_numpy(label))
    logits = group_logits(learner.head, embedding, size)
    return loss + config.pair_weight * verification_loss(logits) + config.choice_weight * choice_loss(logits)


def make_optimizer(learner: Learner, config: PicturesConfig) -> torch.optim.Optimizer:
    matrices = [p for p in learner.parameters() if p.ndim > 1]
    vectors = [p for p in learner.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.rate)


def train(folder: Folder, pixels: NDArray[np.uint8], config: PicturesConfig, out: Path, resume: bool = False) -> Path:
    """Train and return the path of the checkpoint. pixels: uint8 (N, S, S, 3), of all pictures of the folder.

    Raises EdgeOneshotError if `out` has a run and `resume` is false, or if the run has other settings.
    """
    torch.manual_seed(config.seed)
    sampler = Sampler(folder, config.batch)
    learner = Learner(config, len(sampler.members)).to(memory_format=torch.channels_last)
    seen = folder.rows("validate", CAP)
    seen = seen[:: -(-len(seen) // SEEN)] if len(seen) > 2 * SEEN else seen

    def loss(step: int) -> tuple[Tensor, float]:
        random, generator = runs.generator_of(config.seed, step)
        rows, label = sampler.draw(random)
        batch = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).float() / 255
        drawn = distort(batch, generator, turn_deg=config.turn_deg, mirror=config.mirror)
        value = step_loss(learner, drawn, label, sampler.group, config)
        return value, float(value.detach())

    def report(mean: torch.nn.Module) -> runs.Row:
        return quick(encode(mean.backbone, pixels[seen]).numpy(), folder.owner[seen])

    last = out / "last.pt"
    if resume and last.exists():
        _same_settings(last, config)
    runs.train_steps(
        learner, make_optimizer(learner, config), config, last, loss=loss, logged="loss", report=report, resume=resume,
        decay=config.average, clip=5.0,
    )  # fmt: skip
    return last


def _same_settings(last: Path, config: PicturesConfig) -> None:
    kept = settings(last)
    if kept != config:
        names = [n for n in PicturesConfig.__dataclass_fields__ if getattr(kept, n) != getattr(config, n)]
        was = ", ".join(f"{n} {getattr(kept, n)}" for n in names)
        now = ", ".join(f"{n} {getattr(config, n)}" for n in names)
        raise EdgeOneshotError(
            f"--resume {last}: expected the settings of that run, {was}, got {now}", "omit the options"
        )


def settings(last: Path) -> PicturesConfig:
    """The settings in a checkpoint. Raises EdgeOneshotError if it is not one of this trainer."""
    try:
        return PicturesConfig(**torch.load(last, weights_only=True)["config"])
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, KeyError, EOFError for damaged files
        raise EdgeOneshotError(
            f"{last}: expected a checkpoint of training/pictures, got {type(error).__name__}", "name another folder"
        ) from error


def trained(last: Path) -> Learner:
    """The network of a checkpoint with the running mean of its weights, for inference."""
    kept = torch.load(last, weights_only=True)
    learner = Learner(settings(last), len(kept["net"]["softmax.centres"]))
    learner.load_state_dict(dict(zip(learner.state_dict(), kept["average"], strict=True)))
    learner.eval()
    return learner
