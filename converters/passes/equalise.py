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
from converters.passes.linear import NONE, RELU, activation_of, is_linear, scale_input, scale_output

_SAME = ("RELU", "LEAKY_RELU", "MAXIMUM", "MINIMUM", "ABS", "PRELU", "MAX_POOL_2D", "AVERAGE_POOL_2D", "ADD", "SUB")
_SHAPED = ("PAD", "MEAN")  # their constants are shapes, not values
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


def _passes_factor(op: Op) -> list[Tensor] | None:
    """The activations that must have one factor because of this op, or None if it allows no factor."""
    acts = [t for t in (*op.inputs, *op.outputs) if t is not None and t.data is None]
    constants = [t for t in op.inputs if t is not None and t.data is not None]
    if activation_of(op) not in (NONE, RELU):
        return None
    channels = {t.shape[-1] for t in acts if t.shape}
    if len(channels) != 1 or any(len(t.shape) != len(acts[0].shape) for t in acts):
        return None
    if op.kind == "MUL":
        return acts if len(constants) == 1 else None
    if op.kind == "PRELU":
        return acts
    return acts if op.kind in _SHAPED or (op.kind in _SAME and not constants) else None


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
        tied = _passes_factor(op)
        if tied is None:
            locked |= {id(t) for t in (*op.inputs, *op.outputs) if t is not None and t.data is None}
            continue
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


def _weights_by_input(op: Op, channels: int) -> Array:
    """|weights| as (outputs, taps, input channels)."""
    w = np.abs(op.tensor(1).array.astype(np.float64))
    if op.kind == "DEPTHWISE_CONV_2D":
        return w.reshape(1, -1, channels)
    return w.reshape(w.shape[0], -1, channels)


def _noise(factor: Array, stats: list[ChannelStats], readers: list[Op]) -> float:
    """Noise power in the readers' outputs for the factor, relative to the power of each output.

    Rounding to a step d has variance d^2 / 12 (uniform). Activation: one step for the tensor. Weights: one step per
    output channel, times the mean square of their inputs.
    """
    low = min(float((s.low * factor).min()) for s in stats)
    high = max(float((s.high * factor).max()) for s in stats)
    step = (max(high, 0) - min(low, 0)) / 255
    square = np.max([s.square for s in stats], axis=0)
    total = 0.0
    for op in readers:
        w = _weights_by_input(op, len(factor))
        if op.kind == "DEPTHWISE_CONV_2D":
            power = (w[0] ** 2).sum(axis=0) * square + _ROOM
            total += float((step**2 / 12 * ((w[0] / factor) ** 2).sum(axis=0) / power).mean())
            continue  # a scale per channel: its weight noise does not depend on the factor
        power = float((w**2 @ square).sum()) + _ROOM
        activation = step**2 / 12 * float(((w / factor) ** 2).sum())
        steps = (w / factor).max(axis=(1, 2)) / 127
        weight = float((steps**2).sum()) / 12 * float((square * factor**2).sum()) * w.shape[1]
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
    ordinary = [op for op in group.readers if op.kind != "DEPTHWISE_CONV_2D"]
    if ordinary:
        weight = np.max([_weights_by_input(op, len(width)).max(axis=(0, 1)) for op in ordinary], axis=0)
        weight = np.maximum(weight, 1e-3 * weight.max())
    best, least = np.ones_like(width), np.inf
    for alpha in np.linspace(0, 1, 11):
        for beta in np.linspace(0, 1, 11) if ordinary else (0.0,):
            factor = width**-alpha * weight**beta
            noise = _noise(factor, stats, group.readers)
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
