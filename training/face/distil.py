"""Distil a face encoder: the student learns the mean of two networks and of their mirror images, from distorted pictures.

The targets are embeddings of clean crops; the student sees the same crops distorted. The aim is an encoder that depends
less on small errors of the landmarks. Besides the cosine the loss has relational knowledge distillation (Park et al.
2019): the student's scores against all targets should equal the target's. People of LFW sets 1-3 are for training, set 4
is for validation, sets 5-6 are reserved for the report.
"""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from converters.graph import Array
from edge_oneshot.evaluation.metrics import match_rate, threshold_at_fmr
from training import runs
from training.face.network import GraphNet
from training.runs import StepConfig

OTHER_WEIGHT = 0.7  # of the other network in the target
SIDE_PX, MARGIN_PX = 112, 16  # the student's input, and the border of its crops, for the distortions


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilConfig(StepConfig):
    """Every setting and its reason. Stored in each checkpoint."""

    steps: int = 2400
    batch: int = 32
    rate: float = 8e-5  # at 5e-4 the network, whose batch norms are folded, diverges
    warm_up: int = 100
    every: int = 200
    relation_weight: float = 10.0  # of the squared error of the scores against all targets
    average: float = 0.997  # decay of the running mean of the weights, which is measured and kept


def unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def joint_target(
    own: tuple[Array, Array], other: tuple[Array, Array], train: Array, weight: float = OTHER_WEIGHT
) -> Array:
    """float32 (N, D), unit: the student's own embeddings of the pictures and of their mirror images, (N, D) each, moved
    towards another network's, (N, E) each, E <= D.

    The rotation that brings the training rows closest together (orthogonal Procrustes, Schoenemann 1966) maps the other
    network's space to the student's, so the target starts near the student's own embedding.
    """
    mine, theirs = (unit(unit(a) + unit(b)) for a, b in (own, other))
    u, _, vt = np.linalg.svd(theirs[train].T @ mine[train], full_matrices=False)
    return np.asarray(unit(mine + weight * theirs @ (u @ vt)), np.float32)


def distort(crops: Array, generator: torch.Generator) -> Tensor:
    """uint8 (B, 144, 144, 3) RGB -> float32 (B, 3, 112, 112) in [0, 255].

    Landmark errors, mirror, blur, distance, colour, occlusion.
    """
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    n, g = len(pixels), generator

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    def chance(p: float) -> bool:
        return float(torch.rand(1, generator=g)) < p

    angle, scale, shift = normal(n) * 0.05, torch.exp(normal(n) * 0.04), normal(n, 2) * 0.02
    cos, sin, mirror = (
        torch.cos(angle) * scale,
        torch.sin(angle) * scale,
        (torch.rand(n, generator=g) < 0.5).float() * -2 + 1,
    )
    k = SIDE_PX / (SIDE_PX + 2 * MARGIN_PX)
    maps = torch.stack(
        [
            torch.stack([cos * k * mirror, -sin * k, shift[:, 0]], 1),
            torch.stack([sin * k * mirror, cos * k, shift[:, 1]], 1),
        ],
        1,
    )  # (B, 2, 3)
    x = F.grid_sample(pixels, F.affine_grid(maps, [n, 3, SIDE_PX, SIDE_PX], align_corners=False), align_corners=False)
    for j in range(n):
        if chance(0.2):
            x[j : j + 1] = F.avg_pool2d(F.pad(x[j : j + 1], (1, 1, 1, 1), mode="replicate"), 3, 1)
        elif chance(0.3):  # a distant face
            side = int(torch.randint(40, 90, (1,), generator=g))
            small = F.interpolate(x[j : j + 1], size=(side, side), mode="bilinear", antialias=True)
            x[j : j + 1] = F.interpolate(small, size=(SIDE_PX, SIDE_PX), mode="bilinear")
        if chance(0.1):
            x[j] = x[j].mean(0, keepdim=True)
        if chance(0.2):
            h, w = torch.randint(12, 45, (2,), generator=g).tolist()
            y0, x0 = (
                int(torch.randint(0, SIDE_PX - h, (1,), generator=g)),
                int(torch.randint(0, SIDE_PX - w, (1,), generator=g)),
            )
            x[j, :, y0 : y0 + h, x0 : x0 + w] = float(torch.randint(0, 255, (1,), generator=g))
    x = 255 * (x.clamp(0, 255) / 255) ** torch.exp(normal(n, 1, 1, 1) * 0.15)
    x = x * torch.exp(normal(n, 1, 1, 1) * 0.2) * torch.exp(normal(n, 3, 1, 1) * 0.04) + normal(n, 1, 1, 1) * 10
    x = x + normal(*x.shape) * torch.rand(n, 1, 1, 1, generator=g) * 5
    return x.clamp(0, 255)


def embed(net: GraphNet, crops: Array, normalise: Callable[[Tensor], Tensor]) -> Array:
    """Embeddings (N, D) of the centres of crops (N, 144, 144, 3), undistorted."""
    inner = slice(MARGIN_PX, MARGIN_PX + SIDE_PX)
    with torch.inference_mode():
        parts = [
            net(normalise(torch.from_numpy(crops[i : i + 32, inner, inner]).permute(0, 3, 1, 2).float()))
            for i in range(0, len(crops), 32)
        ]
    return np.asarray(torch.cat(parts).numpy())


def measure(vectors: Array, people: Array) -> dict[str, float]:
    """TAR over all pairs at FMR 1e-3 and 1e-4."""
    score = unit(vectors) @ unit(vectors).T
    first, second = np.triu_indices(len(vectors), 1)
    mated = people[first] == people[second]
    scores = score[first, second]
    return {
        f"tar_{f:g}": round(match_rate(scores[mated], threshold_at_fmr(scores[~mated], f)), 5) for f in (1e-3, 1e-4)
    }


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the student learns from. crops: uint8 (N, 144, 144, 3) RGB. targets: float32 (N, D), unit. people: (N,).

    train, validate: rows.
    """

    crops: Array
    targets: Array
    people: Array
    train: Array
    validate: Array


def distil(
    net: GraphNet,
    lesson: Lesson,
    config: DistilConfig,
    normalise: Callable[[Tensor], Tensor],
    out: Path,
    *,
    resume: bool = False,
) -> Path:
    """Train and write checkpoints, log.jsonl and student.tflite (float) to `out`; returns the model's path."""
    student = out / "student.tflite"
    bank = torch.from_numpy(lesson.targets[lesson.train])

    def loss(step: int) -> tuple[Tensor, float]:
        random, generator = runs.generator_of(config.seed, step)
        rows = np.sort(random.choice(lesson.train, config.batch, replace=False))
        embedding = F.normalize(net(normalise(distort(lesson.crops[rows], generator))))
        target = torch.from_numpy(lesson.targets[rows])
        cosine = (embedding * target).sum(1)
        relation = ((embedding @ bank.T - target @ bank.T) ** 2).mean()
        return (1 - cosine).mean() + config.relation_weight * relation, float(cosine.detach().mean())

    def report(mean: GraphNet) -> runs.Row:
        found = embed(mean, lesson.crops[lesson.validate], normalise)
        student.write_bytes(mean.to_tflite())
        agreement = (unit(found) * lesson.targets[lesson.validate]).sum(1).mean()
        return {"cosine_validation": round(float(agreement), 4), **measure(found, lesson.people[lesson.validate])}

    optimizer = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=0.0)
    runs.train_steps(
        net, optimizer, config, out / "last.pt", loss=loss, logged="cosine_distorted", report=report, resume=resume,
        decay=config.average, clip=1.0,
    )  # fmt: skip
    return student
