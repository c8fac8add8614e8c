"""Train the branch for hidden parts on things that people wear and hold, and write it into the landmark bundle.

    python -m training.landmarks.worn crops --images DIR --out crops.npz
    python -m training.landmarks.worn train --crops crops.npz --out face_landmarks.tflite BUNDLE

DIR contains DIR/Name/Name_0001.jpg. The branch starts as it is in BUNDLE and learns one question: does anything cover the face?
The highest of its four logits is the answer, so the label is one for each face. The trunk is the bundle's own, in int8, and the
landmarks do not change in any bit. Pictures show hats and glasses, too, that nobody labelled: after the first half of the steps
the faces that look most covered are left out.
"""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from converters.card import Json
from converters.face import POINTS as CHIP_POINTS
from converters.graph import Array
from edge_oneshot.evaluation.occluders import LEARNT, occlude
from edge_oneshot.model.bundle import digest, split, write_bundle
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.vision.align import warp
from edge_oneshot.vision.light import light_up
from training.landmarks.graft import Layer, graft, layers, trunk
from training.landmarks.network import NAMES, SIDE_PX

CHIP_PX, MARGIN_PX = 112, 16
CROP_PX = CHIP_PX + 2 * MARGIN_PX  # side of a stored crop: the encoder's chip with a margin
MARKS = np.array([CHIP_POINTS[name] for name in NAMES]) + MARGIN_PX  # landmarks in a crop, px
OFTEN = ("cap", "cap", "FFP2 mask", "sunglasses", "hood")  # rendered more often than the other kinds: they are harder


@dataclass(frozen=True, slots=True, kw_only=True)
class WornConfig:
    """Every setting and its reason. Stored in the bundle's card."""

    renderings: int = 9600
    views: int = 2  # degraded copies of each cut-out, beside the clean one
    steps: int = 2800
    batch: int = 48  # of covered faces, and as many free ones
    rate: float = 2e-3
    decay: float = 0.02  # of the weights
    doubtful: float = 0.03  # share of the free faces left out in the second half
    seed: int = 0


