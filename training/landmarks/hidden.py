"""Train the branch that estimates which landmarks are hidden, on faces with shapes drawn over them.

The weights of the landmark network do not change. The shapes are ellipses, boxes and polygons, alone or as a symmetrical
pair, of one colour, nearly black, skin-like, or a piece of another picture. There are no glasses, masks or hands among
them, so that benchmarks/occlusion.py can test with those.
"""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from converters.graph import Array
from training import runs
from training.landmarks.network import HiddenNet, LandmarkNet
from training.landmarks.train import CUT_PX, MEAN, STD, ZOOM, cut_places, sample
from training.runs import StepConfig

NEAR_PX = 6  # half the side of the square around a landmark, in a stored cut-out, whose hidden share is the label
APART_PX = ZOOM * 31  # between the eyes, in a stored cut-out


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenConfig(StepConfig):
    """Every setting and its reason. Stored in each checkpoint."""

    steps: int = 2000
    batch: int = 64
    rate: float = 2e-3
    warm_up: int = 100
    every: int = 200
    decay: float = 0.02  # of the weights
    covered: float = 0.5  # share of the faces with a shape drawn over them


def _shapes(marks: Array, random: np.random.Generator) -> Array:
    """One or two shapes near the landmarks, some mirrored to the other side of the face: bool (208, 208)."""
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
    return np.asarray(mask) > 0


def _surface(cut: Array, marks: Array, textures: Array, random: np.random.Generator) -> Array:
    """The colour of the shapes at each px, (208, 208, 3)."""
    surface = random.integers(4)
    if surface == 0:
        return np.broadcast_to(random.integers(0, 256, 3), cut.shape)
    if surface == 1:
        return np.broadcast_to(random.integers(0, 70) + random.normal(size=3) * 6, cut.shape)
    if surface == 2:
        return np.roll(textures[random.integers(len(textures))], tuple(random.integers(0, CUT_PX, 2)), (0, 1))
    # Skin: the colour of the nose, with a gradient of light and spots.
    x, y = np.clip(marks[2].astype(int), 0, CUT_PX - 1)
    spots = random.normal(size=(CUT_PX // 8, CUT_PX // 8, 1)).repeat(8, 0).repeat(8, 1) * 8
    return np.asarray(cut[y, x].astype(float) + np.linspace(-30, 30, CUT_PX)[None, :, None] * random.normal() + spots)


def cover(cut: Array, marks: Array, textures: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """A cut-out with shapes drawn over it, and the hidden share around each of its landmarks (4,). marks: (4, 2) px."""
    hidden = _shapes(marks, random)
    colour = _surface(cut, marks, textures, random)
    covered = np.where(hidden[..., None], np.clip(colour, 0, 255), cut).astype(np.uint8)
    shares = [
        hidden[max(0, y - NEAR_PX) : y + NEAR_PX + 1, max(0, x - NEAR_PX) : x + NEAR_PX + 1]
        for x, y in marks.astype(int).tolist()
    ]
    return covered, np.array([s.mean() if s.size else 0.0 for s in shares], np.float32)


def batch(
    cuts: Array, offsets: Array, rows: Array, share: float, textures: Array, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (B, 3, 99, 99) in [0, 255] and hidden shares (B, 4); a share of `share` of the faces has shapes over it."""
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
    """Train the branch of `net`; hidden.pt and lines of log.jsonl go to `out`. Returns the checkpoint's path.

    Arrays as for `train`.
    """
    torch.manual_seed(config.seed)
    branch = HiddenNet()
    textures = cuts[learn[:500]]

    def loss(step: int) -> tuple[torch.Tensor, float]:
        rows = np.sort(np.random.default_rng([config.seed, step]).choice(learn, config.batch, replace=False))
        pixels, label = batch(cuts, offsets, rows, config.covered, textures, 10**6 + step)
        with torch.no_grad():
            seen = net.trunk((pixels - MEAN) / STD)
        value = F.binary_cross_entropy_with_logits(branch(seen), label)
        return value, float(value.detach())

    def report(trained: HiddenNet) -> runs.Row:
        return noticed(net, trained, cuts, offsets, validate, textures)

    optimizer = torch.optim.AdamW(branch.parameters(), lr=config.rate, weight_decay=config.decay)
    last = out / "hidden.pt"
    runs.train_steps(
        branch, optimizer, config, last, loss=loss, logged="hidden_loss", report=report, resume=resume
    )  # fmt: skip
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
    """Share of faces with a landmark at least 70 % hidden that the branch finds, when it refuses 0.3, 1 and 5 % of the others."""
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
