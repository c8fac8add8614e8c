"""Train the branch that tells which landmarks are hidden: shapes of any kind are drawn over faces, and it has to find them.

The landmark network stays as it is, number for number. Ellipses, boxes and polygons, alone or as a symmetrical pair, of one
colour, nearly black, skin-like, or a piece of another picture; no glasses, masks or hands, so that these can be held
against it (benchmarks/occlusion.py).
"""

# mypy: allow-subclassing-any
# (torch brings no types where this is checked)
from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from converters.graph import Array
from training import runs
from training.landmarks.network import HiddenNet, LandmarkNet
from training.landmarks.train import CUT_PX, MEAN, STD, ZOOM, cut_places, sample

NEAR_PX = 6  # around a landmark, in a kept cut-out: of that square the hidden share is the label
APART_PX = ZOOM * 31  # between the eyes, in a kept cut-out


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenConfig:
    """Every knob and its reason. Stored in each checkpoint."""

    steps: int = 2000
    batch: int = 64
    rate: float = 2e-3  # peak of a cosine schedule
    warm_up: int = 100
    decay: float = 0.02
    covered: float = 0.5  # share of the faces that something is drawn over
    every: int = 200  # steps between two checkpoints
    seed: int = 0


def cover(cut: Array, marks: Array, textures: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """A kept cut-out with one or two shapes over it, and the hidden share around each of its landmarks (4,). marks: (4, 2) px."""
    mask = Image.new("L", (CUT_PX, CUT_PX), 0)
    pen = ImageDraw.Draw(mask)
    for _ in range(random.integers(1, 3)):
        near = marks[random.integers(len(marks))] + random.normal(size=2) * APART_PX * 0.35
        centre = near if random.random() < 0.75 else random.uniform(30, CUT_PX - 30, 2)
        width, height = np.exp(random.normal(size=2) * 0.45) * APART_PX * 0.42
        kind, turn = random.integers(3), random.uniform(0, np.pi)
        if kind == 0:
            corners = [(width * np.cos(a), height * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 20)]
        elif kind == 1:
            corners = [(-width, -height), (width, -height), (width, height), (-width, height)]
        else:
            angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(4, 8)))
            corners = [(1.3 * width * np.cos(a), 1.3 * height * np.sin(a)) for a in angles]
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        shape = [tuple((centre + rotation @ np.array(c)).tolist()) for c in corners]
        pen.polygon(shape, fill=255)
        if random.random() < 0.3:
            pen.polygon([(CUT_PX - x, y) for x, y in shape], fill=255)
    hidden = np.asarray(mask) > 0
    surface = random.integers(4)
    if surface == 0:
        colour: Array = np.broadcast_to(random.integers(0, 256, 3), cut.shape)
    elif surface == 1:
        colour = np.broadcast_to(random.integers(0, 70) + random.normal(size=3) * 6, cut.shape)
    elif surface == 2:
        colour = np.roll(textures[random.integers(len(textures))], tuple(random.integers(0, CUT_PX, 2)), (0, 1))
    else:  # skin: the colour of the nose, with a slope of light and spots
        x, y = np.clip(marks[2].astype(int), 0, CUT_PX - 1)
        spots = random.normal(size=(CUT_PX // 8, CUT_PX // 8, 1)).repeat(8, 0).repeat(8, 1) * 8
        colour = cut[y, x].astype(float) + np.linspace(-30, 30, CUT_PX)[None, :, None] * random.normal() + spots
    covered = np.where(hidden[..., None], np.clip(colour, 0, 255), cut).astype(np.uint8)
    shares = [
        hidden[max(0, y - NEAR_PX) : y + NEAR_PX + 1, max(0, x - NEAR_PX) : x + NEAR_PX + 1]
        for x, y in marks.astype(int).tolist()
    ]
    return covered, np.array([s.mean() if s.size else 0.0 for s in shares], np.float32)


def batch(
    cuts: Array, offsets: Array, rows: Array, share: float, textures: Array, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (B, 3, 99, 99) in [0, 255] and hidden shares (B, 4), of which `share` of the faces have something over them."""
    random = np.random.default_rng(seed)
    some, hidden = cuts[rows].copy(), np.zeros((len(rows), 4), np.float32)
    for j, i in enumerate(rows):
        if random.random() < share:
            some[j], hidden[j] = cover(some[j], cut_places() + offsets[i], textures, random)
    pixels, _, mirrored = sample(some, offsets[rows], torch.Generator().manual_seed(seed), patches=False)
    label = torch.from_numpy(hidden)
    return pixels, torch.where(mirrored[:, None], label[:, [1, 0, 2, 3]], label)


def train_hidden(
    net: LandmarkNet,
    cuts: Array,
    offsets: Array,
    learn: Array,
    validate: Array,
    config: HiddenConfig,
    out: Path,
    *,
    resume: bool = False,
) -> Path:
    """Train the branch beside `net`; hidden.pt and lines in log.jsonl go to `out`. Returns the checkpoint's path. Arrays as `train`'s."""
    out.mkdir(parents=True, exist_ok=True)
    last = out / "hidden.pt"
    torch.manual_seed(config.seed)
    branch, start, began = HiddenNet(), 0, time.perf_counter()
    optimizer = torch.optim.AdamW(branch.parameters(), lr=config.rate, weight_decay=config.decay)
    if resume:
        kept = torch.load(last, weights_only=True)
        branch.load_state_dict(kept["net"])
        optimizer.load_state_dict(kept["optimizer"])
        start = kept["step"]
    textures, losses = cuts[learn[:500]], []
    for step in range(start, config.steps):
        rows = np.sort(np.random.default_rng([config.seed, step]).choice(learn, config.batch, replace=False))
        for group in optimizer.param_groups:
            group["lr"] = (
                config.rate * min(1.0, (step + 1) / config.warm_up) * (1 + math.cos(math.pi * step / config.steps)) / 2
            )
        pixels, label = batch(cuts, offsets, rows, config.covered, textures, 10**6 + step)
        with torch.no_grad():
            seen = net.trunk((pixels - MEAN) / STD)
        branch.train()
        loss = F.binary_cross_entropy_with_logits(branch(seen), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % config.every == 0 or step + 1 == config.steps:
            runs.save(
                last,
                {
                    "config": asdict(config),
                    "net": branch.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step + 1,
                },
            )
            runs.log(
                out,
                {
                    "step": step + 1,
                    "hidden_loss": round(float(np.mean(losses[-config.every :])), 5),
                    **noticed(net, branch, cuts, offsets, validate, textures),
                    "seconds": round(time.perf_counter() - began, 1),
                },
            )
    return last


def load_hidden(checkpoint: Path) -> HiddenNet:
    """The branch of a checkpoint, for inference."""
    branch = HiddenNet()
    branch.load_state_dict(torch.load(checkpoint, weights_only=True)["net"])
    branch.eval()
    return branch


def noticed(
    net: LandmarkNet, branch: HiddenNet, cuts: Array, offsets: Array, rows: Array, textures: Array
) -> dict[str, float]:
    """Share of faces with a landmark hidden for 70 % or more that is noticed where 0.3, 1 and 5 % of the uncovered are refused."""
    branch.eval()
    found, labels = [], []
    with torch.no_grad():
        for i in range(0, len(rows), 64):
            pixels, label = batch(cuts, offsets, rows[i : i + 64], 0.5, textures, 5 * 10**7 + i)
            found.append(branch(net.trunk((pixels - MEAN) / STD)).max(1).values)
            labels.append(label.max(1).values)
    worst, share = torch.cat(found).numpy(), torch.cat(labels).numpy()
    free, covered = worst[share == 0], worst[share >= 0.7]
    return {
        f"noticed_at_{q:g}": round(float((covered > np.quantile(free, 1 - q)).mean()), 4) for q in (0.003, 0.01, 0.05)
    }
