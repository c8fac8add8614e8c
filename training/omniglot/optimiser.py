"""Optimisers and learning rates: AdamW for the small networks, SGD with rates per layer for the network of the paper."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from training.omniglot.model import Model, TrainConfig

KOCH_EPOCH = 106  # steps


def make_optimizer(model: Model, config: TrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": config.decay}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=config.rate)
    # The paper uses a rate, a final momentum and an L2 penalty per layer, found by a search whose result it does not
    # print. Here the dense layer, which has the most weights and the largest initial ones, has the lowest rate and the
    # highest penalty.
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


def set_rates(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int) -> None:
    """The rates of a step: trapezoid for AdamW; for SGD Koch's 1 % decay an epoch and rising momentum."""
    for group in optimizer.param_groups:
        if config.optimizer == "adamw":
            down = (config.steps - step) / max(1e-9, config.cooldown * config.steps)
            group["lr"] = config.rate * min(1.0, (step + 1) / config.warm_up, down)
        else:
            epoch = step // KOCH_EPOCH
            group["lr"] = group["base"] * 0.99**epoch
            group["momentum"] = 0.5 + (group["final_momentum"] - 0.5) * min(1.0, epoch / 50)
