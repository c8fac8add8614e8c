"""Face encoders that no package carries, after their papers and public code, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class IBlock(nn.Module):
    """The residual block of ArcFace's IResNet: BN, conv, BN, PReLU, conv, BN (Deng et al. 2019, figure 8)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.short(x)


def iresnet(depths: Sequence[int]) -> nn.Module:
    """112x112 -> 512: IResNet-18, -34, -50 are (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 14, 3)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)]
    inputs = 64
    for outputs, depth in zip((64, 128, 256, 512), depths, strict=True):
        for i in range(depth):
            layers.append(IBlock(inputs, outputs, 2 if i == 0 else 1))
            inputs = outputs
    head = [nn.BatchNorm2d(512), nn.Dropout(0.4), nn.Flatten(), nn.Linear(512 * 7 * 7, 512), nn.BatchNorm1d(512)]
    return nn.Sequential(*layers, *head)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.PReLU(outputs),
    )


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, wide: int) -> None:
        super().__init__()
        self.add = stride == 1 and inputs == outputs
        self.branch = nn.Sequential(
            conv(inputs, wide, 1),
            conv(wide, wide, 3, stride, 1, wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        return x + y if self.add else y


def mobilefacenet() -> nn.Module:
    """112x112 -> 128 (Chen et al. 2018, table 1)."""
    layers: list[nn.Module] = [conv(3, 64, 3, 2, 1), conv(64, 64, 3, 1, 1, 64)]
    inputs = 64
    for t, c, n, s in ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)):
        for i in range(n):
            layers.append(Bottleneck(inputs, c, s if i == 0 else 1, inputs * t))
            inputs = c
    layers += [conv(128, 512, 1), nn.Conv2d(512, 512, 7, groups=512, bias=False), nn.BatchNorm2d(512)]
    return nn.Sequential(*layers, nn.Conv2d(512, 128, 1, bias=False), nn.BatchNorm2d(128), nn.Flatten())


def basic(inputs: int, outputs: int, kernel: Any, stride: int = 1, padding: Any = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU()
    )


class Branches(nn.Module):
    """Branches joined along channels; with `scale`, added to the input through a 1x1 convolution."""

    def __init__(self, *branches: nn.Module, channels: tuple[int, int] | None = None, scale: float = 0.0) -> None:
        super().__init__()
        self.branches, self.scale = nn.ModuleList(branches), scale
        self.last = nn.Conv2d(*channels, 1) if channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([b(x) for b in self.branches], 1)
        return torch.relu(self.last(joined) * self.scale + x) if self.scale else joined


class Normalised(nn.Module):
    """A network whose result has length 1, as many face encoders are exported."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(self.inner(x), p=2, dim=1)


def inception_resnet_v1() -> nn.Module:
    """112x112 -> 512 of length 1: the network of FaceNet's public code (facenet-pytorch)."""

    def a() -> nn.Module:
        three = nn.Sequential(basic(256, 32, 1), basic(32, 32, 3, 1, 1), basic(32, 32, 3, 1, 1))
        two = nn.Sequential(basic(256, 32, 1), basic(32, 32, 3, 1, 1))
        return Branches(basic(256, 32, 1), two, three, channels=(96, 256), scale=0.17)

    def b() -> nn.Module:
        long = nn.Sequential(basic(896, 128, 1), basic(128, 128, (1, 7), 1, (0, 3)), basic(128, 128, (7, 1), 1, (3, 0)))
        return Branches(basic(896, 128, 1), long, channels=(256, 896), scale=0.10)

    def c() -> nn.Module:
        long = nn.Sequential(
            basic(1792, 192, 1), basic(192, 192, (1, 3), 1, (0, 1)), basic(192, 192, (3, 1), 1, (1, 0))
        )
        return Branches(basic(1792, 192, 1), long, channels=(384, 1792), scale=0.20)

    stem = [basic(3, 32, 3, 2), basic(32, 32, 3), basic(32, 64, 3, 1, 1), nn.MaxPool2d(3, 2), basic(64, 80, 1)]
    stem += [basic(80, 192, 3), basic(192, 256, 3, 2)]
    down = Branches(
        basic(256, 384, 3, 2),
        nn.Sequential(basic(256, 192, 1), basic(192, 192, 3, 1, 1), basic(192, 256, 3, 2)),
        nn.MaxPool2d(3, 2),
    )
    pooled = Branches(
        nn.Sequential(basic(896, 256, 1), basic(256, 384, 3, 2, 1)),
        nn.Sequential(basic(896, 256, 1), basic(256, 256, 3, 2, 1)),
        nn.Sequential(basic(896, 256, 1), basic(256, 256, 3, 1, 1), basic(256, 256, 3, 2, 1)),
        nn.MaxPool2d(3, 2, 1),
    )
    body = [*(a() for _ in range(5)), down, *(b() for _ in range(10)), pooled, *(c() for _ in range(6))]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1792, 512, bias=False), nn.BatchNorm1d(512, eps=1e-3)]
    return Normalised(nn.Sequential(*stem, *body, *head))
