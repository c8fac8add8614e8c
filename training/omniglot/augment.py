"""Distortions of drawings in batches. Ink float32 (B, 1, H, W) in [0, 1], paper 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.affine import affine


def koch_affine(count: int, generator: torch.Generator) -> Tensor:
    """Affine matrices (B, 2, 3) of Koch et al. 2015, section 3.3: each part has probability one half.

    Rotation U(-10, 10) deg, shear U(-0.3, 0.3) both ways, scale U(0.8, 1.2) both ways, translation U(-2, 2) px of 105.
    """
    return affine(count, generator, rotation_deg=10, shear=0.3, scale=0.2, shift=2 / 105, probability=0.5)


def warp(ink: Tensor, matrices: Tensor, side: int, displacement: Tensor | None = None) -> Tensor:
    """Sample ink (B, 1, H, W) through the maps onto (B, 1, side, side); outside is paper."""
    grid = F.affine_grid(matrices, [len(ink), 1, side, side], align_corners=False)
    if displacement is not None:
        grid = grid + displacement
    return F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


@dataclass(frozen=True, slots=True)
class Distortion:
    """One distortion for each drawing of a batch, which can be sampled at several resolutions.

    matrices (B, 2, 3). knots: displacements (B, 2, k, k) on coarse grids, interpolated and added up. strength (B, 1, 1, 1)
    of the ink, as pen pressure and scanner vary: the stroke becomes fainter, or its blurred edge darker and so wider.
    """

    matrices: Tensor
    knots: tuple[Tensor, ...] = ()
    strength: Tensor | None = None

    def apply(self, ink: Tensor, side: int) -> Tensor:
        """Ink (B, 1, H, W) -> (B, 1, side, side)."""
        displacement = None
        if self.knots:
            fields = [F.interpolate(k, size=(side, side), mode="bicubic", align_corners=True) for k in self.knots]
            displacement = torch.stack(fields).sum(0).permute(0, 2, 3, 1)
        drawn = warp(ink, self.matrices, side, displacement)
        return drawn if self.strength is None else (drawn * self.strength).clamp_(0, 1)


def draw_distortion(count: int, kind: str, generator: torch.Generator) -> Distortion:
    """`kind` "koch" (their affine maps) or "elastic" (stronger affine maps, elastic displacement, ink strength)."""
    if kind == "koch":
        return Distortion(koch_affine(count, generator))
    matrices = affine(count, generator, rotation_deg=15, shear=0.25, scale=0.25, shift=0.08, probability=0.7)
    device = generator.device
    knots = tuple(
        torch.randn(count, 2, k, k, generator=generator, device=device) * size for k, size in ((5, 0.04), (9, 0.015))
    )
    strength = torch.rand(count, 1, 1, 1, generator=generator, device=device) * 0.9 + 0.7
    return Distortion(matrices, knots, strength)


def distort(ink: Tensor, sides: Sequence[int], kind: str, generator: torch.Generator) -> list[Tensor]:
    """The same distortion of ink (B, 1, H, W) at each side: [(B, 1, side, side), ...]."""
    distortion = draw_distortion(len(ink), kind, generator)
    return [distortion.apply(ink, side) for side in sides]
