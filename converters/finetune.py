"""Finetuning for int8: trains the weights of a converted network so that its int8 form repeats the float outputs.

The student is the float graph after all passes with the rounding of the int8 model: weights with a scale per channel, and
activations with one range per tensor. The ranges are also trained (Esser et al. 2020, LSQ). The teacher is the same graph
without rounding, so no labels are needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from converters.card import Json
from converters.convert import Conversion
from converters.graph import Array
from converters.litert import embed
from converters.student import Student
from edge_oneshot.errors import ModelError

STEPS = 200
BATCH = 16
SEED = 0
RATE = 0.02  # largest change of a constant in a step, in its units (Student)
RANGE_RATE = 0.03  # the same of a range, relative
WARM_UP = 10  # steps
HELD_OUT = 5  # one picture in so many is not trained on: the cosine is measured on these
LEAST = 40  # pictures
CALIBRATION = 100  # pictures for the ranges that are not trained
EVERY_S = 5.0


@dataclass(frozen=True)
class Finetuned:
    """conversion: with the new int8 model, or as it was if that is better. record: for the card; None: as it was."""

    conversion: Conversion
    record: Json | None


def finetune(
    conversion: Conversion,
    pictures: Sequence[Array],
    *,
    steps: int = STEPS,
    seed: int = SEED,
    unit: bool = True,
    say: Callable[[str], None] = print,
) -> Finetuned:
    """Train the weights and ranges of the int8 model so that it repeats the outputs of the float model.

    pictures: uint8 (H, W, C), unlabelled, at least LEAST. unit: only the direction of an output counts (cosine). Ctrl-C
    ends the training early, and the result so far is used. The same arguments give the same result on the same machine.
    ModelError: too few pictures, or an operator without a rule.
    """
    if len(pictures) < LEAST:
        raise ModelError(
            f"--finetune: expected at least {LEAST} pictures, got {len(pictures)}", "add pictures to --calibration"
        )
    held = list(pictures[::HELD_OUT])
    train = [p for i, p in enumerate(pictures) if i % HELD_OUT]
    student = Student(conversion)
    done = _train(student, torch.from_numpy(np.stack(train)), steps, seed, unit, say)
    model = student.int8(train[:CALIBRATION])
    record = {"pictures": len(train), "steps": done, "seed": seed}
    return _judged(conversion, model, held, record, unit=unit, say=say)


def _judged(
    conversion: Conversion, model: bytes, held: Sequence[Array], record: Json, *, unit: bool, say: Callable[[str], None]
) -> Finetuned:
    """The better of the two int8 models on pictures that were not trained on. record: how `model` was trained."""
    exact = embed(conversion.reference, held)
    before, after = (distance(exact, embed(m, held), unit) for m in (conversion.model, model))
    say(
        f"finetuned: {len(held)} pictures not trained on: cosine between int8 and float {before[0]:.4f} before, "
        f"{after[0]:.4f} after; error relative to the distance between pictures {before[1]:.3f} and {after[1]:.3f}"
    )
    if after[1] >= before[1]:
        say("finetuned: no gain, so the int8 model without it is kept")
        return Finetuned(conversion, None)
    measured = {
        "held_out": len(held),
        "cosine": {"before": round(before[0], 5), "after": round(after[0], 5)},
        "error": {"before": round(before[1], 4), "after": round(after[1], 4)},
    }
    line = f"weights finetuned for int8: {record['steps']} steps on {record['pictures']} pictures"
    return Finetuned(replace(conversion, model=model, passes=(*conversion.passes, line)), record | measured)


def distance(exact: Array, got: Array, unit: bool = True) -> tuple[float, float]:
    """(mean cosine, root mean square of the difference divided by that of the distance of two rows of `exact`)."""

    def directions(rows: Array) -> Array:
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))

    cosine = float((directions(exact) * directions(got)).sum(axis=1).mean())
    a, b = (directions(exact), directions(got)) if unit else (exact, got)
    return cosine, float(np.sqrt(((a - b) ** 2).sum(axis=1).mean() / max(2 * a.var(axis=0).sum(), 1e-12)))


def _train(
    student: Student, pictures: torch.Tensor, steps: int, seed: int, unit: bool, say: Callable[[str], None]
) -> int:
    """Train on pictures (N, H, W, C) uint8. Returns the number of steps done."""

    def outputs(of: torch.Tensor) -> torch.Tensor:
        return F.normalize(of, dim=1) if unit else of

    random = torch.Generator().manual_seed(seed)
    sample = outputs(student.teacher(pictures[:: -(-len(pictures) // (2 * BATCH))].float()))
    spread = 2 * sample.var(dim=0).sum()
    groups = [(list(student.changes.values()), RATE), (student.trained_ranges, RANGE_RATE)]
    optimizer = torch.optim.Adam([{"params": p, "lr": rate} for p, rate in groups], betas=(0.9, 0.99))
    start = said = time.monotonic()
    step, mean = 0, 0.0
    try:
        for step in range(steps):
            for group, (_, rate) in zip(optimizer.param_groups, groups, strict=True):
                group["lr"] = rate * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + np.cos(np.pi * step / steps))
            batch = varied(pictures[torch.randint(len(pictures), (BATCH,), generator=random)], random)
            expected = outputs(student.teacher(batch))
            loss = ((outputs(student(batch)) - expected) ** 2).sum(dim=1).mean() / spread
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            now, error = time.monotonic(), float(loss.detach())
            mean = error if step == 0 else 0.9 * mean + 0.1 * error
            if now > said + EVERY_S:
                said = now
                left = (now - start) / (step + 1) * (steps - step - 1)
                say(f"finetune: step {step + 1} of {steps}, error {mean**0.5:.3f}, {left / 60:.1f} min left")
    except KeyboardInterrupt:
        say(f"finetune: stopped after {step} of {steps} steps; the result so far is used")
        return step
    return steps


def varied(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """uint8 (N, H, W, C) -> float32: shifted by up to 1/32 of the height, with other contrast and brightness, 0 to 255."""
    planes = pictures.permute(0, 3, 1, 2).float()
    most = max(1, planes.shape[2] // 32)
    down, right = (int(v) for v in torch.randint(0, 2 * most + 1, (2,), generator=random))
    height, width = planes.shape[2:]
    planes = F.pad(planes, [most] * 4, mode="replicate")[:, :, down : down + height, right : right + width]
    contrast, brightness = (torch.rand(2, len(planes), 1, 1, 1, generator=random) * 2 - 1) * torch.tensor(
        [0.2, 20.0]
    ).reshape(2, 1, 1, 1, 1)
    planes = ((planes - 127.5) * (1 + contrast) + 127.5 + brightness).clamp(0, 255).round()
    return planes.permute(0, 2, 3, 1).contiguous()