class Branch(nn.Module):
    """network.HiddenNet with its batch norms folded: trunk (B, 96, 13, 13) -> (B, 4) logits."""

    def __init__(self, start: Sequence[Layer]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.from_numpy(w)) for w, _ in start)
        self.biases = nn.ParameterList(nn.Parameter(torch.from_numpy(b)) for _, b in start)

    def forward(self, seen: Tensor) -> Tensor:
        return self.walk(seen)[0]

    def walk(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and what the two shortcuts add."""
        sums = []
        for i, stride, shortcut in ((0, 1, True), (2, 2, False), (4, 1, True)):
            kernel = self.weights[i].permute(3, 0, 1, 2)  # (C, 1, 3, 3)
            y = F.relu6(F.conv2d(x, kernel, self.biases[i], stride, 1, groups=x.shape[1]))
            y = F.conv2d(y, self.weights[i + 1].permute(0, 3, 1, 2), self.biases[i + 1])
            if shortcut:
                sums.append(y)
            x = F.relu6(x + y if shortcut else y)
        x = F.relu6(F.conv2d(x, self.weights[6].permute(0, 3, 1, 2), self.biases[6]))
        return F.linear(x.permute(0, 2, 3, 1).flatten(1), self.weights[7], self.biases[7]), sums


class Trunk:
    """The int8 trunk of a bundle: cut-outs uint8 (N, 99, 99, 3) -> int8 (N, 13, 13, 96)."""

    def __init__(self, model: bytes, where: Path) -> None:
        content, self.scale = trunk(model)
        self._runtime = Runtime(content, where, "auto", 1)

    def __call__(self, cuts: Array) -> Array:
        return np.concatenate([self._runtime.invoke((cut[None] ^ 0x80).view(np.int8))[0] for cut in cuts])

    def real(self, seen: Array) -> Tensor:
        """(N, 13, 13, 96) int8 -> (N, 96, 13, 13) float."""
        return (torch.from_numpy(seen).float() + 128).mul(self.scale).permute(0, 3, 1, 2)


def cut_out(crop: Array, random: np.random.Generator, *, covered: bool) -> Array:
    """The network's input of a crop (144, 144, 3), misplaced as the second look of the detector misplaces it."""
    angle, size, shift = random.normal() * 0.06, np.exp(random.normal() * 0.06), random.normal(size=2) * 1.5
    if covered and random.random() < 0.5:
        shift = shift * 2.2
    zoom = SIDE_PX / CHIP_PX
    turn = size * zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([CROP_PX / 2, CROP_PX / 2 + 8])
    offset = (centre - MARGIN_PX) * zoom + shift - turn @ centre
    return warp(np.ascontiguousarray(crop), np.column_stack([turn, offset]), (SIDE_PX, SIDE_PX))


def degrade(cut: Array, random: np.random.Generator) -> Array:
    """Blurred, in other light, grey, noisy, mirrored: what the gates for enrollment still let through."""
    image = Image.fromarray(cut)
    if random.random() < 0.5:
        side = int(random.integers(45, 95))
        way = Image.Resampling.BOX if random.random() < 0.5 else Image.Resampling.BILINEAR
        image = image.resize((side, side), way).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    values = np.clip(np.asarray(image, np.float64), 0, 255)
    if random.random() < 0.2:
        values = values.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    light = np.exp(random.normal() * 0.25) * np.exp(random.normal(size=3) * 0.06)
    values = 255 * (values / 255) ** np.exp(random.normal() * 0.25) * light + random.normal() * 8
    values = values + random.normal(size=values.shape) * random.uniform(0, 6)
    return light_up(np.asarray(np.clip(values if random.random() < 0.5 else values[:, ::-1], 0, 255), np.uint8))


def rendered(task: tuple[Array, int, int]) -> Array:
    """The cut-out of a face with one object over it, the kinds in turn and OFTEN more often. Nothing that is held out.

    task: the crop, the number of the rendering, the seed.
    """
    crop, number, seed = task
    kinds, random = [*LEARNT, *OFTEN], np.random.default_rng([seed, number])
    worn = occlude(crop, MARKS, kinds[number % len(kinds)], random, held_out=False)
    worn[(crop == 0).all(axis=-1)] = 0  # nothing is worn outside the picture
    return cut_out(worn, random, covered=True)


def fit(branch: Branch, body: Trunk, covered: Array, free: Array, config: WornConfig) -> list[tuple[float, float]]:
    """Train the branch on cut-outs; returns the ranges of what its shortcuts add."""
    random = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)

    def views(cuts: Array) -> Array:
        return np.stack(
            [body(cuts), *(body(np.stack([degrade(c, random) for c in cuts])) for _ in range(config.views))]
        )

    seen, clear = views(covered), views(free)  # (views + 1, N, 13, 13, 96)
    kept = _scores(branch, body, clear[0]) < 0.5  # what the branch of before finds hidden is no free face
    for half in range(2):
        if half:
            worst = _scores(branch, body, clear[0])
            kept &= worst < np.quantile(worst, 1 - config.doubtful)
        _steps(branch, body, seen, clear[:, kept], config, random, config.rate / (1 + half))
    sample = torch.cat([body.real(seen[0][:512]), body.real(clear[0][:512])])
    with torch.no_grad():
        return [(float(s.min()), float(s.max())) for s in branch.walk(sample)[1]]


