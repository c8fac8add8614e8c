"""A PyTorch network of the zoo: weights and statistics as in a trained network, its results, its exchange formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from converters.graph import Array

BATCH = 16


def liven(net: nn.Module, pictures: Array) -> nn.Module:
    """Random factors and offsets in every normalisation, and the statistics that real pictures give.

    Fresh networks have factors of 0 or 1e-6 in residual branches, with which most of the network can be left out.
    pictures: (N, C, H, W), normalised.
    """
    g = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)) and module.weight is not None:
            module.weight.data.uniform_(0.5, 1.5, generator=g)
            module.bias.data.normal_(0, 0.2, generator=g)
        if isinstance(module, nn.PReLU):
            module.weight.data.uniform_(-0.2, 0.8, generator=g)
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = None  # the mean over all batches
            module.reset_running_stats()
        for name, p in module.named_parameters(recurse=False):
            if "gamma" in name or "layer_scale" in name:
                p.data.uniform_(0.3, 1.0, generator=g)
    net.train()
    for module in net.modules():
        if "Drop" in type(module).__name__:
            module.eval()
    with torch.no_grad():
        for i in range(0, len(pictures), BATCH):
            net(torch.from_numpy(pictures[i : i + BATCH]))
    return net.eval()


def merged(net: nn.Module) -> nn.Module:
    """The form for inference, where a network of timm has one: MobileOne and RepVGG merge their branches."""
    if not any(hasattr(module, "reparameterize") for module in net.modules()):
        return net
    import timm

    return timm.utils.reparameterize_model(net).eval()


def results(net: nn.Module, pictures: Array) -> Array:
    with torch.no_grad():
        rows = [net(torch.from_numpy(p[None])).numpy().reshape(1, -1) for p in pictures]
    return np.concatenate(rows)


def export_onnx(net: nn.Module, picture: Array, path: Path) -> None:
    torch.onnx.export(
        net, (torch.from_numpy(picture[None]),), str(path), dynamo=True, external_data=False, verbose=False
    )
