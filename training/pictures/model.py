"""The networks for pictures, in three sizes, with the head that compares, and the settings of a run."""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters.build import Builder
from converters.graph import Graph
from training.blocks import ConvBlock, Residual, as_array, build_blocks
from training.losses import MarginSoftmax
from training.runs import StepConfig

MEAN = STD = 127.5  # the network takes (pixel - MEAN) / STD; the converter folds it into the first convolution


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """side_px: of the input. widths: channels of the stages, each at half the resolution of the one before.

    The sides are even wherever a stride of 2 follows, so that padding is the same in torch and in TFLite.
    """

    side_px: int
    widths: tuple[int, ...]
    depth: int  # residual blocks in a stage
    wide: int  # channels of the last map
    dimension: int  # of the embedding


SIZES = {
    "nano": Size(side_px=60, widths=(16, 48, 128), depth=1, wide=256, dimension=128),
    "small": Size(side_px=92, widths=(24, 64, 128), depth=1, wide=256, dimension=128),
    "base": Size(side_px=116, widths=(32, 64, 128, 256), depth=2, wide=512, dimension=192),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesConfig(StepConfig):
    """All settings of a run. Stored in each checkpoint; a run resumes only with the same settings."""

    size: str
    turn_deg: float  # largest rotation of a picture in training
    mirror: bool  # whether the mirror image of a picture shows the same thing
    decay: float = 0.05  # weight decay, on matrices only
    average: float = 0.998  # decay of the running mean of the weights; this mean is exported
    margin_scale: float = 24.0
    margin: float = 0.25  # by which the cosine of the true class must exceed those of the others
    pair_weight: float = 0.5  # weight of the verification loss
    choice_weight: float = 0.5  # weight of the loss of the one-shot choice with *none of them* as an answer


class Backbone(nn.Module):
    """RGB (B, 3, side, side), (pixel - 127.5) / 127.5 -> embedding (B, D), not normalised. Made for int8 as ConvTwin is."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.side_px, self.dimension = size.side_px, size.dimension
        first, *others = size.widths
        # No padding in the first convolution, so the normalisation can be folded in exactly.
        blocks: list[nn.Module] = [ConvBlock(3, first, 5, stride=2, same=False), ConvBlock(first, first, 3)]
        side, before = (size.side_px - 5) // 2 + 1, first
        for width in others:
            blocks += [ConvBlock(before, width, 3, stride=2), *(Residual(width) for _ in range(size.depth))]
            side, before = side // 2, width
        blocks += [
            ConvBlock(before, size.wide, 1),
            ConvBlock(size.wide, size.wide, side, groups=size.wide, same=False, linear=True),  # a weight per position
        ]
        self.body = nn.Sequential(*blocks)
        self.embed = nn.Conv2d(size.wide, size.dimension, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.embed(self.body(pixels)).flatten(1)


class CosineHead(nn.Module):
    """Verification: logit of *same* = scale * cosine(a, b) + bias. At a logit of 0, *same* and *different* are equally likely."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(12.0))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.scale * F.cosine_similarity(left, right, dim=-1) + self.bias


class Learner(nn.Module):
    """Backbone, verification head, and the softmax over the training classes, which is used in training only."""

    def __init__(self, config: PicturesConfig, classes: int) -> None:
        super().__init__()
        size = SIZES[config.size]
        self.backbone = Backbone(size)
        self.head = CosineHead()
        self.softmax = MarginSoftmax(size.dimension, classes, config.margin_scale, config.margin)


def float_graph(backbone: Backbone) -> Graph:
    """float32 (1, side, side, 3), (pixel - 127.5) / 127.5 -> embedding float32 (1, D)."""
    b = Builder((1, 3, backbone.side_px, backbone.side_px))
    x = build_blocks(b, backbone.body)
    return b.finish(b.linear(x, as_array(backbone.embed.weight)[:, :, 0, 0], as_array(backbone.embed.bias)))


def encode(backbone: nn.Module, pixels: Any) -> Tensor:
    """Float embeddings (N, D) of uint8 pictures (N, H, W, 3), of unit length."""
    backbone.eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(pixels), 128):
            batch = torch.from_numpy(pixels[start : start + 128].copy()).permute(0, 3, 1, 2).float()
            out.append(backbone((batch - MEAN) / STD))
    return F.normalize(torch.cat(out))
