"""Stage one: train the twin network. `python -m training.omniglot train` is its command line.

Each step takes a few groups of characters, each group from one alphabet in one orientation, every character by two
drawers. Two losses share the encoder: Koch's regularised cross-entropy on the same/different pairs inside a group
through the weighted L1 head, and (unless `margin_scale` is 0) a cosine-margin softmax over all characters and their
orientations. The softmax compares with every other character at once and so learns faster than pairs do.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training import runs
from training.losses import one_shot_loss, verification_loss
from training.omniglot.batches import Group, epoch_steps, pictures
from training.omniglot.curves import draw_curves
from training.omniglot.data import DataError, Drawings, resized
from training.omniglot.model import Model, Row, TrainConfig, load, save
from training.omniglot.optimiser import make_optimizer, set_rates
from training.omniglot.split import alphabets
from training.omniglot.trials import draw_pairs, run_indices


def encode(encoder: nn.Module, ink: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Float embeddings (N, D) of drawings (N, 105, 105), resized as on the device."""
    encoder.eval()
    grey = resized(ink, int(encoder.side_px))
    out = []
    with torch.inference_mode():
        for start in range(0, len(grey), 256):
            batch = torch.from_numpy(grey[start : start + 256])[:, None].float()
            out.append(encoder(1 - batch / 255))
    return np.asarray(torch.cat(out).numpy())


def validate(model: Model, drawings: Drawings) -> dict[str, float]:
    """Float validation, which chooses the checkpoint: one-shot (20-way) by cosine and by the head, verification by the head."""
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


def step_loss(
    model: Model, drawings: Drawings, groups: list[Group], config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(total, softmax part, verification part) of one step."""
    ink, index, orientation = pictures(drawings, groups, config, int(model.encoder.side_px), generator)
    embedding = model.encoder(ink.contiguous(memory_format=torch.channels_last))  # (B, D)
    sizes = [len(g) for g, _ in groups]
    verification = verification_loss(model.head, embedding, sizes)
    if model.softmax is None:
        softmax = embedding.new_zeros(())
    else:
        character = torch.from_numpy(drawings.character)[index]
        softmax = model.softmax(embedding, character * config.orientations + orientation)
    total = softmax + config.pair_weight * verification
    if config.one_shot_weight:
        total = total + config.one_shot_weight * one_shot_loss(model.head, embedding, sizes)
    return total, softmax, verification


def one_epoch(
    model: Model, optimizer: torch.optim.Optimizer, drawings: Drawings, config: TrainConfig, epoch: int
) -> Row:
    """Train for one epoch; the mean losses. Its random numbers depend on the seed and the epoch alone."""
    random, generator = runs.generator_of(config.seed, epoch)
    steps = list(epoch_steps(drawings, config, random))
    totals = np.zeros(2)
    model.train()
    for step, groups in enumerate(steps):
        set_rates(optimizer, config, epoch + step / len(steps))
        loss, softmax, verification = step_loss(model, drawings, groups, config, generator)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"epoch {epoch}, step {step}: expected a finite loss, got {loss.item()}. Fix: lower the rate"
            )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)  # limits what one unusual batch can change
        optimizer.step()
        totals += [softmax.item(), verification.item()]
    return {"softmax_loss": float(totals[0]) / len(steps), "verification_loss": float(totals[1]) / len(steps)}


def start_from(model: Model, config: TrainConfig) -> None:
    """Copy encoder and head of the checkpoint `config.initial`. Raises DataError if its network is another one."""
    earlier = load(Path(config.initial))[0]
    if type(earlier.encoder) is not type(model.encoder):
        raise DataError(
            f"{config.initial}: expected a checkpoint of network {config.network!r}, got another network",
            "change --network or the setting initial",
        )
    model.encoder.load_state_dict(earlier.encoder.state_dict())
    model.head.load_state_dict(earlier.head.state_dict())


def train(
    data: Drawings, config: TrainConfig, out: Path, resume: bool = False, validation: Drawings | None = None
) -> Path:
    """Train and return the path of the best checkpoint. Writes to `out`: last.pt, best.pt, log.jsonl, curves.png.

    A resumed run repeats what it would have been. Raises EdgeOneshotError if `out` already has a run and `resume` is
    false, or has none and it is true.
    """
    last, best = out / "last.pt", out / "best.pt"
    kept = runs.begin(last, resume)
    drawings = data.only(name for part in config.parts for name in alphabets(part)) if validation is None else data
    validation = data.only(alphabets("validate")) if validation is None else validation

    torch.manual_seed(config.seed)
    model = Model(config, len(np.unique(drawings.character)))
    if config.initial and kept is None:
        start_from(model, config)
    model.to(memory_format=torch.channels_last)  # a third faster on a CPU
    optimizer = make_optimizer(model, config)
    history: list[Row] = []
    if kept is not None:
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        history = kept["history"]

    key = "one_shot_l1" if model.softmax is None else "one_shot_cosine"
    for epoch in range(len(history), config.epochs):
        began = time.perf_counter()
        losses = one_epoch(model, optimizer, drawings, config, epoch)
        scores = validate(model, validation)
        rate, seconds = optimizer.param_groups[0]["lr"], round(time.perf_counter() - began, 1)
        history.append({"epoch": epoch + 1, **losses, **scores, "rate": rate, "seconds": seconds})
        runs.log(out, history[-1])
        leader = max(range(len(history)), key=lambda i: (history[i][key], i))  # of equal epochs the later one
        save(model, optimizer, config, history, last)
        if leader == epoch:
            save(model, optimizer, config, history, best)
        if config.keep:
            save(model, optimizer, config, history, out / f"epoch-{epoch + 1:03d}.pt")
            (out / f"epoch-{epoch + 1 - config.keep:03d}.pt").unlink(missing_ok=True)
        draw_curves(history, out / "curves.png")
        if epoch - leader >= config.patience:
            print(f"stopped: no better one-shot validation for {config.patience} epochs", flush=True)
            break
    return best
