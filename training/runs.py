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
from training.progress import Progress, interrupt

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
    kept: dict[str, Any] | None = torch.load(last, weights_only=True, map_location="cpu") if resume else None
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


Rates = Callable[[torch.optim.Optimizer, int], None]  # sets the learning rates of a step


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


class Run:
    """The state of a run by steps: network, optimiser, running mean of the weights, step, and numbers not yet logged."""

    def __init__(
        self, net: nn.Module, optimizer: torch.optim.Optimizer, config: StepConfig, decay: float | None
    ) -> None:
        self.net, self.optimizer, self.config = net, optimizer, config
        self.average = None if decay is None else running_mean(net, decay)
        self.step = 0
        self.numbers: list[float] = []

    def load(self, kept: Mapping[str, Any]) -> None:
        self.net.load_state_dict(kept["net"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.step, self.numbers = int(kept["step"]), list(kept.get("numbers", []))
        if self.average is not None:
            self.average.module.load_state_dict(dict(zip(self.net.state_dict(), kept["average"], strict=True)))
            self.average.n_averaged.fill_(self.step + 1)

    def save(self, path: Path) -> None:
        state: dict[str, object] = {
            "config": asdict(self.config),
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "numbers": self.numbers,
        }
        if self.average is not None:
            state["average"] = list(self.average.module.state_dict().values())
        save(path, state)

    def cosine(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate_at(self.config, step)

    def take(self, loss: Callable[[int], tuple[Tensor, float]], clip: float | None, rates: Rates | None) -> None:
        """One step. Raises FloatingPointError for a loss that is not finite."""
        (rates or self.cosine)(self.optimizer, self.step)
        self.net.train()
        value, number = loss(self.step)
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"step {self.step}: expected a finite loss, got {value.item()}. Fix: lower the rate"
            )
        self.optimizer.zero_grad()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.net)
        self.numbers.append(number)
        self.step += 1

    @property
    def measured(self) -> nn.Module:
        """What is measured: the running mean if there is one, else the network; in evaluation mode."""
        module: nn.Module = self.net if self.average is None else self.average.module
        return module.eval()


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
    rates: Rates | None = None,
) -> None:
    """Train `net`, write checkpoints to `last` and lines to log.jsonl beside it.

    loss: step -> the loss, and a number of the step; the log has its mean as `logged`. What is random in a step depends
    on the seed and the step alone, so a resumed run repeats what it would have been. decay: of the running mean of the
    weights; `report` then measures the mean, else `net`. clip: largest norm of the gradient.
    rates: sets the learning rates of a step, in place of the cosine.

    Ctrl-C ends the step, writes the checkpoint and raises KeyboardInterrupt.
    """
    run = Run(net, optimizer, config, decay)
    if (kept := begin(last, resume)) is not None:
        run.load(kept)
    began, progress = time.perf_counter(), Progress(config.steps, run.step, "step")
    with interrupt() as pressed:
        while run.step < config.steps:
            run.take(loss, clip, rates)
            progress.show(run.step, f"loss {run.numbers[-1]:.3f}")
            if run.step % config.every == 0 or run.step == config.steps:
                row: dict[str, object] = {"step": run.step, logged: round(float(np.mean(run.numbers)), 5)}
                row |= report(run.measured)
                row["seconds"] = round(time.perf_counter() - began, 1)
                run.numbers = []
                run.save(last)
                progress.clear()
                log(last.parent, row)
            if pressed() and run.step < config.steps:
                progress.clear()
                run.save(last)
                raise KeyboardInterrupt(f"stopped after step {run.step} of {config.steps}")


def generator_of(
    seed: int, step: int, device: torch.device | str = "cpu"
) -> tuple[np.random.Generator, torch.Generator]:
    """The random numbers of one step or epoch, for numpy and for torch."""
    random = np.random.default_rng([seed, step])
    return random, torch.Generator(device).manual_seed(int(random.integers(2**62)))
