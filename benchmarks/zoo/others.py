"""Other encoders that no package carries: re-identification, speakers, and one small network for each hard operator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True) -> nn.Sequential:
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class Gate(nn.Module):
    """Squeeze and excitation over channels."""

    def __init__(self, channels: int, less: int = 16) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, max(channels // less, 4), 1)
        self.two = nn.Conv2d(max(channels // less, 4), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        g = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.two(torch.relu(self.one(g))))


class OSBlock(nn.Module):
    """Omni-scale block (Zhou et al. 2019): streams of 1 to 4 light convolutions with one shared gate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        middle = outputs // 4
        self.reduce = conv(inputs, middle, 1)
        self.streams = nn.ModuleList(
            nn.Sequential(
                *(
                    nn.Sequential(nn.Conv2d(middle, middle, 1, bias=False), conv(middle, middle, 3, groups=middle))
                    for _ in range(n)
                )
            )
            for n in (1, 2, 3, 4)
        )
        self.gate = Gate(middle)
        self.expand = conv(middle, outputs, 1, relu=False)
        self.short = conv(inputs, outputs, 1, relu=False) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(x)
        z = sum((self.gate(s(y)) for s in self.streams), start=torch.zeros(()))
        return torch.relu(self.expand(z) + self.short(x))


def osnet(channels: Sequence[int] = (16, 64, 96, 128)) -> nn.Module:
    """OSNet x0.25 for pictures of people, 128x64 px -> 512."""
    a, b, c, d = channels
    layers: list[nn.Module] = [conv(3, a, 7, 2), nn.MaxPool2d(3, 2, 1), OSBlock(a, b), OSBlock(b, b), conv(b, b, 1)]
    layers += [nn.AvgPool2d(2, 2), OSBlock(b, c), OSBlock(c, c), conv(c, c, 1), nn.AvgPool2d(2, 2)]
    layers += [OSBlock(c, d), OSBlock(d, d), conv(d, d, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(d, 512), nn.BatchNorm1d(512), nn.ReLU())


class SEBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3, relu=False), Gate(outputs, 8)
        )
        plain = stride == 1 and inputs == outputs
        self.short = nn.Identity() if plain else conv(inputs, outputs, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.short(x))


class Statistics(nn.Module):
    """Mean and deviation over time, as in speaker encoders (Snyder et al. 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1, 2)
        return torch.cat([x.mean(2), torch.sqrt(x.var(2, unbiased=False) + 1e-5)], 1)


def speaker(statistics: bool = False) -> nn.Module:
    """Thin SE-ResNet on a spectrogram of 64 bands and 128 frames -> 192 (after Chung et al. 2020)."""
    layers: list[nn.Module] = [conv(1, 16, 3)]
    inputs = 16
    for outputs, depth in ((16, 2), (32, 2), (64, 2), (128, 2)):
        for i in range(depth):
            layers.append(SEBlock(inputs, outputs, 2 if i == 0 else 1))
            inputs = outputs
    if statistics:
        return nn.Sequential(*layers, Statistics(), nn.Linear(2 * 128 * 4, 192))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 192))


class GeM(nn.Module):
    """Generalised mean over a map (Radenović et al. 2018)."""

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))

    def forward(self, x: Tensor) -> Tensor:
        powers = x.clamp(min=1e-6).pow(self.p)
        return nn.functional.avg_pool2d(powers, (x.size(-2), x.size(-1))).pow(1.0 / self.p)


class Shift(nn.Module):
    """Residual of any branch."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def gem(trunk: nn.Module, channels: int) -> nn.Module:
    """A trunk (maps) with generalised-mean pooling and a whitening layer."""
    return nn.Sequential(trunk, GeM(), nn.Flatten(), nn.Linear(channels, 128))


def activated(activation: type[nn.Module]) -> nn.Module:
    """A small residual network with the activation everywhere, also behind an addition."""

    def pair(i: int, o: int, stride: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1), nn.BatchNorm2d(o), activation())

    def block(c: int) -> nn.Module:
        branch = nn.Sequential(pair(c, c, 1), nn.Conv2d(c, c, 3, 1, 1), nn.BatchNorm2d(c))
        return nn.Sequential(Shift(branch), activation())

    layers = [pair(3, 24, 2), block(24), pair(24, 48, 2), block(48), pair(48, 96, 2), block(96)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 128))


def grouped() -> nn.Module:
    """A small ResNeXt."""

    def block(c: int) -> nn.Module:
        return nn.Sequential(
            Shift(nn.Sequential(conv(c, c, 1), conv(c, c, 3, groups=8), conv(c, c, 1, relu=False))), nn.ReLU()
        )

    layers = [conv(3, 32, 3, 2), block(32), conv(32, 64, 3, 2), block(64), conv(64, 128, 3, 2), block(128)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 128))


def koch() -> nn.Module:
    """105x105 grey -> 4096 sigmoids, the twin of Koch et al. 2015, with a quarter of the units in the last layer."""
    layers: list[nn.Module] = [nn.Conv2d(1, 64, 10), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 128, 7), nn.ReLU()]
    layers += [nn.MaxPool2d(2), nn.Conv2d(128, 128, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(128, 256, 4), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 6 * 6, 1024), nn.Sigmoid())
