"""The steps of a run: groups of classes of one alphabet, each class by two drawers, and their distorted drawings.

Everything that is large stays on the device of the run; numpy only chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.omniglot.augment import distort
from training.omniglot.compose import BOX, combinations, compose, layout
from training.omniglot.data import SIDE_PX, Drawings
from training.omniglot.model import TrainConfig


@dataclass(frozen=True, slots=True)
class Groups:
    """The classes of a step, (G, n) each: character, second part or -1, layout (G, n, 8); drawers (G, 2); turns (G,)."""

    character: NDArray[np.int64]
    part: NDArray[np.int64]
    boxes: NDArray[np.float32]
    drawers: NDArray[np.int64]
    orientation: NDArray[np.int64]


def turned(ink: Tensor, orientation: int) -> Tensor:
    """Ink (..., H, W) in orientation 0..7: quarter turns, from 4 on of the mirror image."""
    picture = ink.flip(-1) if orientation >= 4 else ink
    return torch.rot90(picture, orientation % 4, (-2, -1))


class Sampler:
    """Draws the steps of a run. Raises ValueError if the alphabets do not have one picture a drawer of each character."""

    def __init__(self, drawings: Drawings, config: TrainConfig, device: torch.device) -> None:
        order = np.lexsort((drawings.drawer, drawings.character))
        self.characters = len(np.unique(drawings.character))
        if len(order) % self.characters:
            raise ValueError("drawings: expected the same number of drawers for each character")
        self.drawers = len(order) // self.characters
        alphabet = drawings.alphabet[order].reshape(self.characters, self.drawers)[:, 0]
        self.members = [np.flatnonzero(alphabet == a) for a in range(len(drawings.alphabet_names))]
        many = np.array([len(m) for m in self.members]) ** 0.7  # large alphabets more often, but not in proportion
        self.weight = many / many.sum()
        shape = (self.characters, self.drawers, SIDE_PX, SIDE_PX)
        self.ink = torch.from_numpy(drawings.ink[order]).to(device).view(shape)
        self.config, self.device = config, device

    def choose(self, random: np.random.Generator) -> Groups:
        """The groups of a step. A group of composed characters, or of characters and as many composed as are missing."""
        count, size = self.config.groups, self.config.group
        character, part = np.zeros((count, size), np.int64), np.full((count, size), -1, np.int64)
        boxes = np.zeros((count, size, BOX), np.float32)
        drawers = np.stack([random.choice(self.drawers, 2, replace=False) for _ in range(count)])
        for g in range(count):
            members = self.members[random.choice(len(self.members), p=self.weight)]
            plain = 0 if random.random() < self.config.composed else min(size, len(members))
            character[g, :plain] = random.choice(members, plain, replace=False)
            if plain < size:
                character[g, plain:], part[g, plain:] = combinations(members, size - plain, random)
                boxes[g, plain:] = layout(random)
        return Groups(character, part, boxes, drawers, random.integers(self.config.orientations, size=count))

    def pictures(self, groups: Groups, sides: Sequence[int], generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
        """Distorted ink [(B, 1, side, side), ...] with B = 2 G n, drawers alternating; softmax classes (B,), -1: none."""
        config, size = self.config, groups.character.shape[1]
        character, part = self._twice(groups.character), self._twice(groups.part)
        drawer = self._on(np.repeat(groups.drawers[:, None], size, 1).reshape(-1))
        ink = self.ink[character, drawer][:, None].float()
        if len(composed := torch.nonzero(part >= 0)[:, 0]):
            second = self.ink[part[composed], drawer[composed]][:, None].float()
            boxes = self._on(np.repeat(groups.boxes.reshape(-1, BOX), 2, 0))[composed]
            ink = ink.index_copy(0, composed, compose(ink[composed], second, boxes))
        by_group = ink.view(len(groups.orientation), 2 * size, SIDE_PX, SIDE_PX)
        turns = groups.orientation.tolist()
        ink = torch.stack([turned(g, o) for g, o in zip(by_group, turns, strict=True)]).view_as(ink)
        label = character * config.orientations + self._on(np.repeat(groups.orientation, 2 * size))
        if min(sides) < SIDE_PX:
            ink = F.avg_pool2d(ink, 2, 1)  # the blur that shrinking by 1.75 needs, as the device's resizing has it
        return distort(ink, sides, config.distortion, generator), torch.where(part < 0, label, -1)

    def _on(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, non_blocking=True)

    def _twice(self, array: NDArray[np.int64]) -> Tensor:
        return self._on(np.repeat(array.reshape(-1), 2))
