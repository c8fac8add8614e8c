"""The steps of an epoch: groups of characters of one alphabet, and their distorted drawings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.omniglot.augment import distort
from training.omniglot.data import SIDE_PX, Drawings
from training.omniglot.model import TrainConfig

Group = tuple[NDArray[np.int64], int]  # drawing indices (characters, 2 drawers), orientation


def turned(ink: Tensor, orientation: Tensor) -> Tensor:
    """Ink (B, 1, H, W) by orientation 0..7: quarter turns, from 4 on of the mirror image."""
    out = ink.clone()
    for o in orientation.unique().tolist():
        chosen = orientation == o
        picture = ink[chosen].flip(-1) if o >= 4 else ink[chosen]
        out[chosen] = torch.rot90(picture, o % 4, (-2, -1))
    return out


def epoch_steps(drawings: Drawings, config: TrainConfig, rng: np.random.Generator) -> Iterator[list[Group]]:
    """The steps of one epoch, each a list of groups."""
    where = {(c, d): i for i, (c, d) in enumerate(zip(drawings.character, drawings.drawer, strict=True))}
    members = [np.unique(drawings.character[drawings.alphabet == a]) for a in range(len(drawings.alphabet_names))]
    drawers = [rng.permutation(np.unique(drawings.drawer[drawings.alphabet == a])) for a in range(len(members))]
    for lap in range(max(len(d) for d in drawers) // 2):  # two drawers a lap, until every drawer was used
        groups: list[Group] = []
        for characters, people in zip(members, drawers, strict=True):
            if len(people) < 2 * lap + 2 or len(characters) < 2:
                continue
            pieces = np.array_split(rng.permutation(characters), math.ceil(len(characters) / config.group))
            for piece in pieces:
                index = np.array([[where[c, people[2 * lap]], where[c, people[2 * lap + 1]]] for c in piece], np.int64)
                groups.append((index, int(rng.integers(config.orientations))))
        order = rng.permutation(len(groups))
        for start in range(0, len(order), config.groups):
            yield [groups[i] for i in order[start : start + config.groups]]


def pictures(
    drawings: Drawings, groups: Sequence[Group], config: TrainConfig, side_px: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A step's distorted ink (B, 1, side, side), drawing indices (B,) and orientations (B,). Drawers alternate."""
    index = torch.from_numpy(np.concatenate([g.ravel() for g, _ in groups]))
    orientation = torch.from_numpy(np.repeat([o for _, o in groups], [g.size for g, _ in groups]))
    ink = turned(torch.from_numpy(drawings.ink)[index][:, None].float(), orientation)  # (B, 1, 105, 105)
    if side_px < SIDE_PX:
        ink = F.avg_pool2d(ink, 2, 1)  # the blur that shrinking by 1.75 needs, as the device's resizing has it
    return distort(ink, side_px, config.distortion, generator), index, orientation
