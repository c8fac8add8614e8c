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
    """Cosine-margin softmax (CosFace, Wang et al. 2018): scale * (cosine - margin at the true class), cross-entropy.

    Pictures with the label -1 have no class and do not count.
    """

    def __init__(self, dimension: int, classes: int, scale: float, margin: float):
        super().__init__()
        self.scale, self.margin = scale, margin
        self.centres = nn.Parameter(torch.randn(classes, dimension) * 0.05)

    def forward(self, embedding: Tensor, label: Tensor) -> Tensor:
        cosine = F.normalize(embedding) @ F.normalize(self.centres).T  # (B, classes)
        lead = F.one_hot(label.clamp(min=0), len(self.centres)) * self.margin
        total = F.cross_entropy(self.scale * (cosine - lead), label, ignore_index=-1, reduction="sum")
        return total / (label >= 0).sum().clamp(min=1)


def group_logits(head: Head, embedding: Tensor, size: int) -> Tensor:
    """Logits of *same* (G, n, n) inside each group of n = `size` classes: first pictures by second ones.

    embedding (2 G n, D): the two pictures of a class follow each other. Mated pairs are on the diagonal.
    """
    pairs = embedding.view(-1, size, 2, embedding.shape[-1])
    return head(pairs[:, :, None, 0], pairs[:, None, :, 1])


def _diagonal(logits: Tensor) -> Tensor:
    return torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)


def verification_loss(logits: Tensor) -> Tensor:
    """Cross-entropy on all pairs inside each group, mated and non-mated weighing the same. logits (G, n, n)."""
    own = _diagonal(logits)
    return (F.softplus(-logits[:, own]).mean() + F.softplus(logits[:, ~own]).mean()) / 2


def _rows(logits: Tensor) -> Tensor:
    """The choices from both sides (2 G n, n): each first picture among the second ones, and the other way round."""
    return torch.cat([logits, logits.transpose(1, 2)]).flatten(0, 1)


def _truth(rows: Tensor) -> Tensor:
    size = rows.shape[1]
    return torch.arange(size, device=rows.device).repeat(len(rows) // size)


def one_shot_loss(logits: Tensor) -> Tensor:
    """Stage two as a loss: softmax over the logits inside each group, from both sides. logits (G, n, n)."""
    rows = _rows(logits)
    return F.cross_entropy(rows, _truth(rows))


def absent_loss(logits: Tensor) -> Tensor:
    """The open set as a loss: the own class has a logit above 0, and all others together one below 0. logits (G, n, n)."""
    rows = _rows(logits)
    own = F.one_hot(_truth(rows), rows.shape[1]).bool()
    others = rows.masked_fill(own, -torch.inf).logsumexp(1)
    return (F.softplus(-rows[own]).mean() + F.softplus(others).mean()) / 2


def choice_loss(logits: Tensor) -> Tensor:
    """Stage two with *none of them* as an answer, whose logit is 0. logits (G, n, n).

    Each picture has to choose its own class among those of its group, and *none* once its own class is removed.
    """
    rows = _rows(logits)
    answers, truth = F.pad(rows, (0, 1)), _truth(rows)  # (2 G n, n + 1): the last one is *none*
    absent = answers.masked_fill(F.one_hot(truth, answers.shape[1]).bool(), -torch.inf)
    none = torch.full_like(truth, rows.shape[1])
    return (F.cross_entropy(answers, truth) + F.cross_entropy(absent, none)) / 2


def distillation_loss(logits: Tensor, same: Tensor, choice: Tensor) -> Tensor:
    """What the teachers answer, as a loss (Hinton, Vinyals, Dean 2015).

    logits (G, n, n) of the learner. same (G, n, n): the teachers' mean probability of *same*. choice (G, n, n): their
    logits for the choice in a group.
    """
    own = _diagonal(logits)
    pairs = F.binary_cross_entropy_with_logits(logits, same, reduction="none")
    verification = (pairs[:, own].mean() + pairs[:, ~own].mean()) / 2
    return F.cross_entropy(_rows(logits), _rows(choice).softmax(1)) + verification / 2