def _steps(
    branch: Branch, body: Trunk, seen: Array, clear: Array, config: WornConfig, random: np.random.Generator, rate: float
) -> None:
    steps, n = config.steps // 2, config.batch
    optimizer = torch.optim.AdamW(branch.parameters(), lr=rate, weight_decay=config.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    label = torch.cat([torch.ones(n), torch.zeros(n)])
    for step in range(steps):
        drawn = [x[random.integers(len(x), size=n), random.integers(x.shape[1], size=n)] for x in (seen, clear)]
        logit = torch.logsumexp(branch(body.real(np.concatenate(drawn))), 1)  # a smooth highest logit
        loss = F.binary_cross_entropy_with_logits(logit, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(json.dumps({"step": step + 1, "loss": round(float(loss.detach()), 4)}), flush=True)


def _scores(branch: Branch, body: Trunk, seen: Array) -> Array:
    with torch.no_grad():
        return np.concatenate(
            [branch(body.real(x)).max(1).values.numpy() for x in np.array_split(seen, len(seen) // 256 + 1)]
        )


def train(crops: Array, bundle: Path, out: Path, config: WornConfig, workers: int = 1) -> None:
    """Write the bundle with another branch to `out`. crops: uint8 (N, 144, 144, 3) of free faces."""
    model, card = split(bundle.read_bytes(), bundle)
    random = np.random.default_rng(config.seed)
    order = random.permutation(len(crops))
    tasks = [(crops[order[i % len(crops)]], i, config.seed) for i in range(config.renderings)]
    with ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        covered = np.stack(list(map(rendered, tasks) if pool is None else pool.map(rendered, tasks, chunksize=50)))
    print(json.dumps({"rendered": len(covered)}), flush=True)
    free = np.stack([cut_out(c, random, covered=False) for c in crops])
    body, branch = Trunk(model, bundle), Branch(layers(model))
    sums = fit(branch, body, covered, free, config)
    pairs = zip(branch.weights, branch.biases, strict=True)
    grafted = graft(model, [(w.detach().numpy(), b.detach().numpy()) for w, b in pairs], sums)
    write_bundle(out, grafted, recorded(card or {}, grafted, digest(crops.tobytes()), len(crops), config))


def recorded(card: Json, model: bytes, crops: str, count: int, config: WornConfig) -> Json:
    """The card of the bundle, with what the branch was trained on."""
    hidden = {"crops": crops, "faces": count, **asdict(config)}
    provenance = {**card["provenance"], "hidden": hidden}
    return {**card, "provenance": provenance, "digests": {**card["digests"], "model": digest(model)}}


def collect(images: Path, out: Path) -> None:
    """Store the crop of every picture that shows one face which the gates let be enrolled; what is hidden does not count."""
    from edge_oneshot.cameras.images import load_image
    from edge_oneshot.config import Config
    from edge_oneshot.evaluation.dataset import find_images
    from edge_oneshot.recognition.compose import build_pipeline
    from edge_oneshot.vision.align import estimate_similarity

    pipeline, crops, names = build_pipeline(Config()), [], []
    for image in find_images(images):
        picture = load_image(image.path)
        samples = pipeline.picture_samples(picture)
        if (
            len(samples) == 1
            and (face := samples[0].face)
            and {f.code for f in samples[0].reference_faults} <= {"hidden"}
        ):
            marks = np.array([face.landmark(name) for name in NAMES], np.float64)
            crops.append(warp(picture.pixels, estimate_similarity(marks, MARKS), (CROP_PX, CROP_PX)))
            names.append(image.path.stem)
    if not crops:
        raise SystemExit(
            f"{images}: expected pictures of one face that can be enrolled, got none. Fix: use larger or sharper ones."
        )
    np.savez(out, names=np.array(names), crops=np.stack(crops))


def main() -> int:
    root = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = root.add_subparsers(dest="verb", required=True)
    p = verbs.add_parser("crops", help="cut out the faces of pictures")
    p.add_argument("--images", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p = verbs.add_parser("train", help="train the branch on renderings over the crops")
    p.add_argument("--crops", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("bundle", type=Path)
    o = root.parse_args()
    if o.verb == "crops":
        collect(o.images, o.out)
    else:
        torch.set_num_threads(1)
        train(np.load(o.crops)["crops"], o.bundle, o.out, WornConfig(), o.workers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
