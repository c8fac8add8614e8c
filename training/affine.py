"""Random affine maps for batches of pictures."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def affine(
    count: int,
    generator: torch.Generator,
    *,
    rotation_deg: float,
    shear: float,
    scale: float,
    shift: float,
    probability: float,
) -> Tensor:
    """(B, 2, 3) output-to-input maps in `grid_sample` coordinates; `shift` is a fraction of the side."""

    def uniform(limit: float, width: int) -> Tensor:
        value = (torch.rand(count, width, generator=generator, device=generator.device) * 2 - 1) * limit
        present = torch.rand(count, width, generator=generator, device=generator.device) < probability
        return value * present

    angle = uniform(math.radians(rotation_deg), 1)[:, 0]
    shears, scales, shifts = uniform(shear, 2), 1 + uniform(scale, 2), uniform(2 * shift, 2)
    rotate = torch.stack([torch.cos(angle), -torch.sin(angle), torch.sin(angle), torch.cos(angle)], 1).view(-1, 2, 2)
    one = torch.ones(count, device=generator.device)
    skew = torch.stack([one, shears[:, 0], shears[:, 1], one], 1).view(-1, 2, 2)
    linear = rotate @ skew @ torch.diag_embed(1 / scales)
    return torch.cat([linear, shifts[:, :, None]], 2)
