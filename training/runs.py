"""One training run: its folder, learning rate, running mean of the weights, checkpoints and log. All trainers use it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edge_oneshot.errors import EdgeOneshotError

Row = Mapping[str, object]  # one line of log.jsonl


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConfig:
    """The settings that every trainer by steps has. Stored in each checkpoint."""

    steps: int
    batch: int
    rate: float  # peak of the learning rate: it rises for `warm_up` steps and falls along a cosine to zero
    warm_up: int
    every: int  # steps between two checkpoints
    seed: int = 0


def begin(last: Path, resume: bool) -> dict[str, Any] | None:
    """The checkpoint to resume from, or None for a new run, whose folder is made.

    Raises EdgeOneshotError if `last` exists and `resume` is false, or is missing and `resume` is true.
    """
    if resume and not last.exists():
        raise EdgeOneshotError(f"{last}: expected a checkpoint to resume from, got no such file", "omit --resume")
    if not resume and last.exists():
        raise EdgeOneshotError(
            f"{last}: expected a folder without an earlier run", "--resume continues it; otherwise name another folder"
        )
    last.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] | None = torch.load(last, weights_only=True) if resume else None
    return kept


def save(path: Path, state: Mapping[str, object]) -> None:
    """Write a checkpoint. After a power cut the previous one is intact."""
    torch.save(dict(state), path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def log(out: Path, row: Row) -> None:
    """Append a line to log.jsonl and print it."""
    with (out / "log.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


def rate_at(config: StepConfig, step: int) -> float:
    return config.rate * min(1.0, (step + 1) / config.warm_up) * (1 + math.cos(math.pi * step / config.steps)) / 2


def running_mean(net: nn.Module, decay: float) -> AveragedModel:
    """Exponential mean of weights and batch statistics from the first step on. The decay rises to `decay`."""

    def mean_of(mean: Tensor, value: Tensor, count: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        share = min(decay, int(count) / (int(count) + 19))
        return mean * share + value * (1 - share)

    average = AveragedModel(net, avg_fn=mean_of, use_buffers=True)
    average.update_parameters(net)  # the first update copies: the mean starts at the initial weights
    average.module.eval()
    return average


def _state(net: nn.Module, optimizer: torch.optim.Optimizer, config: StepConfig, step: int) -> dict[str, object]:
    return {"config": asdict(config), "net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}


def train_steps(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: StepConfig,
    last: Path,
    *,
    loss: Callable[[int], tuple[Tensor, float]],
    logged: str,
    report: Callable[[nn.Module], Row],
    resume: bool = False,
    decay: float | None = None,
    clip: float | None = None,
) -> None:
    """Train `net`, write checkpoints to `last` and lines to log.jsonl beside it.

    loss: step -> the loss, and a number of the step; the log has its mean as `logged`. What is random in a step depends
    on the seed and the step alone, so a resumed run repeats what it would have been. decay: of the running mean of the
    weights; `report` then measures the mean, else `net`. clip: largest norm of the gradient.
    """
    average = None if decay is None else running_mean(net, decay)
    start, kept = 0, begin(last, resume)
    if kept is not None:
        net.load_state_dict(kept["net"])
        optimizer.load_state_dict(kept["optimizer"])
        start = int(kept["step"])
        if average is not None:
            average.module.load_state_dict(dict(zip(net.state_dict(), kept["average"], strict=True)))
            average.n_averaged.fill_(start + 1)
    numbers: list[float] = []
    began = time.perf_counter()
    for step in range(start, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(config, step)
        net.train()
        value, number = loss(step)
        if not torch.isfinite(value):
            raise FloatingPointError(f"step {step}: expected a finite loss, got {value.item()}. Fix: lower the rate")
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        numbers.append(number)
        if average is not None:
            average.update_parameters(net)
        if (step + 1) % config.every == 0 or step + 1 == config.steps:
            state = _state(net, optimizer, config, step + 1)
            if average is not None:
                state["average"] = list(average.module.state_dict().values())
            save(last, state)
            row: dict[str, object] = {"step": step + 1, logged: round(float(np.mean(numbers[-config.every :])), 5)}
            row |= report((net if average is None else average.module).eval())
            row["seconds"] = round(time.perf_counter() - began, 1)
            log(last.parent, row)


def generator_of(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """The random numbers of one step or epoch, for numpy and for torch."""
    random = np.random.default_rng([seed, step])
    return random, torch.Generator().manual_seed(int(random.integers(2**62)))
