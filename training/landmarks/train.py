"""Train the landmark network: it predicts how far cut-outs of labelled faces were moved, turned, scaled and distorted.

The labels are YuNet's landmarks, averaged over eight views of each picture (training/landmarks/labels.py). People of LFW
sets 1-3 are for training, set 4 is for validation.
"""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from converters.graph import Array
from training import runs
from training.landmarks.network import POINTS, SIDE_PX, LandmarkNet
from training.runs import StepConfig

CUT_PX, ZOOM = 208, 1.45  # side of the stored cut-outs: ZOOM times the network's input, and a border to move it in
MEAN, STD, UNIT_PX = 127.5, 64.0, 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkConfig(StepConfig):
    """Every setting and its reason. Stored in each checkpoint."""

    steps: int = 5000
    batch: int = 64
    rate: float = 2e-3
    warm_up: int = 200
    every: int = 500
    decay: float = 0.02  # of the weights
    similarity_weight: float = 2.0  # of the part of the errors that moves the aligned face
    average: float = 0.998  # decay of the running mean of the weights, which is measured and kept


def cut_places() -> Array:
    """Place of POINTS in a stored cut-out, float64 (4, 2) px."""
    return (POINTS - SIDE_PX / 2) * ZOOM + CUT_PX / 2


def sample(
    cuts: Array, offsets: Array, generator: torch.Generator, *, patches: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 (B, 208, 208, 3) RGB, and the labels' offsets from cut_places() in cut-out px, float32 (B, 4, 2) ->
    inputs (B, 3, 99, 99) in [0, 255], labels (B, 8) in the network's unit, and which pictures are mirrored, bool (B,).

    patches: cover a part of one picture in five with a box of one colour.
    """
    pixels, g, n = torch.from_numpy(cuts).permute(0, 3, 1, 2).float(), generator, len(cuts)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    # Errors of the detector's landmarks: mostly those on a large face, sometimes those on a small one.
    rough = torch.where(torch.rand(n, generator=g) < 0.3, 1.8, 1.0)
    angle, scale, shift = (
        normal(n) * 0.08 * rough,
        torch.exp(normal(n) * 0.07 * rough),
        normal(n, 2) * 2.0 * rough[:, None],
    )
    mirror = (torch.rand(n, generator=g) < 0.5).float() * -2 + 1
    # input px (from the centre) -> cut-out px (from the centre): p = R q + t; mirrored first
    cos, sin = torch.cos(angle) * scale * ZOOM, torch.sin(angle) * scale * ZOOM
    matrix = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)  # (B, 2, 2)
    t = shift * ZOOM
    grid = torch.cat([matrix * (SIDE_PX / CUT_PX), (t * 2 / CUT_PX)[..., None]], 2)
    x = F.grid_sample(pixels, F.affine_grid(grid, [n, 3, SIDE_PX, SIDE_PX], align_corners=False), align_corners=False)
    places = torch.from_numpy(cut_places() + offsets - CUT_PX / 2).float()  # (B, 4, 2) from the centre
    back = torch.linalg.inv(matrix)
    seen = torch.einsum("bij,bkj->bki", back, places - t[:, None])
    swapped = seen[:, [1, 0, 2, 3]]
    seen = torch.where(mirror[:, None, None] < 0, swapped, seen)
    label = (seen + SIDE_PX / 2 - torch.from_numpy(POINTS).float()) / UNIT_PX
    for j in range(n):
        if float(torch.rand(1, generator=g)) < 0.35:  # a distant face
            side = int(torch.randint(36, 90, (1,), generator=g))
            small = F.interpolate(x[j : j + 1], size=(side, side), mode="bilinear", antialias=True)
            x[j : j + 1] = F.interpolate(small, size=(SIDE_PX, SIDE_PX), mode="bilinear")
        elif float(torch.rand(1, generator=g)) < 0.2:
            x[j : j + 1] = F.avg_pool2d(F.pad(x[j : j + 1], (1, 1, 1, 1), mode="replicate"), 3, 1)
        if float(torch.rand(1, generator=g)) < 0.15:
            x[j] = x[j].mean(0, keepdim=True)
        if float(torch.rand(1, generator=g)) < (0.2 if patches else -1):
            h, w = torch.randint(10, 36, (2,), generator=g).tolist()
            y0, x0 = (
                int(torch.randint(0, SIDE_PX - h, (1,), generator=g)),
                int(torch.randint(0, SIDE_PX - w, (1,), generator=g)),
            )
            x[j, :, y0 : y0 + h, x0 : x0 + w] = float(torch.randint(0, 255, (1,), generator=g))
    x = 255 * (x.clamp(0, 255) / 255) ** torch.exp(normal(n, 1, 1, 1) * 0.25)
    x = x * torch.exp(normal(n, 1, 1, 1) * 0.3) * torch.exp(normal(n, 3, 1, 1) * 0.05) + normal(n, 1, 1, 1) * 12
    x = x + normal(*x.shape) * torch.rand(n, 1, 1, 1, generator=g) * 8
    return x.clamp(0, 255), label.flatten(1), mirror < 0


def similarity_basis() -> Array:
    """Orthonormal (8, 4): the offsets that a small shift, turn and change of scale of all landmarks together cause."""
    x, y = (POINTS - POINTS.mean(0)).T
    one, zero = np.ones(len(x)), np.zeros(len(x))
    columns = [np.stack(c, 1).ravel() for c in ((one, zero), (zero, one), (x, y), (-y, x))]
    return np.asarray(np.linalg.qr(np.stack(columns, 1))[0], np.float32)


def train(
    cuts: Array,
    offsets: Array,
    learn: Array,
    validate: Array,
    config: LandmarkConfig,
    out: Path,
    *,
    resume: bool = False,
) -> Path:
    """Train and write checkpoints and log.jsonl to `out`; returns the checkpoint's path.

    cuts: uint8 (N, 208, 208, 3) RGB, with the labels fitted to cut_places(). offsets: float32 (N, 4, 2), the labels'
    offsets from there in cut-out px. learn, validate: rows.
    """
    torch.manual_seed(config.seed)
    net = LandmarkNet()
    basis = torch.from_numpy(similarity_basis())

    def loss(step: int) -> tuple[Tensor, float]:
        random, generator = runs.generator_of(config.seed, step)
        rows = np.sort(random.choice(learn, config.batch, replace=False))
        pixels, label, _ = sample(cuts[rows], offsets[rows], generator)
        error = net((pixels - MEAN) / STD) - label
        together = error @ basis
        value = F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.1)
        value = value + config.similarity_weight * F.smooth_l1_loss(together, torch.zeros_like(together), beta=0.1)
        return value, float(value.detach())

    def report(mean: LandmarkNet) -> runs.Row:
        return measure(mean, cuts[validate], offsets[validate])

    optimizer = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=config.decay)
    last = out / "last.pt"
    runs.train_steps(
        net, optimizer, config, last, loss=loss, logged="loss", report=report, resume=resume,
        decay=config.average, clip=5.0,
    )  # fmt: skip
    return last


def averaged(checkpoint: Path) -> LandmarkNet:
    """The network of a checkpoint with the running mean of its weights, for inference."""
    kept = torch.load(checkpoint, weights_only=True)
    net = LandmarkNet()
    net.load_state_dict(dict(zip(net.state_dict(), kept["average"], strict=True)))
    net.eval()
    return net


def measure(net: LandmarkNet, cuts: Array, offsets: Array) -> dict[str, float]:
    """Root mean square errors in inter-eye distances, of each coordinate and of the similarity, on distorted pictures."""
    errors = []
    with torch.inference_mode():
        for i in range(0, len(cuts), 64):
            pixels, label, _ = sample(cuts[i : i + 64], offsets[i : i + 64], torch.Generator().manual_seed(i))
            errors.append(net((pixels - MEAN) / STD) - label)
    error = torch.cat(errors).numpy() * UNIT_PX / np.linalg.norm(POINTS[0] - POINTS[1])
    return {
        "rms": round(float(np.sqrt((error**2).mean())), 4),
        "rms_similarity": round(float(np.sqrt(((error @ similarity_basis()) ** 2).mean())), 4),
    }
