"""The student of finetuning: a converted network in torch, with the rounding of its int8 form (converters/finetune.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from converters.convert import Conversion, int8_form
from converters.flatbuffer import parse, serialize
from converters.graph import Array, Graph, Op, Tensor
from converters.observe import observe
from converters.passes.linear import along, is_linear, output_axis
from converters.quantise import ranges
from converters.torch_graph import Hook, Values, run

FIXED = ("LOGISTIC", "TANH", "SOFTMAX")  # their kernels prescribe the range of the result


def _ste(x: torch.Tensor) -> torch.Tensor:
    """x rounded; its gradient is that of x (straight-through estimator)."""
    return x + (x.round() - x).detach()


class Rounded(torch.autograd.Function):  # type: ignore[misc]
    """x as 256 steps from low to high represent it; zero is one of the steps.

    The gradient of x is 1 inside the range and 0 outside. low and high get the gradient of the step (Esser et al. 2020).
    """

    @staticmethod
    def forward(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        scale = (high - low) / 255
        zero = (-low / scale).round()
        return (x / scale).round_().clamp_(float(-zero), float(255 - zero)).mul_(scale)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        context.save_for_backward(*inputs, output)

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> Any:
        return Rounded.apply(x, low, high), dims[0]

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, low, high, y = context.saved_tensors
        moved, half = y - x, 0.5001 * float(high - low) / 255  # inside the range it moves by half a step at most
        inside = gradient * (moved.clamp(-half, half) == moved)
        outside = gradient - inside
        step = (inside * moved).sum() / (high - low)
        both, difference = outside.sum(), (outside * moved.sign()).sum()  # below the range, moved is positive
        return inside, (both + difference) / 2 - step, (both - difference) / 2 + step


rounded: Callable[..., torch.Tensor] = Rounded.apply


def _scale(weights: torch.Tensor, axis: int) -> torch.Tensor:
    """The int8 step of each slice along `axis`, as the quantiser chooses it."""
    rest = [i for i in range(weights.ndim) if i != axis]
    return torch.clamp(weights.abs().amax(rest, keepdim=True), min=1e-9) / 127


def _stored(t: Tensor, q: Tensor | None) -> Array:
    """A constant as the int8 model has it."""
    if q is None or q.quantization is None:
        return np.asarray(t.array, np.float32)
    held = q.quantization
    scale, zero = (along(v, held.axis, len(q.shape)) if v.size > 1 else v for v in (held.scale, held.zero_point))
    return np.asarray((q.array - zero) * scale, np.float32).reshape(t.shape)


def _floats(graph: Graph) -> dict[str, torch.Tensor]:
    """The float constants of a graph, by name."""
    found = [t for t in graph.tensors() if t.data is not None and np.dtype(t.dtype).kind == "f"]
    return {t.name: torch.from_numpy(t.array.astype(np.float32)) for t in found}


def _run(graph: Graph, pixels: torch.Tensor, constants: Values, hook: Hook) -> torch.Tensor:
    """pixels (N, H, W, C) -> (N, D)."""

    def one(picture: torch.Tensor) -> torch.Tensor:
        return run(graph, picture[None], constants, hook).reshape(-1)

    return torch.vmap(one)(pixels)


class Student:
    """The network with the rounding of the int8 model.

    It trains the ranges, and the weights and biases of the linear operators, except of the folded normalisation. They are
    changes in units that suit all of them: the int8 step of the weight's channel, the int8 step of the result, and the
    logarithm of a range.
    """

    def __init__(self, conversion: Conversion) -> None:
        self.graph, self.reference = parse(conversion.equalised), parse(conversion.reference)
        int8 = {t.name: t for t in parse(conversion.model).tensors()}
        self.exact = _floats(self.graph)
        self.constants = {
            t.name: torch.from_numpy(_stored(t, int8.get(t.name))) for t in self.graph.tensors() if t.name in self.exact
        }
        self.range_of: dict[str, tuple[float, float]] = {}  # by activation; activations that are tied have the same
        for t in self.graph.tensors():
            q = int8[t.name].quantization if t.data is None and t.name in int8 else None
            if q is not None:
                scale, zero = float(q.scale[0]), int(q.zero_point[0])
                self.range_of[t.name] = ((-128 - zero) * scale, (127 - zero) * scale)
        first = self.graph.inputs[0]
        fixed = {first.name} | {o.output.name for o in self.graph.ops if o.kind in FIXED or first in o.inputs}
        self.ranges = {r: torch.zeros(2) for r in self.range_of.values()}
        self.trained_ranges = [
            v.requires_grad_() for r, v in self.ranges.items() if r not in {self.range_of.get(n) for n in fixed}
        ]
        self.axes: dict[str, int] = {}
        self.units: dict[str, torch.Tensor] = {}
        for op in self.graph.ops:
            if is_linear(op) and first not in op.inputs:
                self._train(op)
        self.changes = {n: torch.zeros_like(self.constants[n]).requires_grad_() for n in self.units}

    def _train(self, op: Op) -> None:
        weights, bias = op.tensor(1).name, op.optional(2)
        self.axes[weights] = output_axis(op)
        self.constants[weights] = self.exact[weights]
        self.units[weights] = _scale(self.exact[weights], output_axis(op))
        if bias is not None and op.output.name in self.range_of:
            low, high = self.range_of[op.output.name]
            self.units[bias.name] = torch.tensor((high - low) / 255)

    def weights(self) -> dict[str, torch.Tensor]:
        """The trained constants without rounding."""
        return {n: self.constants[n] + self.changes[n] * unit for n, unit in self.units.items()}

    def limits(self) -> dict[tuple[float, float], torch.Tensor]:
        return {r: torch.tensor(r) * torch.exp(change) for r, change in self.ranges.items()}

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """pixels (N, H, W, C) -> (N, D), as the int8 model computes it."""
        constants = {**self.constants, **self.weights()}
        for name, axis in self.axes.items():
            scale = _scale(constants[name], axis)
            constants[name] = torch.clamp(_ste(constants[name] / scale), -127, 127) * scale
        limits = self.limits()

        def hook(name: str, x: torch.Tensor) -> torch.Tensor:
            return rounded(x, *limits[self.range_of[name]]) if name in self.range_of else x

        return _run(self.graph, pixels, constants, hook)

    def teacher(self, pixels: torch.Tensor) -> torch.Tensor:
        """pixels (N, H, W, C) -> (N, D), as the float model computes it."""
        with torch.no_grad():
            return _run(self.reference, pixels, _floats(self.reference), lambda _, x: x)

    def int8(self, chips: Sequence[Array]) -> bytes:
        """The int8 model with the trained weights and ranges. chips: for ranges that are not trained, of operators in float."""
        graph = parse(serialize(self.graph))
        with torch.no_grad():
            weights = self.weights()
            limits = {r: (float(v[0]), float(v[1])) for r, v in self.limits().items()}
        for t in graph.tensors():
            if t.name in weights:
                t.data = weights[t.name].numpy()
        found = ranges(graph, observe(graph, chips)[0])
        return int8_form(graph, found | {n: limits[r] for n, r in self.range_of.items()})
