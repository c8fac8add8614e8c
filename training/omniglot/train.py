"""Stage one: train the twin network. `python -m training.omniglot train` is its command line.

A step takes groups of classes, each group from one alphabet in one orientation, every class by two drawers. The losses
share the encoder: Koch's regularised cross-entropy on the same/different pairs inside a group through the weighted L1
head; the one-shot choice inside a group, and the open set, by the same head; and a cosine-margin softmax over all
characters and their orientations, which compares with every other character at once. Teachers add their answers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training import runs
from training.losses import absent_loss, distillation_loss, group_logits, one_shot_loss, verification_loss
from training.omniglot.batches import Sampler
from training.omniglot.curves import draw_curves
from training.omniglot.data import DataError, Drawings, resized
from training.omniglot.model import Model, TrainConfig, load
from training.omniglot.optimiser import make_optimizer, set_rates
from training.omniglot.split import alphabets
from training.omniglot.teachers import Teachers
from training.omniglot.trials import draw_pairs, run_indices

LABELLED = 0.4  # share of the losses on labels, where there are teachers
TAUGHT = 2.0  # share of the teachers' answers


def encode(encoder: nn.Module, ink: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Float embeddings (N, D) of drawings (N, 105, 105), resized as on the device."""
    encoder.eval()
    device = next(encoder.parameters()).device
    grey = resized(ink, int(encoder.side_px))
    out = []
    with torch.inference_mode():
        for start in range(0, len(grey), 256):
            batch = torch.from_numpy(grey[start : start + 256]).to(device)[:, None].float()
            out.append(encoder(1 - batch / 255).cpu())
    return np.asarray(torch.cat(out).numpy())


def validate(model: Model, drawings: Drawings) -> dict[str, float]:
    """Float validation: one-shot (20-way) by cosine and by the head, verification by the head."""
    embedding = torch.from_numpy(encode(model.encoder, drawings.ink))
    train, test, answer = run_indices(drawings, 20, 20, seed=1)
    unit = F.normalize(embedding)
    cosine = torch.einsum("rid,rcd->ric", unit[test], unit[train]).argmax(2).numpy()
    pairs = draw_pairs(drawings, 2000, seed=1)
    weights, bias = model.head.weights.detach().cpu(), model.head.bias.detach().cpu()

    def logit(left: Tensor, right: Tensor) -> Tensor:
        return bias - ((left - right).abs() * weights).sum(-1)

    trials = zip(test, train, strict=True)
    head = np.stack([logit(embedding[i][:, None], embedding[c][None]).argmax(1).numpy() for i, c in trials])
    same = logit(embedding[pairs.left], embedding[pairs.right]).numpy() > 0
    return {
        "one_shot_cosine": float((cosine == answer).mean()),
        "one_shot_l1": float((head == answer).mean()),
        "verification": float((same == pairs.same).mean()),
    }


def labelled_loss(model: Model, embedding: Tensor, logits: Tensor, label: Tensor, config: TrainConfig) -> Tensor:
    """The losses on labels. embedding (B, D), logits (G, n, n), label (B,) of the softmax."""
    total = config.pair_weight * verification_loss(logits)
    if model.softmax is not None:
        total = total + config.softmax_weight * model.softmax(embedding, label)
    if config.one_shot_weight:
        total = total + config.one_shot_weight * one_shot_loss(logits)
    if config.absent_weight:
        total = total + config.absent_weight * absent_loss(logits)
    return total


def start_from(model: Model, config: TrainConfig) -> None:
    """Copy encoder and head of the checkpoint `config.initial`. Raises DataError if its network is another one."""
    earlier, settings = load(Path(config.initial))
    if settings.network != config.network:
        raise DataError(
            f"{config.initial}: expected a checkpoint of network {config.network!r}, got {settings.network!r}",
            "change --network or the setting initial",
        )
    model.encoder.load_state_dict(earlier.encoder.state_dict())
    model.head.load_state_dict(earlier.head.state_dict())


class Steps:
    """The loss of a step."""

    def __init__(self, model: Model, drawings: Drawings, config: TrainConfig, device: torch.device) -> None:
        self.model, self.config, self.device = model, config, device
        self.sampler = Sampler(drawings, config, device)
        self.teachers = Teachers(config.teachers, device)
        own = int(model.encoder.side_px)
        self.sides = [own, *(side for side in self.teachers.sides if side != own)]

    def loss(self, step: int) -> tuple[Tensor, float]:
        """The loss, also as a number for the log. Its random numbers depend on the seed and the step alone."""
        config = self.config
        random, generator = runs.generator_of(config.seed, step, self.device)
        drawn, label = self.sampler.pictures(self.sampler.choose(random), self.sides, generator)
        ink = {side: d.contiguous(memory_format=torch.channels_last) for side, d in zip(self.sides, drawn, strict=True)}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            embedding = self.model.encoder(ink[self.sides[0]])
            answers = self.teachers.answers(ink, config.group) if config.teachers else None
        embedding = embedding.float()
        logits = group_logits(self.model.head, embedding, config.group)
        value = labelled_loss(self.model, embedding, logits, label, config)
        if answers is not None:
            value = LABELLED * value + TAUGHT * distillation_loss(logits, *answers)
        return value, float(value.detach())


def train(
    data: Drawings,
    config: TrainConfig,
    out: Path,
    resume: bool = False,
    validation: Drawings | None = None,
    device: str = "cpu",
) -> Path:
    """Train and return the path of the checkpoint. Writes to `out`: last.pt, log.jsonl, curves.png.

    A resumed run repeats what it would have been. Raises EdgeOneshotError if `out` already has a run and `resume` is
    false, or has none and it is true.
    """
    drawings = data.only(name for part in config.parts for name in alphabets(part)) if validation is None else data
    held = data.only(alphabets("validate")) if validation is None else validation
    torch.manual_seed(config.seed)
    model = Model(config, len(np.unique(drawings.character)))
    if config.initial and not resume:
        start_from(model, config)
    model.to(torch.device(device), memory_format=torch.channels_last)  # a third faster on a CPU, too
    steps = Steps(model, drawings, config, torch.device(device))
    last = out / "last.pt"
    runs.train_steps(
        model, make_optimizer(model, config), config, last, loss=steps.loss, logged="loss",
        report=lambda mean: validate(mean, held), resume=resume, decay=config.average, clip=5.0,
        rates=lambda optimizer, step: set_rates(optimizer, config, step),
    )  # fmt: skip
    draw_curves(out / "log.jsonl", out / "curves.png")
    return last
