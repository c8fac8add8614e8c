"""Distortions of photographs in batches. RGB float32 (B, 3, S, S) in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.affine import affine

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # BT.601


def distort(pixels: Tensor, generator: torch.Generator, *, turn_deg: float, mirror: bool) -> Tensor:
    """Imitate another picture of the same thing: change position, size, angle, light, focus and noise, and hide a part.

    turn_deg: the largest rotation. mirror: half of the pictures become their mirror image.
    """
    count = len(pixels)
    if mirror:
        chosen = _some(count, 0.5, generator)
        pixels = torch.where(chosen, pixels.flip(-1), pixels)
    maps = affine(count, generator, rotation_deg=turn_deg, shear=0.08, scale=0.15, shift=0.06, probability=0.8)
    grid = F.affine_grid(maps, [*pixels.shape], align_corners=False)
    pixels = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    pixels = _focus(pixels, generator)
    pixels = _light(pixels, generator)
    pixels = _hide(pixels, generator)
    noise = torch.randn(pixels.shape, generator=generator) * _uniform(count, 0.0, 0.04, generator)
    return (pixels + noise * _some(count, 0.3, generator)).clamp_(0, 1)


def _uniform(count: int, low: float, high: float, generator: torch.Generator, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 1, 1, generator=generator) * (high - low) + low


def _some(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Which pictures a change applies to: bool (B, 1, 1, 1)."""
    return torch.rand(count, 1, 1, 1, generator=generator) < probability


def _focus(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Reduce a quarter of the pictures to between half and full resolution, as from a greater distance or out of focus."""
    side = pixels.shape[-1]
    blurred = F.interpolate(F.avg_pool2d(pixels, 2), size=(side, side), mode="bilinear", align_corners=False)
    share = _uniform(len(pixels), 0.2, 1.0, generator) * _some(len(pixels), 0.25, generator)
    return pixels + (blurred - pixels) * share


def _light(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Exposure, white balance, contrast, gamma and saturation."""
    count = len(pixels)
    gain = torch.exp2(_uniform(count, -0.5, 0.5, generator)) * _uniform(count, 0.92, 1.08, generator, channels=3)
    pixels = (pixels * gain).clamp(0, 1)
    mean = pixels.mean((1, 2, 3), keepdim=True)
    pixels = mean + (pixels - mean) * _uniform(count, 0.7, 1.3, generator)
    grey = (pixels * LUMA).sum(1, keepdim=True)
    pixels = (grey + (pixels - grey) * _uniform(count, 0.7, 1.3, generator)).clamp(0, 1)
    gamma = torch.exp2(_uniform(count, -0.4, 0.4, generator))
    return torch.where(_some(count, 0.5, generator), (pixels + 1e-4) ** gamma, pixels)


def _hide(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A rectangle of one colour over a quarter of the pictures, up to 0.4 of the side in width and height."""
    count, side = len(pixels), pixels.shape[-1]
    place = torch.arange(side).view(1, 1, 1, side) / side
    inside = _some(count, 0.25, generator)
    for axis in (-1, -2):
        low, length = _uniform(count, -0.2, 1.0, generator), _uniform(count, 0.1, 0.4, generator)
        along = place if axis == -1 else place.transpose(-1, -2)
        inside = inside & (along >= low) & (along < low + length)
    colour = torch.rand(count, 3, 1, 1, generator=generator)
    return torch.where(inside, colour, pixels)
