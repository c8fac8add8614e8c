"""The grammar of `convert_fuzz`: random networks of the operators that encoders use, and of some that have no int8 form.

A network is a list of steps on a current value. Maps come first, a head makes a row of numbers of them, and rows follow.
Steps that the converter must refuse are rare, so that most networks have none.
"""

# mypy: allow-subclassing-any
# (torch is checked without types)
from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

Step = Callable[[Any, list[Any]], Any]  # (current value, earlier values) -> next value


class Network(nn.Module):
    """words: the name of each step. keep: the numbers of the values that later steps read."""

    def __init__(self) -> None:
        super().__init__()
        self.parts, self.steps, self.words = nn.ModuleList(), [], []  # type: ignore[var-annotated]

    def add(self, word: str, step: Step, *modules: nn.Module) -> None:
        self.parts.extend(modules)
        self.steps.append(step)
        self.words.append(word)

    def forward(self, x: Any) -> Any:
        values = [x]
        for step in self.steps:
            x = step(x, values)
            values.append(x)
        return x


class Draw:
    """Adds random steps to a network and follows the shape."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        torch.manual_seed(seed)
        self.net = Network()
        self.side = self.rng.choice((16, 20, 24))
        self.values = [torch.zeros(1, 3, self.side, self.side)]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values[-1].shape)

    def add(self, word: str, step: Step, *modules: nn.Module) -> None:
        """Add a step; one that does not fit the shape is left out."""
        with torch.no_grad():
            for module in modules:
                module.eval()
            try:
                out = step(self.values[-1].clone(), [v.clone() for v in self.values])
            except (RuntimeError, IndexError, ValueError):
                return
        if 0 in out.shape:
            return
        self.net.add(word, step, *modules)
        self.values.append(out)

    def constant(self, shape: tuple[int, ...]) -> nn.Parameter:
        return nn.Parameter(torch.randn(shape) * 0.5 + 1)

    # Steps on maps.

    def conv(self) -> None:
        channels = self.shape[1]
        groups = self.rng.choice([1, 1, 1, channels, 2 if channels % 2 == 0 else 1])
        outputs = groups * self.rng.choice((4, 6, 8)) if groups == 1 else channels * self.rng.choice((1, 1, 2))
        kernel, dilation = self.rng.choice((1, 3, 3, 5)), self.rng.choice((1, 1, 2))
        stride = self.rng.choice((1, 1, 2)) if dilation == 1 else 1
        padding: Any = (
            self.rng.choice((0, kernel // 2, kernel // 2, 1)) if stride > 1 or self.rng.random() < 0.7 else "same"
        )
        layer = nn.Conv2d(channels, outputs, kernel, stride, padding, dilation, groups, bias=self.rng.random() < 0.6)
        self.add("conv" if groups == 1 else "grouped conv", lambda x, _: layer(x), layer)

    def norm(self) -> None:
        layer = (nn.BatchNorm2d if len(self.shape) == 4 else nn.BatchNorm1d)(self.shape[1])
        for tensor in (layer.running_mean, layer.weight, layer.bias):
            nn.init.normal_(tensor, 0.5, 0.5)
        nn.init.uniform_(layer.running_var, 0.5, 2)
        self.add("batch norm", lambda x, _: layer(x), layer)

    def activation(self) -> None:
        slopes = nn.PReLU(self.rng.choice((1, self.shape[1])))
        nn.init.uniform_(slopes.weight, -1.5, 2)
        word, function = self.rng.choice(
            [
                ("relu", F.relu),
                ("relu", F.relu),
                ("relu in place", torch.relu_),
                ("relu6", F.relu6),
                ("prelu", slopes),
                ("prelu", slopes),
                ("leaky relu", lambda x: F.leaky_relu(x, 0.2)),
                ("leaky relu in place", lambda x: F.leaky_relu_(x, 0.1)),
                ("sigmoid", torch.sigmoid),
                ("tanh", torch.tanh),
                ("hardswish", F.hardswish),
                ("hardsigmoid", F.hardsigmoid),
                ("silu", F.silu),
                ("clamp", lambda x: torch.clamp(x, 0, 6)),
            ]
        )
        self.add(word, lambda x, _: function(x), *([slopes] if word == "prelu" else []))

    def pool(self) -> None:
        kernel, stride = self.rng.choice(((2, 2), (3, 2), (3, 1), (2, 1)))
        padding, ceil = self.rng.choice((0, 0, 0, 0, 0, 1)), self.rng.random() < 0.1
        counted = self.rng.random() < 0.5
        if self.rng.random() < 0.5:
            self.add("max pool", lambda x, _: F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil))
        else:
            self.add("average pool", lambda x, _: F.avg_pool2d(x, kernel, stride, padding, ceil, counted))

    def with_earlier(self) -> None:
        """A sum, difference or product with an earlier value of the same shape, or of the current one with itself."""
        same = [i for i, v in enumerate(self.values) if v.shape == self.values[-1].shape]
        i, alpha = self.rng.choice(same), self.rng.choice((1, 1, 2, 0.5))
        word, step = self.rng.choice(
            [
                ("add", lambda x, v: torch.add(x, v[i], alpha=alpha)),
                ("sub", lambda x, v: torch.sub(v[i], x, alpha=alpha)),
                ("mul", lambda x, v: x * v[i]),
                ("add and relu", lambda x, v: torch.relu(x) + x),
                ("concatenate", lambda x, v: torch.cat([x, v[i]], 1)),
            ]
        )
        self.add(word, step)

    def with_constant(self) -> None:
        shape = self.shape[1:]
        options = (
            [(), (1,), shape, (shape[0], 1, 1), (1, *shape[1:]), shape[1:], shape[-1:]]
            if len(shape) == 3
            else [(), shape]
        )
        c = self.constant(self.rng.choice(options))
        word, step = self.rng.choice(
            [
                ("add constant", lambda x, _: torch.add(x, c, alpha=2)),
                ("mul constant", lambda x, _: x * c),
                ("div constant", lambda x, _: x / (c * c + 1)),
                ("constant minus", lambda x, _: c - x),
                ("scalar minus", lambda x, _: 1.5 - x),
            ]
        )
        holder = nn.ParameterList([c])
        self.add(word, step, holder)

    def excite(self) -> None:
        layer = nn.Conv2d(self.shape[1], self.shape[1], 1)
        self.add("squeeze and excite", lambda x, _: x * torch.sigmoid(layer(x.mean((2, 3), keepdim=True))), layer)

    def pad(self) -> None:
        sides = [self.rng.choice((0, 1, 2)) for _ in range(4)]
        self.add("pad", lambda x, _: F.pad(x, sides))

    def refused_map(self) -> None:
        word, step = self.rng.choice(
            [
                ("pad channels", lambda x, _: F.pad(x, (0, 0, 0, 0, 1, 1))),
                ("dilated max pool", lambda x, _: F.max_pool2d(x, 2, 1, dilation=2)),
                ("divisor override", lambda x, _: F.avg_pool2d(x, 2, 2, divisor_override=3)),
                ("pixel shuffle", lambda x, _: F.pixel_unshuffle(x, 2)),
                ("group norm", lambda x, _: F.group_norm(x, 1)),
                ("roll", lambda x, _: torch.roll(x, 1, 3)),
                ("swap", lambda x, _: x.transpose(2, 3)),
                ("slice", lambda x, _: x[:, 1:]),
                ("upsample", lambda x, _: F.interpolate(x, scale_factor=2)),
            ]
        )
        self.add(word, step)

    # From a map to a row, and steps on rows.

    def head(self) -> None:
        side = self.shape[-1]
        word, step = self.rng.choice(
            [
                ("flatten", lambda x, _: torch.flatten(x, 1)),
                ("flatten", lambda x, _: x.reshape(x.shape[0], -1)),
                ("mean", lambda x, _: x.mean((2, 3))),
                ("adaptive pool", lambda x, _: F.adaptive_avg_pool2d(x, 1).flatten(1)),
                ("global pool", lambda x, _: F.avg_pool2d(x, side).flatten(1) if x.shape[2] == side else x.flatten(1)),
            ]
        )
        self.add(word, step)

    def dense(self) -> None:
        layer = nn.Linear(self.shape[1], self.rng.choice((8, 12, 16)), bias=self.rng.random() < 0.7)
        self.add("linear", lambda x, _: layer(x), layer)

    def dropout(self) -> None:
        layer = nn.Dropout(0.3)
        self.add("dropout", lambda x, _: layer(x), layer)

    def refused_row(self) -> None:
        word, step = self.rng.choice(
            [
                ("softmax", lambda x, _: torch.softmax(x, 1)),
                ("normalise", lambda x, _: F.normalize(x)),
                ("layer norm", lambda x, _: F.layer_norm(x, x.shape[1:])),
                ("maximum", lambda x, _: torch.maximum(x, x * 0.5)),
            ]
        )
        self.add(word, step)

    def run(self) -> Network:
        maps = [self.conv] * 6 + [self.activation] * 6 + [self.norm] * 3 + [self.pool] * 2 + [self.with_earlier] * 3
        maps += [self.with_constant] * 2 + [self.excite, self.pad, self.dropout]
        rows = (
            [self.dense] * 3 + [self.activation] * 4 + [self.norm] * 2 + [self.with_earlier] * 2 + [self.with_constant]
        )
        rows += [self.dropout]
        self.conv()
        for _ in range(self.rng.randint(3, 9)):
            (self.refused_map if self.rng.random() < 0.006 else self.rng.choice(maps))()
        self.head()
        for _ in range(self.rng.randint(0, 4)):
            (self.refused_row if self.rng.random() < 0.006 else self.rng.choice(rows))()
        if self.rng.random() < 0.6:
            self.dense()
        return self.net.eval()


def draw(seed: int) -> tuple[Network, int]:
    """A random network in evaluation mode and the side of its input in px; the same for the same seed."""
    drawn = Draw(seed)
    return drawn.run(), drawn.side
