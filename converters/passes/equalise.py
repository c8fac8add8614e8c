"""Cross-layer equalisation by activations (after Nagel et al. 2019, section 4.1; Xiao et al. 2023).

int8 has one scale for a whole activation tensor, so a channel with a small range gets few of the 256 steps. A positive
factor per channel commutes with positively homogeneous operators (RELU, MAXIMUM, MUL by a constant, ADD, pooling):
multiply the outputs of the convolutions before them by s and divide the inputs of the convolutions after them by s, and
the float result is the same. Weights have a scale per output channel, so this costs the convolution before nothing, and
a depthwise convolution after nothing; an ordinary convolution after loses precision, because a row of its weights then
spans a wider range. The factors minimise the noise that activations and weights together cause in the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from converters.graph import Array, Graph, Op, Tensor
from converters.passes.linear import NONE, RELU, activation_of, groups_of, is_linear, scale_input, scale_output

_SAME = ("RELU", "LEAKY_RELU", "MAXIMUM", "MINIMUM", "ABS", "PRELU", "MAX_POOL_2D", "AVERAGE_POOL_2D", "ADD", "SUB")
_ROOM = 1e-6


@dataclass
class ChannelStats:
    """Of one tensor, per channel: minimum, maximum, mean and mean square over the calibration chips."""

    low: Array
    high: Array
    mean: Array
    square: Array


@dataclass
class Group:
    """Tensors that must share one factor per channel, and the convolutions that write and read them."""

    tensors: list[Tensor] = field(default_factory=list)
    writers: list[Op] = field(default_factory=list)
    readers: list[Op] = field(default_factory=list)
    locked: bool = False


def _tied(op: Op) -> list[Tensor] | None:
    """The activations that must have one factor because of this op, or None if it allows no factor."""
    acts = [t for t in (*op.inputs, *op.outputs) if t is not None and t.data is None]
    constants = [t for t in op.inputs if t is not None and t.data is not None]
    if activation_of(op) not in (NONE, RELU):
        return None
    if op.kind == "MEAN":
        return acts if _over_map(op) else None
    if op.kind == "RESHAPE":
        return acts if _keeps_channels(op) else None
    if op.kind == "MUL" and not constants:  # a map times a gate: the gate has no factor
        gate = next((t for t in op.inputs if t is not None and t.shape != op.output.shape), None)
        return [t for t in acts if t is not gate] if gate is not None else None
    channels = {t.shape[-1] for t in acts if t.shape}
    if len(channels) != 1 or any(len(t.shape) != len(acts[0].shape) for t in acts):
        return None
    if op.kind in ("MUL", "PRELU"):
        return acts
    return acts if op.kind == "PAD" or (op.kind in _SAME and not constants) else None


def _over_map(op: Op) -> bool:
    """Whether a MEAN is over height and width, so that each channel is apart."""
    axes = op.optional(1)
    return (
        axes is not None
        and axes.data is not None
        and len(op.tensor(0).shape) == 4
        and sorted(int(a) % 4 for a in axes.array.reshape(-1)) == [1, 2]
    )


def _keeps_channels(op: Op) -> bool:
    """Whether a RESHAPE only adds or removes axes of length 1 before the channels."""
    shapes = [[n for n in t.shape[:-1] if n != 1] for t in (op.tensor(0), op.output)]
    return not shapes[0] and not shapes[1] and op.tensor(0).shape[-1:] == op.output.shape[-1:]


def groups(graph: Graph, keep: Sequence[Tensor] = ()) -> list[Group]:
    """Partition the activations. A group is locked if an op, the model's input or output, or `keep` fixes its scale."""
    parent: dict[int, int] = {}
    tensors = {id(t): t for t in graph.tensors() if t.data is None}

    def root(i: int) -> int:
        while parent.setdefault(i, i) != i:
            i = parent[i]
        return i

    locked = {id(t) for t in (*graph.inputs, *graph.outputs, *keep)}
    for op in graph.ops:
        if is_linear(op):
            if activation_of(op) not in (NONE, RELU):
                locked.add(id(op.output))
            continue
        tied = _tied(op) or []
        locked |= {id(t) for t in (*op.inputs, *op.outputs) if t is not None and t.data is None and t not in tied}
        for t in tied[1:]:
            parent[root(id(t))] = root(id(tied[0]))
    found: dict[int, Group] = {}
    for i, t in tensors.items():
        group = found.setdefault(root(i), Group())
        group.tensors.append(t)
        group.locked = group.locked or i in locked
    for op in graph.ops:
        if is_linear(op):
            found[root(id(op.output))].writers.append(op)
            found[root(id(op.tensor(0)))].readers.append(op)
    return [g for g in found.values() if g.writers and g.readers]


