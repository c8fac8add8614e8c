"""Distortions of aligned faces: landmark errors, mirror, blur, distance, colour, occlusion."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from converters.graph import Array

SIDE_PX, MARGIN_PX = 112, 16  # the encoder's input, and the border of the crops, for the distortions


def distort(crops: Array, generator: torch.Generator) -> Tensor:
    """uint8 (B, 144, 144, 3) RGB -> float32 (B, 3, 112, 112) in [0, 255].

    Landmark errors, mirror, blur, distance, colour, occlusion.
    """
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    n, g = len(pixels), generator

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    def chance(p: float) -> bool:
        return float(torch.rand(1, generator=g)) < p

    angle, scale, shift = normal(n) * 0.05, torch.exp(normal(n) * 0.04), normal(n, 2) * 0.02
    cos, sin, mirror = (
        torch.cos(angle) * scale,
        torch.sin(angle) * scale,
        (torch.rand(n, generator=g) < 0.5).float() * -2 + 1,
    )
    k = SIDE_PX / (SIDE_PX + 2 * MARGIN_PX)
    maps = torch.stack(
        [
            torch.stack([cos * k * mirror, -sin * k, shift[:, 0]], 1),
            torch.stack([sin * k * mirror, cos * k, shift[:, 1]], 1),
        ],
        1,
    )  # (B, 2, 3)
    x = F.grid_sample(pixels, F.affine_grid(maps, [n, 3, SIDE_PX, SIDE_PX], align_corners=False), align_corners=False)
    for j in range(n):
        if chance(0.2):
            x[j : j + 1] = F.avg_pool2d(F.pad(x[j : j + 1], (1, 1, 1, 1), mode="replicate"), 3, 1)
        elif chance(0.3):  # a distant face
            side = int(torch.randint(40, 90, (1,), generator=g))
            small = F.interpolate(x[j : j + 1], size=(side, side), mode="bilinear", antialias=True)
            x[j : j + 1] = F.interpolate(small, size=(SIDE_PX, SIDE_PX), mode="bilinear")
        if chance(0.1):
            x[j] = x[j].mean(0, keepdim=True)
        if chance(0.2):
            h, w = torch.randint(12, 45, (2,), generator=g).tolist()
            y0, x0 = (
                int(torch.randint(0, SIDE_PX - h, (1,), generator=g)),
                int(torch.randint(0, SIDE_PX - w, (1,), generator=g)),
            )
            x[j, :, y0 : y0 + h, x0 : x0 + w] = float(torch.randint(0, 255, (1,), generator=g))
    x = 255 * (x.clamp(0, 255) / 255) ** torch.exp(normal(n, 1, 1, 1) * 0.15)
    x = x * torch.exp(normal(n, 1, 1, 1) * 0.2) * torch.exp(normal(n, 3, 1, 1) * 0.04) + normal(n, 1, 1, 1) * 10
    x = x + normal(*x.shape) * torch.rand(n, 1, 1, 1, generator=g) * 5
    return x.clamp(0, 255)
