"""Stage one: train the twin network. Reads top to bottom; ``python -m training.omniglot train`` is its command line.

Each step takes a few groups of characters, each group from one alphabet in one orientation, every character by two
drawers. Two losses share the encoder: Koch's regularised cross-entropy on the same/different pairs inside a group
through the weighted L1 head, and (unless ``margin_scale`` is 0) a cosine-margin softmax over all characters and their
orientations, which looks at every other character at once and so learns faster than pairs do.
"""

# mypy: allow-subclassing-any
# (torch brings no types where this is checked)
from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training import runs
from training.omniglot.augment import distort
from training.omniglot.data import SIDE_PX, DataError, Drawings, resized
from training.omniglot.networks import L1Head, build
from training.omniglot.split import alphabets
from training.omniglot.trials import draw_pairs, run_indices


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Every knob and its reason. Stored in each checkpoint."""

    network: str = "small"  # "koch" for the network of the paper
    parts: tuple[str, ...] = ("train",)  # alphabets learnt from; ("train", "validate") only for a last, unmeasured lap
    epochs: int = 60  # an epoch shows each drawing once, in a random orientation
    group: int = 16  # characters of one alphabet side by side, near the 20 of a run
    groups: int = 4  # groups in a step: 4 x 16 x 2 drawers = 128 drawings
    orientations: int = 4  # quarter turns are new characters; 8 adds mirror images
    distortion: str = "elastic"  # "koch" for the affine maps of the paper
    optimizer: str = "adamw"  # "sgd" with per-layer rates for the network of the paper
    rate: float = 2e-3  # peak; warm-up of one epoch, constant, then a straight line to zero
    cooldown: float = 0.4  # share of the epochs on that line
    weight_decay: float = 0.05  # on matrices, not on norms and biases
    margin_scale: float = 24.0  # 0 switches the softmax over characters off
    margin: float = 0.25  # the true character's cosine must lead by this
    pair_weight: float = 0.5  # share of the verification loss
    one_shot_weight: float = 0.0  # share of the one-shot loss: the head has to choose among the characters of a group
    initial: str = ""  # a checkpoint whose encoder and head to start from, for a second lap with other knobs
    patience: int = 20  # epochs without a better one-shot validation before stopping, as in the paper
    keep: int = 6  # newest epochs kept as epoch-NN.pt, for the mean of their weights
    seed: int = 0


KOCH = {
    "network": "koch",
    "orientations": 1,
    "distortion": "koch",
    "optimizer": "sgd",
    "epochs": 200,
    "margin_scale": 0.0,
    "pair_weight": 1.0,
}


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


class Model(nn.Module):
    """What a checkpoint holds: encoder, verification head, and the softmax that only training needs."""

    def __init__(self, config: TrainConfig, characters: int):
        super().__init__()
        self.encoder = build(config.network)
        dimension: int = self.encoder.dimension
        self.head = L1Head(dimension, weight=6 / dimension)  # starts with logits of a few units
        self.softmax = (
            MarginSoftmax(dimension, characters * config.orientations, config.margin_scale, config.margin)
            if config.margin_scale
            else None
        )


def turned(ink: Tensor, orientation: Tensor) -> Tensor:
    """Ink (B, 1, H, W) by orientation 0..7: quarter turns, from 4 on of the mirror image."""
    out = ink.clone()
    for o in orientation.unique().tolist():
        chosen = orientation == o
        picture = ink[chosen].flip(-1) if o >= 4 else ink[chosen]
        out[chosen] = torch.rot90(picture, o % 4, (-2, -1))
    return out


def epoch_steps(
    drawings: Drawings, config: TrainConfig, rng: np.random.Generator
) -> Iterator[list[tuple[NDArray[np.int64], int]]]:
    """The steps of one epoch: each a list of groups (drawing indices (characters, 2), orientation)."""
    where = {(c, d): i for i, (c, d) in enumerate(zip(drawings.character, drawings.drawer, strict=True))}
    members = [np.unique(drawings.character[drawings.alphabet == a]) for a in range(len(drawings.alphabet_names))]
    drawers = [rng.permutation(np.unique(drawings.drawer[drawings.alphabet == a])) for a in range(len(members))]
    for lap in range(max(len(d) for d in drawers) // 2):  # two drawers a lap, until each has been seen
        groups: list[tuple[NDArray[np.int64], int]] = []
        for characters, people in zip(members, drawers, strict=True):
            if len(people) < 2 * lap + 2 or len(characters) < 2:
                continue
            pieces = np.array_split(rng.permutation(characters), math.ceil(len(characters) / config.group))
            for piece in pieces:
                index = np.array([[where[c, people[2 * lap]], where[c, people[2 * lap + 1]]] for c in piece], np.int64)
                groups.append((index, int(rng.integers(config.orientations))))
        order = rng.permutation(len(groups))
        for start in range(0, len(order), config.groups):
            yield [groups[i] for i in order[start : start + config.groups]]


def verification_loss(head: L1Head, embedding: Tensor, sizes: list[int]) -> Tensor:
    """Cross-entropy on all pairs inside each group, mated and non-mated weighing the same. embedding (sum of 2 n, D)."""
    losses = []
    for piece in embedding.split([2 * n for n in sizes]):
        left, right = piece[0::2], piece[1::2]  # (n, D) each: first and second drawer
        logits = head(left[:, None], right[None])  # (n, n): mated on the diagonal
        different = ~torch.eye(len(left), dtype=torch.bool)
        losses.append((F.softplus(-logits.diagonal()).mean() + F.softplus(logits[different]).mean()) / 2)
    return torch.stack(losses).mean()


def one_shot_loss(head: L1Head, embedding: Tensor, sizes: list[int]) -> Tensor:
    """Stage two as a loss: softmax over the head's logits inside each group, from both sides. embedding (sum of 2 n, D)."""
    losses = []
    for piece in embedding.split([2 * n for n in sizes]):
        logits = head(piece[0::2][:, None], piece[1::2][None])  # (n, n): the true character on the diagonal
        truth = torch.arange(len(logits))
        losses.append((F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2)
    return torch.stack(losses).mean()


def make_optimizer(model: Model, config: TrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW([{**g, "base": config.rate} for g in groups], lr=config.rate)
    # The paper gives each layer its own rate, final momentum and L2 penalty, found by a search whose result it does not
    # print. Ours: the dense layer, with the most weights and the largest start, moves slowest and is penalised most.
    layers: list[dict[str, Any]] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            layers.append(
                {"params": list(module.parameters()), "base": 3e-2, "final_momentum": 0.9, "weight_decay": 1e-4}
            )
        elif isinstance(module, nn.Linear):
            layers.append(
                {"params": list(module.parameters()), "base": 3e-3, "final_momentum": 0.9, "weight_decay": 1e-3}
            )
        elif name == "head":
            layers.append(
                {"params": list(module.parameters()), "base": 3e-2, "final_momentum": 0.9, "weight_decay": 0.0}
            )
    return torch.optim.SGD(layers, lr=1e-3, momentum=0.5)


def set_rates(optimizer: torch.optim.Optimizer, config: TrainConfig, position: float) -> None:
    """Rates at ``position`` (in epochs, fractional): trapezoid for AdamW; for SGD Koch's 1 % decay and rising momentum."""
    for group in optimizer.param_groups:
        if config.optimizer == "adamw":
            down = (config.epochs - position) / max(1e-9, config.cooldown * config.epochs)
            group["lr"] = group["base"] * min(1.0, (position + 0.02), down)
        else:
            group["lr"] = group["base"] * 0.99 ** int(position)
            group["momentum"] = 0.5 + (group["final_momentum"] - 0.5) * min(1.0, position / 50)


def encode(encoder: nn.Module, ink: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Float embeddings (N, D) of drawings (N, 105, 105), through the same resizing as on the device."""
    encoder.eval()
    grey = resized(ink, int(encoder.side_px))
    out = []
    with torch.inference_mode():
        for start in range(0, len(grey), 256):
            batch = torch.from_numpy(grey[start : start + 256])[:, None].float()
            out.append(encoder(1 - batch / 255))
    return np.asarray(torch.cat(out).numpy())


def validate(model: Model, drawings: Drawings) -> dict[str, float]:
    """Float validation for choosing and stopping: 20-way one-shot by cosine and by the head, verification by the head."""
    embedding = torch.from_numpy(encode(model.encoder, drawings.ink))
    train, test, answer = run_indices(drawings, 20, 20, seed=1)
    unit = F.normalize(embedding)
    cosine = torch.einsum("rid,rcd->ric", unit[test], unit[train]).argmax(2).numpy()
    pairs = draw_pairs(drawings, 2000, seed=1)
    with torch.inference_mode():
        head = np.stack(
            [
                model.head(embedding[i][:, None], embedding[c][None]).argmax(1).numpy()
                for i, c in zip(test, train, strict=True)
            ]
        )
        same = model.head(embedding[pairs.left], embedding[pairs.right]).numpy() > 0
    return {
        "one_shot_cosine": float((cosine == answer).mean()),
        "one_shot_l1": float((head == answer).mean()),
        "verification": float((same == pairs.same).mean()),
    }


def train(
    data: Drawings, config: TrainConfig, out: Path, resume: bool = False, validation: Drawings | None = None
) -> Path:
    """Train and return the path of the chosen checkpoint. Writes to ``out``: last.pt, best.pt, log.jsonl, curves.png.

    The random numbers of an epoch depend on (seed, epoch) alone, so a resumed run repeats what it would have been.
    Raises DataError if ``out`` already holds a run and ``resume`` is false, or holds none and it is true.
    """
    out.mkdir(parents=True, exist_ok=True)
    last, best = out / "last.pt", out / "best.pt"
    if last.exists() != resume:
        raise DataError(f"{last}: {'expected no earlier run (or --resume)' if not resume else 'no run to resume'}")
    drawings = data.only(name for part in config.parts for name in alphabets(part)) if validation is None else data
    validation = data.only(alphabets("validate")) if validation is None else validation

    torch.manual_seed(config.seed)
    model = Model(config, len(np.unique(drawings.character)))
    if config.initial and not resume:
        earlier = load(Path(config.initial))[0]
        if type(earlier.encoder) is not type(model.encoder):
            raise DataError(f"{config.initial}: expected a checkpoint of network {config.network!r}")
        model.encoder.load_state_dict(earlier.encoder.state_dict())
        model.head.load_state_dict(earlier.head.state_dict())
    model.to(memory_format=torch.channels_last)  # a third faster on a CPU
    optimizer = make_optimizer(model, config)
    start, history = 0, []
    if resume:
        kept = torch.load(last, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        start, history = kept["epoch"], kept["history"]

    side: int = model.encoder.side_px
    source = torch.from_numpy(drawings.ink)[:, None]  # (N, 1, 105, 105) uint8
    character = torch.from_numpy(drawings.character)
    for epoch in range(start, config.epochs):
        began = time.perf_counter()
        rng = np.random.default_rng([config.seed, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        steps = list(epoch_steps(drawings, config, rng))
        totals = np.zeros(2)
        model.train()
        for step, groups in enumerate(steps):
            set_rates(optimizer, config, epoch + step / len(steps))
            index = torch.from_numpy(np.concatenate([g.ravel() for g, _ in groups]))  # (B,): drawers alternate
            orientation = torch.from_numpy(np.repeat([o for _, o in groups], [g.size for g, _ in groups]))
            ink = turned(source[index].float(), orientation)  # (B, 1, 105, 105)
            if side < SIDE_PX:
                ink = F.avg_pool2d(ink, 2, 1)  # the blur that shrinking by 1.75 needs, as the device's resizing has it
            ink = distort(ink, side, config.distortion, generator)  # (B, 1, side, side)
            embedding = model.encoder(ink.contiguous(memory_format=torch.channels_last))  # (B, D)
            sizes = [len(g) for g, _ in groups]
            verification = verification_loss(model.head, embedding, sizes)
            if model.softmax is None:
                softmax = embedding.new_zeros(())
            else:
                softmax = model.softmax(embedding, character[index] * config.orientations + orientation)
            loss = softmax + config.pair_weight * verification
            if config.one_shot_weight:
                loss = loss + config.one_shot_weight * one_shot_loss(model.head, embedding, sizes)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"epoch {epoch}, step {step}: loss {loss.item()}; lower the rate")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)  # one odd batch must not throw the encoder away
            optimizer.step()
            totals += [softmax.item(), verification.item()]
        scores = validate(model, validation)
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "softmax_loss": float(totals[0]) / len(steps),
            "verification_loss": float(totals[1]) / len(steps),
            **scores,
            "rate": optimizer.param_groups[0]["lr"],
            "seconds": round(time.perf_counter() - began, 1),
        }
        history.append(row)
        runs.log(out, row)
        key = "one_shot_l1" if model.softmax is None else "one_shot_cosine"
        leader = max(range(len(history)), key=lambda i: (history[i][key], i))  # ties go to the later epoch
        save(model, optimizer, config, history, last)
        if leader == len(history) - 1:
            save(model, optimizer, config, history, best)
        if config.keep:
            save(model, optimizer, config, history, out / f"epoch-{epoch + 1:03d}.pt")
            (out / f"epoch-{epoch + 1 - config.keep:03d}.pt").unlink(missing_ok=True)
        draw_curves(history, out / "curves.png")
        if len(history) - 1 - leader >= config.patience:
            print(f"stopped: no better one-shot validation for {config.patience} epochs", flush=True)
            break
    return best


def save(
    model: Model, optimizer: torch.optim.Optimizer, config: TrainConfig, history: list[dict[str, Any]], path: Path
) -> None:
    runs.save(
        path,
        {
            "config": asdict(config),
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": len(history),
            "history": history,
            "characters": 0 if model.softmax is None else len(model.softmax.centres) // config.orientations,
        },
    )


def load(path: Path) -> tuple[Model, TrainConfig]:
    """The model of a checkpoint, in evaluation mode, and its configuration. Raises DataError if it is not one."""
    try:
        kept = torch.load(path, weights_only=True, map_location="cpu")
        config = TrainConfig(**{**kept["config"], "parts": tuple(kept["config"]["parts"])})
        model = Model(config, kept["characters"])
        model.load_state_dict(kept["model"])
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, KeyError, EOFError for damaged files
        raise DataError(f"{path}: expected a checkpoint of this trainer ({type(error).__name__})") from error
    return model.eval(), config


def draw_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Losses and validation scores over the epochs, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    epochs = [row["epoch"] for row in history]
    for axis, keys in (
        (left, ("softmax_loss", "verification_loss")),
        (right, ("one_shot_cosine", "one_shot_l1", "verification")),
    ):
        for key in keys:
            axis.plot(epochs, [row[key] for row in history], label=key)
        axis.set_xlabel("epoch")
        axis.legend()
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
