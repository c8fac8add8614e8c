"""A PyTorch exported program (.pt2, torch.export.save) as a graph: no framework but torch itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from converters.build import Builder
from converters.graph import Array, Graph, Tensor
from edge_oneshot.errors import ModelError

_ALIASES = ("dropout", "dropout_", "contiguous", "clone", "detach", "detach_", "alias", "to", "_to_copy")


def _pair(value: Any) -> tuple[int, int]:
    values = [int(v) for v in (value if isinstance(value, (list, tuple)) else [value])]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _sides(padding: Any) -> tuple[int, int, int, int]:
    y, x = _pair(padding)
    return y, x, y, x


class _Walker:
    """Follows the nodes of the exported graph. `values`: node name -> Tensor of ours, or a constant array."""

    def __init__(self, builder: Builder, constants: dict[str, Array]) -> None:
        self.b = builder
        self.values: dict[str, Any] = dict(constants)

    def arguments(self, node: Any) -> list[Any]:
        """Positional arguments in the operator's own order, defaults filled in; nodes replaced by their values."""
        found = []
        for i, declared in enumerate(node.target._schema.arguments):
            given = node.args[i] if i < len(node.args) else node.kwargs.get(declared.name, declared.default_value)
            found.append(self.values[given.name] if type(given).__name__ == "Node" else given)
        return found

    def layer(self, node: Any) -> Any:
        name = node.target._schema.name.split("::")[1]
        handler: Callable[..., Any] | None = getattr(self, "op_" + name.rstrip("_"), None)
        args = self.arguments(node)
        if name in _ALIASES:
            return args[0]
        if handler is None:
            raise ModelError(
                f"{node.name}: no rule for PyTorch operator aten::{name}",
                "leave it out of the exported module (an L2 normalisation belongs to the comparator), or "
                "convert with litert-torch and give the .tflite file",
            )
        return handler(*args)

    def op_conv2d(
        self, x: Tensor, w: Array, b: Array | None, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Tensor:
        s, d = _pair(stride), _pair(dilation)
        if isinstance(padding, str):
            total = [(k - 1) * e if padding == "same" else 0 for k, e in zip(w.shape[2:], d, strict=True)]
            sides = (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)
        else:
            sides = _sides(padding)
        return self.b.conv(x, w, b, s, sides, d, int(groups))

    def op_convolution(
        self,
        x: Tensor,
        w: Array,
        b: Array | None,
        stride: Any,
        padding: Any,
        dilation: Any,
        transposed: bool,
        output_padding: Any,
        groups: int,
    ) -> Tensor:
        if transposed:
            raise ModelError("transposed convolution: expected an encoder, got an upsampling layer", "")
        return self.op_conv2d(x, w, b, stride, padding, dilation, groups)

    def op_linear(self, x: Tensor, w: Array, b: Array | None) -> Tensor:
        return self.b.linear(x, w, b)

    def op_batch_norm(
        self,
        x: Tensor,
        w: Array | None,
        b: Array | None,
        mean: Array,
        var: Array,
        training: bool,
        momentum: float,
        eps: float,
        cudnn: bool,
    ) -> Tensor:
        if training:
            raise ModelError(
                "batch normalisation: expected inference, got training mode", "module.eval() before export"
            )
        scale = (1 if w is None else w) / np.sqrt(var.astype(np.float64) + eps)
        return self.b.affine(x, scale.astype(np.float32), ((0 if b is None else b) - mean * scale).astype(np.float32))

    def op_relu(self, x: Tensor) -> Tensor:
        return self.b.unary("RELU", x)

    def op_relu6(self, x: Tensor) -> Tensor:
        return self.b.unary("RELU6", x)

    def op_hardtanh(self, x: Tensor, low: float, high: float) -> Tensor:
        if (low, high) != (0, 6):
            raise ModelError(f"hardtanh: expected the bounds of ReLU6 (0, 6), got ({low}, {high})", "use ReLU6")
        return self.b.unary("RELU6", x)

    def op_clamp(self, x: Tensor, low: Any, high: Any) -> Tensor:
        return self.op_relu(x) if (low, high) == (0, None) else self.op_hardtanh(x, low, high)

    def op_hardswish(self, x: Tensor) -> Tensor:
        return self.b.unary("HARD_SWISH", x)

    def op_sigmoid(self, x: Tensor) -> Tensor:
        return self.b.unary("LOGISTIC", x)

    def op_tanh(self, x: Tensor) -> Tensor:
        return self.b.unary("TANH", x)

    def op_prelu(self, x: Tensor, slope: Array) -> Tensor:
        return self.b.prelu(x, slope)

    def op_leaky_relu(self, x: Tensor, slope: float) -> Tensor:
        return self.b.prelu(x, np.array([slope], np.float32))

    def _binary(self, kind: str, a: Any, b: Any) -> Any:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return self.b.elementwise(kind, a, b)
        if not isinstance(a, Tensor):
            if kind == "SUB":
                raise ModelError("subtraction from a constant: no rule", "write it as a multiplication and an addition")
            a, b = b, a
        vector = np.broadcast_to(np.asarray(b, np.float32).reshape(-1), (a.shape[-1],))
        one, zero = np.ones_like(vector), np.zeros_like(vector)
        return self.b.affine(a, *{"MUL": (vector, zero), "ADD": (one, vector), "SUB": (one, -vector)}[kind])

    def op_cat(self, parts: Any, dim: int = 0) -> Tensor:
        tensors = [self.values[p.name] if type(p).__name__ == "Node" else p for p in parts]
        if dim % 2 != 1 or any(len(t.shape) != 2 for t in tensors):
            raise ModelError(
                f"cat: expected rows of numbers joined along dimension 1, got dimension {dim} of {[t.shape for t in tensors]}",
                "join what is flattened already",
            )
        return self.b.concatenate(tensors)

    def op_add(self, a: Any, b: Any, alpha: Any = 1) -> Any:
        return self._binary("ADD", a, b)

    def op_sub(self, a: Any, b: Any, alpha: Any = 1) -> Any:
        return self._binary("SUB", a, b)

    def op_mul(self, a: Any, b: Any) -> Any:
        return self._binary("MUL", a, b)

    def op_div(self, a: Any, b: Any) -> Any:
        if isinstance(b, Tensor):
            raise ModelError("division by an activation: no int8 rule", "an L2 normalisation belongs to the comparator")
        return self._binary("MUL", a, 1.0 / np.asarray(b, np.float64))

    def op_max_pool2d(self, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Tensor:
        return self.b.pool("MAX_POOL_2D", x, _pair(kernel), _pair(stride or kernel), _sides(padding))

    def op_avg_pool2d(self, x: Tensor, kernel: Any, stride: Any, padding: Any, *rest: Any) -> Tensor:
        return self.b.pool("AVERAGE_POOL_2D", x, _pair(kernel), _pair(stride or kernel), _sides(padding))

    def op_adaptive_avg_pool2d(self, x: Tensor, size: Any) -> Tensor:
        if _pair(size) != (1, 1):
            raise ModelError(f"adaptive pooling: expected size 1, got {size}", "use a pool with a kernel")
        return self.b.global_average(x)

    def op_mean(self, x: Tensor, dims: Any, keep: bool, dtype: Any) -> Tensor:
        if sorted(d % 4 for d in dims) != [2, 3]:
            raise ModelError(f"mean: expected height and width (2, 3), got {dims}", "")
        pooled = self.b.global_average(x)
        return pooled if keep else self.b.flatten(pooled)

    def op_flatten(self, x: Tensor, start: int = 1, end: int = -1) -> Tensor:
        return self.b.flatten(x)

    def op_view(self, x: Tensor, shape: Any) -> Tensor:
        if len(shape) != 2:
            raise ModelError(f"reshape: expected a flattening to two dimensions, got {list(shape)}", "")
        return self.b.flatten(x)

    op_reshape = op__unsafe_view = op_view

    def op_squeeze(self, x: Tensor, *dims: Any) -> Tensor:
        return self.b.flatten(x)

    def op_pad(self, x: Tensor, amounts: Any, mode: Any = "constant", value: Any = 0) -> Tensor:
        left, right, top, bottom = (*amounts, 0, 0)[:4]
        if mode != "constant" or value not in (None, 0, 0.0):
            raise ModelError(f"pad: expected zeros, got {mode} {value}", "int8 padding is zero")
        return self.b.pad(x, top, bottom, left, right)

    def op_constant_pad_nd(self, x: Tensor, amounts: Any, value: Any = 0) -> Tensor:
        return self.op_pad(x, amounts, "constant", value)


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
    constants = {name: state[key].detach().cpu().numpy() for name, key in targets.items()}
    walker = _Walker(Builder(shape), constants)
    walker.values[images[0]] = walker.b.input
    for node in program.graph.nodes:
        if node.op == "call_function":
            walker.values[node.name] = walker.layer(node)
    return walker.b.finish(walker.b.check_output(walker.values[signature.user_outputs[0]]))


def load_pt2(path: Path) -> Graph:
    """Read a .pt2 file. ModelError: it is none, or holds an operator without a rule."""
    import torch

    try:
        program = torch.export.load(str(path))
    except Exception as error:  # torch raises whatever the damaged archive makes it stumble over
        raise ModelError(
            f"{path}: cannot be read as an exported program: {error}", "torch.export.save(program, path)"
        ) from error
    return from_exported(program)
