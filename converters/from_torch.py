"""A PyTorch exported program (.pt2, torch.export.save) as a graph. Needs torch and no other framework."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from converters.graph import Array, Graph, Tensor
from converters.rules import NO_L2, Rules, Sides
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
    OTHERWISE = f"{NO_L2}; for another operator convert with litert-torch and pass the .tflite file"
    ALIASES = frozenset({"dropout", "contiguous", "clone", "detach", "alias", "to", "_to_copy"})

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
            raise ModelError(
                f"{self.op}: expected an encoder, got a transposed convolution", "export the encoder alone"
            )
        return self.conv2d(x, w, b, stride, padding, dilation, rest[1])

    def linear(self, x: Tensor, w: Array, b: Array | None) -> Tensor:
        return self.b.linear(x, w, b)

    def batch_norm(
        self, x: Tensor, w: Array | None, b: Array | None, mean: Array, var: Array, training: bool, _: float, eps: float,
        *cudnn: bool,
    ) -> Tensor:  # fmt: skip
        if training:
            raise ModelError(f"{self.op}: expected inference, got training mode", "call module.eval() before export")
        return self.normalised(x, w, b, mean, var, eps)

    def max_pool2d(self, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Tensor:
        if _pair(dilation) != (1, 1):
            raise ModelError(f"{self.op}: expected dilation 1, got {dilation}", "use a pool without dilation")
        return self.pool("MAX_POOL_2D", x, _pair(kernel), _pair(stride or kernel), _sides(padding), ceil)

    def avg_pool2d(
        self, x: Tensor, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool, divisor: int | None
    ) -> Tensor:
        if divisor is not None:
            raise ModelError(f"{self.op}: expected no divisor_override, got {divisor}", "remove divisor_override")
        return self.pool("AVERAGE_POOL_2D", x, _pair(kernel), _pair(stride or kernel), _sides(padding), ceil)

    def adaptive_avg_pool2d(self, x: Tensor, size: Any) -> Tensor:
        if _pair(size) != (1, 1):
            raise ModelError(f"{self.op}: expected size 1, got {size}", "use a pool with a kernel")
        return self.global_average(x)

    def mean_dim(self, x: Tensor, dims: Any, keep: bool, *dtype: Any) -> Tensor:
        return self.mean(x, dims, keep)

    def pad(self, x: Tensor, amounts: Any, mode: str = "constant", value: float | None = 0) -> Tensor:
        left, right, top, bottom = (*amounts, 0, 0)[:4]
        return self.zero_pad(x, (top, left, bottom, right), mode, value)

    def constant_pad(self, x: Tensor, amounts: Any, value: float | None = 0) -> Tensor:
        return self.pad(x, amounts, "constant", value)

    OPS: ClassVar[dict[str, Callable[..., Tensor]]] = {
        "conv2d": conv2d,
        "convolution": convolution,
        "linear": linear,
        "batch_norm": batch_norm,
        "relu": Rules.relu,
        "relu6": Rules.relu6,
        "hardtanh": Rules.clamp,
        "clamp": Rules.clamp,
        "hardswish": Rules.hardswish,
        "sigmoid": Rules.sigmoid,
        "tanh": Rules.tanh,
        "prelu": Rules.prelu,
        "leaky_relu": Rules.leaky_relu,
        "add": Rules.add,
        "sub": Rules.sub,
        "mul": Rules.mul,
        "div": Rules.div,
        "cat": Rules.joined,
        "max_pool2d": max_pool2d,
        "avg_pool2d": avg_pool2d,
        "adaptive_avg_pool2d": adaptive_avg_pool2d,
        "mean": mean_dim,
        "flatten": Rules.flatten,
        "view": Rules.reshape,
        "reshape": Rules.reshape,
        "_unsafe_view": Rules.reshape,
        "squeeze": Rules.flatten,
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

    def read(self, node: Any) -> None:
        name = node.target._schema.name.split("::")[1]
        plain = name.rstrip("_")  # relu_ is relu in place
        self.values[node.name] = self.apply(plain, *self.arguments(node))


def from_exported(program: Any) -> Graph:
    """torch.export.ExportedProgram with one input (N, C, H, W) and one output -> graph with input (N, H, W, C)."""
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
            rules.read(node)
    return rules.finish(signature.user_outputs[0])


def load_program(path: Path) -> Any:
    """The ExportedProgram in a .pt2 file. ModelError: it is not one."""
    import torch

    try:
        return torch.export.load(str(path))
    except Exception as error:  # a damaged archive raises errors of many types
        raise ModelError(
            f"{path}: cannot be read as an exported program: {error}", "write it with torch.export.save(program, path)"
        ) from error
