"""Trained networks whose answers a run learns, too: the mean of their answers is better than that of each alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from training.losses import group_logits
from training.omniglot.model import load

COSINE = 20.0  # brings the cosine of two embeddings to the scale of the head's logits
SHARE = 0.6  # of the sum of the head's logit and the scaled cosine, for the choice in a group


class Teachers:
    """The teachers of a run, on its device."""

    def __init__(self, checkpoints: Sequence[str], device: torch.device) -> None:
        self.models = [load(Path(path))[0].to(device) for path in checkpoints]
        self.sides = sorted({int(m.encoder.side_px) for m in self.models})

    def answers(self, ink: Mapping[int, Tensor], size: int) -> tuple[Tensor, Tensor]:
        """Mean probability of *same*, and logits for the choice, both (G, n, n). ink: by side, (2 G n, 1, side, side)."""
        same, choice = [], []
        for model in self.models:
            with torch.no_grad():
                embedding = model.encoder(ink[int(model.encoder.side_px)]).float()
            logits = group_logits(model.head, embedding, size)
            unit = F.normalize(embedding).view(-1, size, 2, embedding.shape[-1])
            cosine = unit[:, :, 0] @ unit[:, :, 1].transpose(1, 2)
            logits = logits.detach()
            same.append(logits.sigmoid())
            choice.append((logits + COSINE * cosine) * SHARE)
        return torch.stack(same).mean(0), torch.stack(choice).mean(0)
