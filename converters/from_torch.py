"""A PyTorch exported program (.pt2, torch.export.save) as a graph. Needs torch and no other framework."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from converters.graph import Array, Graph, Tensor
from converters.rules import Rules, Sides
from converters.torch_nodes import check_in_place, computed, leaves, place_of
from edge_oneshot.errors import ModelError


def _pair(value: Any) -> tuple[int, int]:
    values = [int(v) for v in (value if isinstance(value, (list, tuple)) else [value])]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _sides(padding: Any) -> Sides:
    y, x = _pair(padding)
    return y, x, y, x


class TorchRules(Rules):
    """Arguments arrive by position, in the order of the ATen schema, with its defaults filled in."""

    PREFIX = "PyTorch operator aten::"
    OTHERWISE = "install litert-torch, which reads it: pip install 'edge-oneshot-convert[litert-torch]'"
    NORMS = frozenset(
        {"linalg_vector_norm", "norm", "frobenius_norm", "rsqrt", "sqrt", "expand", "expand_as", "clamp_min"}
    )
    ALIASES = frozenset({"contiguous", "clone", "detach", "alias", "to", "_to_copy", "type_as", "lift_fresh_copy"})

    def conv2d(
        self, x: Tensor, w: Array, b: Array | None, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Tensor:
        s, d = _pair(stride), _pair(dilation)
        if isinstance(padding, str):
            total = [(k - 1) * e if padding == "same" else 0 for k, e in zip(w.shape[2:], d, strict=True)]
            sides = (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)
        else:
            sides = _sides(padding)
        return self.b.conv(x, w, b, s, sides, d, int(groups))

    def convolution(
        self, x: Tensor, w: Array, b: Array | None, stride: Any, padding: Any, dilation: Any, transposed: bool, *rest: Any
    ) -> Tensor:  # fmt: skip
        if transposed:
            raise ModelError("expected an encoder, got a transposed convolution", "export the encoder alone")
        return self.conv2d(x, w, b, stride, padding, dilation, rest[1])

    def linear(self, x: Tensor, w: Array, b: Array | None) -> Tensor:
        if len(x.shape) != 2:
            shape = self.b.source_shape(x)
            raise ModelError(
                f"expected rows (N, D), got {shape}, whose last dimension is the width", "flatten before it"
            )
        return self.b.linear(x, w, b)

    def batch_norm(
        self, x: Tensor, w: Array | None, b: Array | None, mean: Array, var: Array, training: bool, _: float, eps: float,
        *cudnn: bool,
    ) -> Tensor:  # fmt: skip
        if training:
            raise ModelError("expected inference, got training mode", "call module.eval() before torch.export.export")
        return self.normalised(x, w, b, mean, var, eps)

    def native_batch_norm(
        self, x: Tensor, w: Array | None, b: Array | None, mean: Array, var: Array, _: float, eps: float
    ) -> Any:
        return (self.normalised(x, w, b, mean, var, eps),)

    def dropout(self, x: Tensor, share: float, training: bool) -> Tensor:
        if training:
            raise ModelError("expected inference, got training mode", "call module.eval() before torch.export.export")
        return x

    def prelu(self, x: Tensor, slope: Array) -> Tensor:
        return self.b.prelu(x, slope.reshape(-1))

    def div(self, a: Tensor | Array, b: Tensor | Array, rounding: str | None = None) -> Tensor:
        if rounding is not None:
            raise ModelError(f"expected a true division, got rounding_mode {rounding!r}", "divide without rounding")
        return super().div(a, b)

    def max_pool2d(self, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Tensor:
        if _pair(dilation) != (1, 1):
            raise ModelError(f"expected dilation 1, got {dilation}", "use a pool without dilation")
        return self.pool("MAX_POOL_2D", x, _pair(kernel), _pair(stride or kernel), _sides(padding), ceil=ceil)

    def avg_pool2d(
        self, x: Tensor, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool, divisor: int | None
    ) -> Tensor:
        if divisor is not None:
            raise ModelError(f"expected no divisor_override, got {divisor}", "multiply after an ordinary average pool")
        return self.pool(
            "AVERAGE_POOL_2D", x, _pair(kernel), _pair(stride or kernel), _sides(padding), ceil=ceil, counted=counted
        )

    def adaptive_avg_pool2d(self, x: Tensor, size: Any) -> Tensor:
        if _pair(size) != (1, 1):
            raise ModelError(f"expected size 1, got {size}", "use nn.AvgPool2d with a kernel size")
        return self.global_average(x)

    def mean_dim(self, x: Tensor, dims: Any = None, keep: bool = False, *dtype: Any) -> Tensor:
        return self.mean(x, dims, keep)

    def pad(self, x: Tensor, amounts: Any, mode: str = "constant", value: float | None = 0) -> Tensor:
        left, right, top, bottom, *others = (*amounts, 0, 0)[: max(4, len(amounts))]
        if any(others):
            raise ModelError(f"expected padding of height and width, got {list(amounts)}", "pad the picture alone")
        return self.zero_pad(x, (top, left, bottom, right), mode, value)

    def constant_pad(self, x: Tensor, amounts: Any, value: float | None = 0) -> Tensor:
        return self.pad(x, amounts, "constant", value)

    def squeeze(self, x: Tensor, dims: Any = None) -> Tensor:
        return self.squeezed(x, [dims] if isinstance(dims, int) else dims)

    def slice(self, x: Tensor, dim: int, start: int | None, end: int | None, step: int) -> Tensor:
        size = self.b.source_shape(x)[dim]
        if start in (0, None) and step == 1 and (end is None or end >= size):
            return x
        raise ModelError(f"expected the whole of dimension {dim}, got {start}:{end}:{step} of {size}", self.OTHERWISE)

    OPS: ClassVar[dict[str, Callable[..., Any]]] = {
        "conv2d": conv2d,
        "convolution": convolution,
        "linear": linear,
        "batch_norm": batch_norm,
        "_native_batch_norm_legit_no_training": native_batch_norm,
        "dropout": dropout,
        "relu": Rules.relu,
        "relu6": Rules.relu6,
        "hardtanh": Rules.clamp,
        "clamp": Rules.clamp,
        "hardswish": Rules.hardswish,
        "hardsigmoid": Rules.hardsigmoid,
        "silu": Rules.silu,
        "sigmoid": Rules.sigmoid,
        "tanh": Rules.tanh,
        "prelu": prelu,
        "_prelu_kernel": prelu,
        "leaky_relu": Rules.leaky_relu,
        "add": Rules.add,
        "sub": Rules.sub,
        "rsub": Rules.rsub,
        "mul": Rules.mul,
        "div": div,
        "cat": Rules.joined,
        "max_pool2d": max_pool2d,
        "avg_pool2d": avg_pool2d,
        "adaptive_avg_pool2d": adaptive_avg_pool2d,
        "mean": mean_dim,
        "flatten": Rules.flatten,
        "view": Rules.reshape,
        "reshape": Rules.reshape,
        "_unsafe_view": Rules.reshape,
        "squeeze": squeeze,
        "slice": slice,
        "pad": pad,
        "constant_pad_nd": constant_pad,
    }

    def arguments(self, node: Any) -> list[Any]:
        """Positional arguments in the operator's own order, defaults filled in; nodes replaced by their values."""

        def value(given: Any) -> Any:
            if isinstance(given, (list, tuple)):
                return [value(v) for v in given]
            return self.values[given.name] if type(given).__name__ == "Node" else given

        return [
            value(node.args[i] if i < len(node.args) else node.kwargs.get(declared.name, declared.default_value))
            for i, declared in enumerate(node.target._schema.arguments)
        ]

    def read_node(self, node: Any) -> None:
        """Add a node of an exported program. An operator on constants is computed by torch."""
        if node.target is operator.getitem and isinstance(self.values[node.args[0].name], tuple):
            self.values[node.name] = self.values[node.args[0].name][node.args[1]]
            return
        if not hasattr(node.target, "_schema"):
            raise ModelError(f"no rule for {node.target} ({place_of(node)})", self.OTHERWISE)
        space, name = node.target._schema.name.split("::")
        arguments = self.arguments(node)
        if not any(isinstance(v, Tensor) for v in leaves(arguments)):
            self.values[node.name] = computed(node.target, arguments)
            return
        plain = name.rstrip("_") if name.endswith("_") else name  # relu_ is relu in place
        if plain != name:
            check_in_place(node, f"{self.PREFIX}{name}")
        self.read(node.name, plain if space == "aten" else f"{space}::{plain}", place_of(node), *arguments)


