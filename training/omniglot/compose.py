"""Composed characters: two characters of an alphabet in one picture, drawn by the same person, are a new character.

Groups of them differ in one part only, as the characters of many alphabets do, and there is no end of them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.omniglot.augment import warp

BOX = 8  # numbers of a layout: centre x, y and half width, height of the first part, then of the second, in -1..1
THIN = 0.55  # below this share of the area a part is drawn with a wider pen, since shrinking makes its strokes thin


def layout(random: np.random.Generator) -> NDArray[np.float32]:
    """Where the two parts are (8,): side by side, one above the other, or the second one small inside or at the edge."""
    kind = random.integers(4)
    if kind < 2:
        share, height = random.uniform(0.38, 0.62), random.uniform(0.75, 1)
        first, second = (-1 + share, 0.0, share, height), (share, 0.0, 1 - share, height)
        if kind == 1:
            first, second = (first[1], first[0], first[3], first[2]), (second[1], second[0], second[3], second[2])
        return np.array([*first, *second], np.float32)
    size, large = random.uniform(0.28, 0.5), random.uniform(0.8, 1)
    centre = random.uniform(-1 + size, 1 - size, 2)
    if kind == 3:
        axis = random.integers(2)
        centre[axis] = np.sign(centre[axis]) * (1 - size)
    return np.array([0, 0, large, large, *centre, size, size], np.float32)


def combinations(
    members: NDArray[np.int64], count: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two parts each for `count` new characters: few first parts with many second ones, or the other way round."""
    few = random.choice(members, min(len(members), int(random.integers(2, 6))), replace=False)
    first, second = (few, members) if random.random() < 0.5 else (members, few)
    cells = random.choice(len(first) * len(second), count, replace=False)
    return first[cells // len(second)], second[cells % len(second)]


def compose(first: Tensor, second: Tensor, boxes: Tensor) -> Tensor:
    """Both parts in one picture. first, second (B, 1, H, W) ink; boxes (B, 8) as `layout` gives them."""
    parts = []
    for ink, box in ((first, boxes[:, :4]), (second, boxes[:, 4:])):
        thin = (box[:, 2] * box[:, 3] < THIN)[:, None, None, None]
        ink = F.avg_pool2d(torch.where(thin, F.max_pool2d(ink, 3, 1, 1), ink), 2, 1)
        x, y, width, height = box.unbind(1)
        zero = torch.zeros_like(x)
        maps = torch.stack([1 / width, zero, -x / width, zero, 1 / height, -y / height], 1).view(-1, 2, 3)
        parts.append(warp(ink, maps, int(first.shape[-1])))
    return torch.maximum(*parts)
