"""The losses of the twin trainers: verification and one-shot choice by a head, and a softmax over all classes."""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Head = Callable[[Tensor, Tensor], Tensor]  # embeddings (..., D) and (..., D) -> logits of *same*


class MarginSoftmax(nn.Module):
    """Cosine-margin softmax (CosFace, Wang et al. 2018): scale * (cosine - margin at the true class), cross-entropy."""

    def __init__(self, dimension: int, classes: int, scale: float, margin: float):
        super().__init__()
        self.scale, self.margin = scale, margin
        self.centres = nn.Parameter(torch.randn(classes, dimension) * 0.05)

    def forward(self, embedding: Tensor, label: Tensor) -> Tensor:
        cosine = F.normalize(embedding) @ F.normalize(self.centres).T  # (B, classes)
        lead = F.one_hot(label, len(self.centres)) * self.margin
        return F.cross_entropy(self.scale * (cosine - lead), label)


def verification_loss(head: Head, embedding: Tensor, sizes: list[int]) -> Tensor:
    """Cross-entropy on all pairs inside each group, mated and non-mated weighing the same. embedding (sum of 2 n, D)."""
    losses = []
    for piece in embedding.split([2 * n for n in sizes]):
        left, right = piece[0::2], piece[1::2]  # (n, D) each: first and second picture
        logits = head(left[:, None], right[None])  # (n, n): mated on the diagonal
        different = ~torch.eye(len(left), dtype=torch.bool)
        losses.append((F.softplus(-logits.diagonal()).mean() + F.softplus(logits[different]).mean()) / 2)
    return torch.stack(losses).mean()


def one_shot_loss(head: Head, embedding: Tensor, sizes: list[int]) -> Tensor:
    """Stage two as a loss: softmax over the head's logits inside each group, from both sides. embedding (sum of 2 n, D)."""
    losses = []
    for piece in embedding.split([2 * n for n in sizes]):
        logits = head(piece[0::2][:, None], piece[1::2][None])  # (n, n): the true class on the diagonal
        truth = torch.arange(len(logits))
        losses.append((F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2)
    return torch.stack(losses).mean()


def choice_loss(head: Head, embedding: Tensor, sizes: list[int]) -> Tensor:
    """Stage two with *none of them* as an answer, whose logit is 0. embedding (sum of 2 n, D).

    Each picture has to choose its own class among those of its group, and *none* once its own class is removed.
    """
    losses = []
    for piece in embedding.split([2 * n for n in sizes]):
        logits = head(piece[0::2][:, None], piece[1::2][None])  # (n, n): the true class on the diagonal
        own = torch.eye(len(logits), dtype=torch.bool)
        for rows in (logits, logits.T):
            answers = F.pad(rows, (0, 1))  # (n, n + 1): the last one is *none*
            truth = torch.arange(len(rows))
            absent = answers.masked_fill(F.pad(own, (0, 1)), -torch.inf)
            losses.append(F.cross_entropy(answers, truth))
            losses.append(F.cross_entropy(absent, torch.full_like(truth, len(rows))))
    return torch.stack(losses).mean()
