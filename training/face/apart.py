"""Fine-tune the face encoder so that strangers of one sex and group score as low as strangers do in general.

The target of a picture is the mean of two networks' embeddings of it and of its mirror image, from which the mean of adult
strangers is subtracted and the directions in which groups differ are reduced (`target_map`). Those directions are shared by
a group, so they raise the scores of its strangers and do not distinguish them. The network learns the targets of clean
pictures from distorted ones: the cosine, and relational knowledge distillation (Park et al. 2019), that is the scores
against all targets. Its first layers are frozen; `prepare` computes their activations once.
"""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters.graph import Array
from training import runs
from training.face.network import GraphNet
from training.runs import StepConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ApartConfig(StepConfig):
    """Every setting and its reason. Stored in each checkpoint."""

    steps: int = 1700
    batch: int = 64
    rate: float = 3e-4  # at 5e-4 the network, whose batch norms are folded, diverges
    warm_up: int = 100
    every: int = 425
    relation_weight: float = 10.0  # of the squared error of the scores against all targets
    average: float = 0.998  # decay of the running mean of the weights, which is measured and kept


def unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def joined(own: tuple[Array, Array], other: tuple[Array, Array]) -> Array:
    """float (N, D + E), unit: two networks' embeddings of pictures and of their mirror images, (N, D) and (N, E), side by
    side. A score of such vectors is the mean of both networks' scores."""
    return unit(np.concatenate([unit(unit(a) + unit(b)) for a, b in (own, other)], axis=1))


@dataclass(frozen=True, kw_only=True)
class TargetMap:
    """vectors (N, D) -> targets float32 (N, size), unit: unit((v - mean) @ matrix), on the main axes of the training set."""

    mean: Array
    matrix: Array

    def __call__(self, vectors: Array) -> Array:
        return np.asarray(unit((vectors - self.mean) @ self.matrix), np.float32)


def group_directions(cells: list[Array], adults: int) -> tuple[Array, Array]:
    """(centre, directions): the mean of the first `adults` cells (D,), every cell with the same weight; and an orthonormal
    basis (K, D) of the differences between the cells' means and the centre.

    cells: vectors (n, D) of strangers of one sex, age band and group each.
    """
    means = np.array([cell.mean(0) for cell in cells])
    centre = means[:adults].mean(0)
    _, spread, basis = np.linalg.svd(means - centre, full_matrices=False)
    return centre, basis[spread > 1e-6 * spread[0]]


def target_map(cells: list[Array], everybody: Array, reduce: float, size: int) -> TargetMap:
    """The map that `TargetMap` describes.

    cells: of adults. everybody: all vectors of the training part. reduce: share by which the directions between the cells
    shrink, in [0, 1]. size: dimensions that are kept, those with the largest second moment (principal component analysis).
    """
    centre, between = group_directions(cells, len(cells))
    shrink = np.eye(centre.size) - reduce * between.T @ between
    mapped = unit((everybody - centre) @ shrink)
    axes = np.linalg.eigh(mapped.T @ mapped)[1][:, ::-1][:, :size]
    return TargetMap(mean=centre, matrix=shrink @ axes)


class Tail(nn.Module):
    """The operators of a GraphNet after operator `cut`, with its weights. forward: activations (B, H, W, C) -> (B, D)."""

    def __init__(self, net: GraphNet, cut: int) -> None:
        super().__init__()
        self.net, self.cut = net, cut
        for name, weight in net.weights.items():
            weight.requires_grad_(int(name[1:]) > cut)

    def forward(self, activations: Tensor) -> Tensor:
        return self.net.run_from(self.cut, activations.permute(0, 3, 1, 2))


def start_near(tail: Tail, outputs: Array, targets: Array, ridge: float = 20.0) -> None:
    """Replace the last layer so that the network starts at the linear map from its outputs (N, D) nearest to the targets.

    Least squares with a ridge penalty, on outputs of unit mean norm.
    """
    scale = float(np.linalg.norm(outputs, axis=1).mean())
    rows = np.concatenate([outputs / scale, np.ones((len(outputs), 1))], axis=1)
    solved = np.linalg.solve(rows.T @ rows + ridge * np.eye(rows.shape[1]), rows.T @ targets)
    _turn_last_layer(tail.net, solved[:-1].T, solved[-1] * scale)


def level(net: GraphNet, outputs: Array, cells: list[Array], adults: int, reduce: float) -> None:
    """After the training: subtract the mean of adult strangers from the outputs, and shrink what is left of the directions
    between groups. Both go into the last layer.

    outputs: (N, D), as the network returns them, for the training part. cells: row numbers; the first `adults` are adults.
    """
    lengths = np.linalg.norm(outputs, axis=1, keepdims=True)
    centre, between = group_directions([(outputs / lengths)[c] for c in cells], adults)
    shrink = np.eye(centre.size) - reduce * between.T @ between
    _turn_last_layer(net, shrink, -shrink @ centre * float(lengths.mean()))


def _turn_last_layer(net: GraphNet, matrix: Array, shift: Array) -> None:
    """output -> matrix @ output + shift."""
    weight, bias = net.last_layer()
    with torch.no_grad():
        old_weight, old_bias = weight.numpy()[:, :, 0, 0], bias.numpy()
        bias.copy_(torch.from_numpy(matrix @ old_bias + shift))
        weight.copy_(torch.from_numpy((matrix @ old_weight)[:, :, None, None]))


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the network learns from. activations: float16 (N, views, H, W, C), of which the first two views are the clean
    picture and its mirror image. targets: float32 (N, D), unit. weights: (N,), how often a row is drawn; their sum is 1."""

    activations: Array
    targets: Array
    weights: Array


def train(tail: Tail, lesson: Lesson, config: ApartConfig, out: Path, *, resume: bool = False) -> Path:
    """Train and write checkpoints, log.jsonl and student.tflite (float) to `out`; returns the model's path."""
    student = out / "student.tflite"
    bank = torch.from_numpy(lesson.targets)
    count, views = lesson.activations.shape[:2]

    def loss(step: int) -> tuple[Tensor, float]:
        random, _ = runs.generator_of(config.seed, step)
        rows = random.choice(count, config.batch, replace=False, p=lesson.weights)
        chosen = random.integers(0, views, config.batch)
        seen = np.stack([lesson.activations[row, view] for row, view in zip(rows, chosen, strict=True)])
        embedding, target = F.normalize(tail(torch.from_numpy(seen).float())), bank[rows]
        cosine = (embedding * target).sum(1)
        wanted = target @ bank.T
        # High scores decide matches, so their errors count more.
        relation = ((embedding @ bank.T - wanted) ** 2 * (1 + 4 * wanted.clamp(min=0))).mean()
        return (1 - cosine).mean() + config.relation_weight * relation, float(cosine.detach().mean())

    def report(mean: nn.Module) -> runs.Row:
        assert isinstance(mean, Tail)
        student.write_bytes(mean.net.to_tflite())
        with torch.inference_mode():
            found = [
                F.normalize(mean(torch.from_numpy(lesson.activations[i, :2]).float())).sum(0)
                for i in range(0, count, 50)
            ]
        clean = F.normalize(torch.stack(found)) * bank[::50]
        return {"cosine_clean": round(float(clean.sum(1).mean()), 4)}

    learnt = [p for p in tail.parameters() if p.requires_grad]
    runs.train_steps(
        tail, torch.optim.AdamW(learnt, lr=config.rate, weight_decay=0.0), config, out / "last.pt", loss=loss,
        logged="cosine_distorted", report=report, resume=resume, decay=config.average, clip=1.0,
    )  # fmt: skip
    return student