@dataclass
class Reader:
    """|weights| of one convolution behind a group: what the noise estimate needs of them.

    squares (C,): sum of squares by input channel. peaks (O, C): largest by output and input channel; None: depthwise,
    which has a scale per channel, so that the noise of its weights does not depend on the factor.
    """

    squares: Array
    peaks: Array | None
    taps: int

    @classmethod
    def of(cls, op: Op, channels: int) -> Reader:
        w = np.abs(op.tensor(1).array.astype(np.float64))
        if op.kind == "DEPTHWISE_CONV_2D":
            taps = w.shape[1] * w.shape[2]
            return cls((w.reshape(taps, channels, -1) ** 2).sum(axis=(0, 2)), None, taps)
        count = groups_of(op)
        flat = w.reshape(w.shape[0], -1, channels // count)  # (outputs, taps, input channels of the group)
        peaks, squares = np.zeros((len(flat), channels)), np.zeros(channels)
        for g, rows in enumerate(np.split(np.arange(len(flat)), count)):
            part = slice(g * flat.shape[2], (g + 1) * flat.shape[2])
            peaks[rows, part] = flat[rows].max(axis=1)
            squares[part] = (flat[rows] ** 2).sum(axis=(0, 1))
        return cls(squares, peaks, flat.shape[1])


def _noise(factor: Array, stats: list[ChannelStats], readers: list[Reader]) -> float:
    """Noise power in the readers' outputs for the factor, relative to the power of each output.

    Rounding to a step d has variance d^2 / 12 (uniform). Activation: one step for the tensor. Weights: one step per
    output channel, times the mean square of their inputs.
    """
    low = min(float((s.low * factor).min()) for s in stats)
    high = max(float((s.high * factor).max()) for s in stats)
    step = (max(high, 0) - min(low, 0)) / 255
    square = np.max([s.square for s in stats], axis=0)
    total = 0.0
    for reader in readers:
        if reader.peaks is None:
            power = reader.squares * square + _ROOM
            total += float((step**2 / 12 * (reader.squares / factor**2) / power).mean())
            continue
        power = float(reader.squares @ square) + _ROOM
        activation = step**2 / 12 * float((reader.squares / factor**2).sum())
        steps = (reader.peaks / factor).max(axis=1) / 127
        weight = float((steps**2).sum()) / 12 * float((square * factor**2).sum()) * reader.taps
        total += (activation + weight) / power
    return total


def _choose(group: Group, stats: list[ChannelStats]) -> Array:
    """The factor (C,) of a group: range^-alpha * weight^beta with the least noise on a grid.

    A further search per channel lowered the noise estimate but changed no measured score.
    """
    width = np.max([np.maximum(np.abs(s.low), np.abs(s.high)) for s in stats], axis=0)
    alive = width > _ROOM * max(float(width.max()), _ROOM)
    width = np.where(alive, width, width[alive].min() if alive.any() else 1.0)
    weight = np.ones_like(width)
    readers = [Reader.of(op, len(width)) for op in group.readers]
    ordinary = [r.peaks.max(axis=0) for r in readers if r.peaks is not None]
    if ordinary:
        weight = np.max(ordinary, axis=0)
        weight = np.maximum(weight, 1e-3 * weight.max())
    best, least = np.ones_like(width), np.inf
    for alpha in np.linspace(0, 1, 11):
        for beta in np.linspace(0, 1, 11) if ordinary else (0.0,):
            factor = width**-alpha * weight**beta
            noise = _noise(factor, stats, readers)
            if noise < least:
                best, least = factor, noise
    return np.asarray(best / np.exp(np.log(best).mean()))


def equalise(graph: Graph, stats: dict[str, ChannelStats], keep: Sequence[Tensor] = ()) -> int:
    """Equalise every group that is not locked. `stats` by tensor name, of this graph; updated.

    keep: tensors whose scale does not change, such as pixels minus a whole number. Returns the number of groups.
    """
    count = 0
    for group in groups(graph, keep):
        known = [stats[t.name] for t in group.tensors if t.name in stats]
        if group.locked or not known:
            continue
        factor = _choose(group, known).astype(np.float32)
        for op in group.writers:
            scale_output(graph, op, factor)
        for op in group.readers:
            scale_input(graph, op, (1.0 / factor).astype(np.float32))
        for t in group.tensors:
            if t.name in stats:
                s = stats[t.name]
                stats[t.name] = ChannelStats(s.low * factor, s.high * factor, s.mean * factor, s.square * factor**2)
        count += 1
    return count
