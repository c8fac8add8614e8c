"""Distil a face encoder: the student learns the mean of two networks and of their mirror images, from distorted pictures.

The targets are embeddings of clean crops, the student sees the same crops distorted. So it is to become better, and blind
to where the landmarks are a little off.
Relational knowledge distillation (Park et al. 2019) beside the cosine: its scores against everybody are to be the targets'.
People of LFW sets 1-3 are learnt from, set 4 chooses, sets 5-6 are left for the report.
"""

# mypy: allow-subclassing-any
# (torch brings no types where this is checked)
from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters.graph import Array
from edge_oneshot.evaluation.metrics import match_rate, threshold_at_fmr
from training import runs
from training.face.network import GraphNet

OTHER_WEIGHT = 0.7  # of the other network in the target
SIDE_PX, MARGIN_PX = 112, 16  # the student's input, and what its crops have around it for the distortions


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilConfig:
    """Every knob and its reason. Stored in each checkpoint."""

    steps: int = 2400
    batch: int = 32
    rate: float = 8e-5  # peak of a cosine schedule; at 5e-4 the network, whose batch norms are folded, falls apart
    warm_up: int = 100
    relation_weight: float = 10.0  # of the squared error of the scores against all targets
    average: float = 0.997  # decay of the running mean of the weights, which is what is measured and kept
    every: int = 200  # steps between two checkpoints
    seed: int = 0


def unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def joint_target(
    own: tuple[Array, Array], other: tuple[Array, Array], train: Array, weight: float = OTHER_WEIGHT
) -> Array:
    """float32 (N, D), unit: the student's own embeddings of the pictures and of their mirror images, (N, D) each, moved
    towards another network's, (N, E) each, E <= D.

    The other network's space is turned into the student's by the rotation that brings the training rows nearest together
    (orthogonal Procrustes, Schoenemann 1966), so that the target lies where the student stands already.
    """
    mine, theirs = (unit(unit(a) + unit(b)) for a, b in (own, other))
    u, _, vt = np.linalg.svd(theirs[train].T @ mine[train], full_matrices=False)
    return np.asarray(unit(mine + weight * theirs @ (u @ vt)), np.float32)


def distort(crops: Array, generator: torch.Generator) -> Tensor:
    """uint8 (B, 144, 144, 3) RGB -> float32 (B, 3, 112, 112) in [0, 255]: landmarks off, mirror, blur, size, colour, occlusion."""
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
        elif chance(0.3):  # a face far away
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
    """Embeddings (N, D) of the middles of crops (N, 144, 144, 3), undistorted."""
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


def distil(
    net: GraphNet,
    crops: Array,
    targets: Array,
    people: Array,
    train: Array,
    validate: Array,
    config: DistilConfig,
    normalise: Callable[[Tensor], Tensor],
    out: Path,
    *,
    resume: bool = False,
) -> Path:
    """Train and write checkpoints, log.jsonl and student.tflite (float) to `out`; returns the model's path.

    crops: uint8 (N, 144, 144, 3) RGB. targets: float32 (N, D), unit. people: (N,). train, validate: rows.
    """
    out.mkdir(parents=True, exist_ok=True)
    last = out / "last.pt"
    start = 0
    average = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=0.0)
    if resume:
        kept = torch.load(last, weights_only=True)
        net.load_state_dict(kept["net"])
        optimizer.load_state_dict(kept["optimizer"])
        start, average = kept["step"], kept["average"]
    bank, agreed, began = torch.from_numpy(targets[train]), [], time.perf_counter()
    for step in range(start, config.steps):
        random = np.random.default_rng([config.seed, step])
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        rows = random.choice(train, config.batch, replace=False)
        for group in optimizer.param_groups:
            group["lr"] = (
                config.rate * min(1.0, (step + 1) / config.warm_up) * (1 + math.cos(math.pi * step / config.steps)) / 2
            )
        embedding = F.normalize(net(normalise(distort(crops[np.sort(rows)], generator))))
        target = torch.from_numpy(targets[np.sort(rows)])
        cosine = (embedding * target).sum(1)
        loss = (1 - cosine).mean() + config.relation_weight * ((embedding @ bank.T - target @ bank.T) ** 2).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"step {step}: loss {loss.item()}; lower the rate")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        agreed.append(float(cosine.detach().mean()))
        decay = min(config.average, (step + 1) / (step + 20))
        with torch.no_grad():
            for mean, p in zip(average, net.parameters(), strict=True):
                mean.mul_(decay).add_(p, alpha=1 - decay)
        if (step + 1) % config.every == 0 or step + 1 == config.steps:
            now = [p.detach().clone() for p in net.parameters()]
            state = {
                "config": asdict(config),
                "net": net.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
                "average": average,
            }
            runs.save(last, state)
            _take(net, average)
            found = embed(net, crops[validate], normalise)
            (out / "student.tflite").write_bytes(net.to_tflite())
            _take(net, now)
            runs.log(
                out,
                {
                    "step": step + 1,
                    "cosine_distorted": round(float(np.mean(agreed[-config.every :])), 4),
                    "cosine_validation": round(float((unit(found) * targets[validate]).sum(1).mean()), 4),
                    **measure(found, people[validate]),
                    "seconds": round(time.perf_counter() - began, 1),
                },
            )
    return out / "student.tflite"


def _take(net: GraphNet, weights: list[Tensor]) -> None:
    with torch.no_grad():
        for p, w in zip(net.parameters(), weights, strict=True):
            p.copy_(w)
