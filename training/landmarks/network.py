"""The landmark network: 99 px cut-out of one face -> offsets of eyes, nose and mouth from where the detector placed them.

A branch estimates which of them are hidden.
"""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from converters.face import POINTS as CHIP_POINTS

NAMES = ("image_left_eye", "image_right_eye", "nose", "mouth")
# Every size is odd (99, 49, 25, 13, 7), so that a padding of 1 equals TFLite's SAME.
SIDE_PX = 99
# Where the cut-out places the detector's landmarks: the encoder's places, scaled from its 112 px chip.
POINTS = np.array([CHIP_POINTS[name] for name in NAMES]) * (SIDE_PX / 112)
TRUNK = 10  # layers of a LandmarkNet's body that HiddenNet shares


class Separable(nn.Module):
    """Depthwise 3x3 and pointwise convolution, each with batch norm and ReLU6; a shortcut if the shape does not change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut = inputs == outputs and stride == 1
        self.depth = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU6()
        )
        self.point = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        y = self.point(self.depth(x))
        return self.act(x + y if self.shortcut else y)


class LandmarkNet(nn.Module):
    """RGB (B, 3, 99, 99), (pixel - 127.5) / 64 -> (B, 8): x, y of each landmark's offset from POINTS, in units of 8 px."""

    def __init__(self, widths: tuple[int, int, int, int, int] = (16, 32, 48, 96, 128)) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.body = nn.Sequential(
            nn.Conv2d(3, a, 3, 2, bias=False),
            nn.BatchNorm2d(a),
            nn.ReLU6(),  # (B, a, 49, 49)
            Separable(a, b, 2),
            Separable(b, b, 1),  # (B, b, 25, 25)
            Separable(b, c, 1),
            Separable(c, c, 1),
            Separable(c, d, 2),
            Separable(d, d, 1),
            Separable(d, d, 1),  # (B, d, 13, 13)
            Separable(d, e, 2),
            Separable(e, e, 1),  # (B, e, 7, 7)
            nn.Conv2d(e, 32, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
        )
        self.head = nn.Linear(32 * 7 * 7, 2 * len(NAMES))

    def trunk(self, pixels: Tensor) -> Tensor:
        """The input of both branches: (B, d, 13, 13)."""
        return self.body[:TRUNK](pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.body(pixels).flatten(1))


class HiddenNet(nn.Module):
    """The trunk of a LandmarkNet (B, 96, 13, 13) -> (B, 4): the logit that a landmark is hidden."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Separable(width, width, 1),
            Separable(width, 128, 2),
            Separable(128, 128, 1),  # (B, 128, 7, 7)
            nn.Conv2d(128, 32, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
        )
        self.head = nn.Linear(32 * 7 * 7, len(NAMES))

    def forward(self, seen: Tensor) -> Tensor:
        return self.head(self.body(seen).flatten(1))


class Both(nn.Module):
    """The exported network: RGB (B, 3, 99, 99), normalised -> (B, 12), the offsets, then the logits."""

    def __init__(self, landmarks: LandmarkNet, hidden: HiddenNet) -> None:
        super().__init__()
        self.landmarks, self.hidden = landmarks, hidden

    def forward(self, pixels: Tensor) -> Tensor:
        seen = self.landmarks.trunk(pixels)
        offsets = self.landmarks.head(self.landmarks.body[TRUNK:](seen).flatten(1))
        return torch.cat([offsets, self.hidden(seen)], 1)
