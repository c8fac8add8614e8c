"""The twin networks: an encoder for both drawings, and the head that compares the two embeddings.

`ConvTwin` is designed for int8: bounded activations (ReLU6), convolutions only, a global depthwise convolution instead
of pooling or a large dense layer, padding as TFLite's SAME. `KochTwin` is the network of Koch et al. 2015, figure 4.
"""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.blocks import ConvBlock, Residual


class ConvTwin(nn.Module):
    """Ink (B, 1, side, side) in [0, 1] -> embedding (B, D), not normalised.

    widths: channels of the three resolutions and of the last map. depths: residual blocks at each resolution; the first
    one has a plain convolution instead if its depth is 0. dropped: share of channels and of residual branches that
    training leaves out. The sides are even wherever a stride of 2 follows, so that padding is the same in TFLite.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (16, 48, 128, 256),
        depths: tuple[int, int, int] = (0, 1, 1),
        dimension: int = 128,
        side_px: int = 60,
        dropped: float = 0.0,
    ):
        super().__init__()
        a, b, c, d = widths
        self.side_px, self.dimension = side_px, dimension
        first = (
            side_px - 5
        ) // 2 + 1  # no padding in the first convolution, so the pixel scale can be folded in exactly
        last = first // 4
        self.body = nn.Sequential(
            ConvBlock(1, a, 5, stride=2, same=False),  # (B, a, first, first)
            *([Residual(a, dropped) for _ in range(depths[0])] or [ConvBlock(a, a, 3)]),
            ConvBlock(a, b, 3, stride=2),
            *(Residual(b, dropped) for _ in range(depths[1])),
            ConvBlock(b, c, 3, stride=2),  # (B, c, last, last)
            *(Residual(c, dropped) for _ in range(depths[2])),
            ConvBlock(c, d, 1),
            *([nn.Dropout2d(dropped)] if dropped else []),
            ConvBlock(
                d, d, last, groups=d, same=False, linear=True
            ),  # (B, d, 1, 1): a learned weight for every position
        )
        self.embed = nn.Conv2d(d, dimension, 1)

    def forward(self, ink: Tensor) -> Tensor:
        return self.embed(self.body(ink)).flatten(1)


class KochTwin(nn.Module):
    """Ink (B, 1, 105, 105) in [0, 1] -> embedding (B, 4096) in (0, 1). 38.9 million parameters."""

    side_px = 105
    dimension = 4096

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 64, 10), nn.ReLU(), nn.MaxPool2d(2),  # (B, 64, 48, 48)
            nn.Conv2d(64, 128, 7), nn.ReLU(), nn.MaxPool2d(2),  # (B, 128, 21, 21)
            nn.Conv2d(128, 128, 4), nn.ReLU(), nn.MaxPool2d(2),  # (B, 128, 9, 9)
            nn.Conv2d(128, 256, 4), nn.ReLU(),  # (B, 256, 6, 6)
        )  # fmt: skip
        self.dense = nn.Linear(256 * 6 * 6, 4096)
        # Their section 3.2: convolutions N(0, 0.01), biases N(0.5, 0.01), dense weights N(0, 0.2).
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, 0, 0.2 if isinstance(layer, nn.Linear) else 0.01)
                nn.init.normal_(layer.bias, 0.5, 0.01)

    def forward(self, ink: Tensor) -> Tensor:
        return torch.sigmoid(self.dense(self.body(ink).flatten(1)))


class L1Head(nn.Module):
    """Koch's verification: logit = bias - sum_i w_i |a_i - b_i|, p_same = sigmoid(logit).

    The weights are kept at or above zero (softplus), so a larger difference never raises the logit.
    """

    def __init__(self, dimension: int, weight: float = 1.0, bias: float = 4.0):
        super().__init__()
        self.raw = nn.Parameter(torch.full((dimension,), float(torch.log(torch.expm1(torch.tensor(weight))))))
        self.bias = nn.Parameter(torch.tensor(bias))

    @property
    def weights(self) -> Tensor:
        return F.softplus(self.raw)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.bias - ((left - right).abs() * self.weights).sum(-1)


# "base" ships. "teacher" is larger than a bundle should be: others learn from it.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "small": ConvTwin,
    "base": partial(ConvTwin, widths=(24, 64, 128, 256), depths=(0, 2, 2), dimension=224),
    "teacher": partial(ConvTwin, widths=(48, 128, 256, 512), depths=(1, 2, 2), dimension=512, side_px=76, dropped=0.1),
    "koch": KochTwin,
}


def build(network: str) -> nn.Module:
    """The encoder of that name. Raises ValueError for an unknown one."""
    if network not in NETWORKS:
        raise ValueError(f"network: expected one of {', '.join(NETWORKS)}, got {network!r}")
    return NETWORKS[network]()
