"""Distortions of drawings in batches. Ink float32 (B, 1, H, W) in [0, 1], paper 0."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.affine import affine


def koch_affine(count: int, generator: torch.Generator) -> Tensor:
    """Affine matrices (B, 2, 3) of Koch et al. 2015, section 3.3: each part has probability one half.

    Rotation U(-10, 10) deg, shear U(-0.3, 0.3) both ways, scale U(0.8, 1.2) both ways, translation U(-2, 2) px of 105.
    """
    return affine(count, generator, rotation_deg=10, shear=0.3, scale=0.2, shift=2 / 105, probability=0.5)


def elastic(count: int, side: int, generator: torch.Generator, *, knots: int = 5, strength: float = 0.04) -> Tensor:
    """Smooth random displacement (B, side, side, 2): normal noise on a coarse grid, interpolated."""
    coarse = torch.randn(count, 2, knots, knots, generator=generator) * strength
    return F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def warp(ink: Tensor, matrices: Tensor, side: int, displacement: Tensor | None = None) -> Tensor:
    """Sample ink (B, 1, H, W) through the maps onto (B, 1, side, side); outside is paper."""
    grid = F.affine_grid(matrices, [len(ink), 1, side, side], align_corners=False)
    if displacement is not None:
        grid = grid + displacement
    return F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def distort(ink: Tensor, side: int, kind: str, generator: torch.Generator) -> Tensor:
    """`kind` "koch" (their affine maps) or "elastic" (stronger affine maps, elastic displacement, ink strength)."""
    count = len(ink)
    if kind == "koch":
        return warp(ink, koch_affine(count, generator), side)
    matrices = affine(count, generator, rotation_deg=15, shear=0.25, scale=0.25, shift=0.08, probability=0.7)
    drawn = warp(ink, matrices, side, elastic(count, side, generator))
    # As pen pressure and scanner vary: the stroke becomes fainter, or its blurred edge darker and so wider.
    strength = torch.empty(count, 1, 1, 1).uniform_(0.7, 1.6, generator=generator)
    return (drawn * strength).clamp_(0, 1)