def read_exported(program: Any) -> TorchRules:
    """torch.export.ExportedProgram with one input (N, C, H, W) and one output -> its rules, every node read."""
    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    targets = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **getattr(signature, "inputs_to_lifted_tensor_constants", {}),
    }
    images = list(signature.user_inputs)
    nodes = {n.name: n for n in program.graph.nodes}
    if len(images) != 1 or len(signature.user_outputs) != 1:
        raise ModelError(
            f"exported program: expected one input and one output, got {len(images)} and {len(signature.user_outputs)}",
            "export the encoder alone",
        )
    shape = nodes[images[0]].meta["val"].shape
    if not all(isinstance(v, int) for v in shape):
        raise ModelError(
            f"exported program: expected a fixed input shape, got {tuple(shape)}", "export without dynamic_shapes"
        )
    constants = {name: np.asarray(state[key].detach().cpu().numpy()) for name, key in targets.items()}
    rules = TorchRules(shape, images[0], constants)
    for node in program.graph.nodes:
        if node.op == "call_function":
            rules.read_node(node)
    return rules


def from_exported(program: Any) -> Graph:
    """As `read_exported`, as a graph with input (N, H, W, C)."""
    return read_exported(program).finish(program.graph_signature.user_outputs[0])


def load_program(path: Path) -> Any:
    """The exported program in a .pt2 file. ModelError: it is not one."""
    import torch

    try:
        return torch.export.load(str(path))
    except Exception as error:  # a damaged archive raises errors of many types
        raise ModelError(
            f"{path}: cannot be read as an exported program: {error}", "write it with torch.export.save(program, path)"
        ) from error
