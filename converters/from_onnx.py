"""An ONNX model as a graph. Needs the `onnx` package alone, and only to read the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from converters.build import Builder
from converters.graph import Array, Graph, Tensor
from edge_oneshot.errors import ModelError

_ALIASES = ("Identity", "Dropout")


class _Walker:
    """Follows the nodes. `values`: ONNX name -> Tensor of ours, or a constant array."""

    def __init__(self, builder: Builder, constants: dict[str, Array]) -> None:
        self.b = builder
        self.values: dict[str, Any] = dict(constants)

    def layer(self, kind: str, inputs: list[Any], attributes: dict[str, Any]) -> Any:
        if kind in _ALIASES:
            return inputs[0]
        handler = getattr(self, "op_" + kind.lower(), None)
        if handler is None:
            raise ModelError(
                f"no rule for ONNX operator {kind}",
                "leave it out of the export (an L2 normalisation belongs to the comparator), or convert "
                "with onnx2tf and give the float .tflite file",
            )
        return handler(attributes, *inputs)

    def _padding(
        self, a: dict[str, Any], x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]
    ) -> tuple[int, int, int, int]:
        mode = a.get("auto_pad", "NOTSET")
        if mode in ("NOTSET", "VALID"):
            top, left, bottom, right = a.get("pads", [0, 0, 0, 0]) if mode == "NOTSET" else [0, 0, 0, 0]
            return top, left, bottom, right
        total = [
            max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            for n, s, k, d in zip(x.shape[1:3], stride, kernel, dilation, strict=True)
        ]
        small = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
        return small[0], small[1], total[0] - small[0], total[1] - small[1]

    def op_conv(self, a: dict[str, Any], x: Tensor, w: Array, b: Array | None = None) -> Tensor:
        kernel = list(w.shape[2:])
        stride, dilation = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
        return self.b.conv(x, w, b, stride, self._padding(a, x, kernel, stride, dilation), dilation, a.get("group", 1))

    def op_gemm(self, a: dict[str, Any], x: Tensor, w: Array, b: Array | None = None) -> Tensor:
        if a.get("transA", 0):
            raise ModelError("Gemm: expected the activation as it is, got it transposed", "")
        weights = (w if a.get("transB", 0) else w.T) * np.float32(a.get("alpha", 1.0))
        return self.b.linear(x, weights, None if b is None else b.reshape(-1) * np.float32(a.get("beta", 1.0)))

    def op_matmul(self, a: dict[str, Any], x: Tensor, w: Array) -> Tensor:
        return self.b.linear(x, w.T, None)

    def op_batchnormalization(
        self, a: dict[str, Any], x: Tensor, w: Array, b: Array, mean: Array, var: Array
    ) -> Tensor:
        scale = w / np.sqrt(var.astype(np.float64) + a.get("epsilon", 1e-5))
        return self.b.affine(x, scale.astype(np.float32), (b - mean * scale).astype(np.float32))

    def op_relu(self, a: dict[str, Any], x: Tensor) -> Tensor:
        return self.b.unary("RELU", x)

    def op_clip(self, a: dict[str, Any], x: Tensor, low: Any = None, high: Any = None) -> Tensor:
        low = a.get("min", low if low is None else float(low))
        high = a.get("max", high if high is None else float(high))
        if low == 0 and high is None:
            return self.b.unary("RELU", x)
        if (low, high) != (0, 6):
            raise ModelError(f"Clip: expected the bounds of ReLU6 (0, 6), got ({low}, {high})", "use ReLU6")
        return self.b.unary("RELU6", x)

    def op_sigmoid(self, a: dict[str, Any], x: Tensor) -> Tensor:
        return self.b.unary("LOGISTIC", x)

    def op_tanh(self, a: dict[str, Any], x: Tensor) -> Tensor:
        return self.b.unary("TANH", x)

    def op_hardswish(self, a: dict[str, Any], x: Tensor) -> Tensor:
        return self.b.unary("HARD_SWISH", x)

    def op_prelu(self, a: dict[str, Any], x: Tensor, slope: Array) -> Tensor:
        return self.b.prelu(x, slope)

    def op_leakyrelu(self, a: dict[str, Any], x: Tensor) -> Tensor:
        return self.b.prelu(x, np.array([a.get("alpha", 0.01)], np.float32))

    def _binary(self, kind: str, a: Any, b: Any) -> Any:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return self.b.elementwise(kind, a, b)
        if not isinstance(a, Tensor):
            if kind == "SUB":
                raise ModelError(
                    "Sub: expected a constant on the right, got it on the left", "export it as Mul and Add"
                )
            a, b = b, a
        vector = np.broadcast_to(np.asarray(b, np.float32).reshape(-1), (a.shape[-1],))
        one, zero = np.ones_like(vector), np.zeros_like(vector)
        return self.b.affine(a, *{"MUL": (vector, zero), "ADD": (one, vector), "SUB": (one, -vector)}[kind])

    def op_add(self, _: dict[str, Any], a: Any, b: Any) -> Any:
        return self._binary("ADD", a, b)

    def op_sub(self, _: dict[str, Any], a: Any, b: Any) -> Any:
        return self._binary("SUB", a, b)

    def op_mul(self, _: dict[str, Any], a: Any, b: Any) -> Any:
        return self._binary("MUL", a, b)

    def op_div(self, _: dict[str, Any], a: Any, b: Any) -> Any:
        if isinstance(b, Tensor):
            raise ModelError(
                "Div: expected a constant divisor, got an activation: no int8 rule",
                "an L2 normalisation belongs to the comparator",
            )
        return self._binary("MUL", a, 1.0 / np.asarray(b, np.float64))

    def _pool(self, kind: str, a: dict[str, Any], x: Tensor) -> Tensor:
        kernel = a["kernel_shape"]
        stride = a.get("strides", [1, 1])
        return self.b.pool(kind, x, kernel, stride, self._padding(a, x, kernel, stride, [1, 1]))

    def op_maxpool(self, a: dict[str, Any], x: Tensor) -> Tensor:
        return self._pool("MAX_POOL_2D", a, x)

    def op_averagepool(self, a: dict[str, Any], x: Tensor) -> Tensor:
        return self._pool("AVERAGE_POOL_2D", a, x)

    def op_globalaveragepool(self, a: dict[str, Any], x: Tensor) -> Tensor:
        return self.b.global_average(x)

    def op_reducemean(self, a: dict[str, Any], x: Tensor, axes: Array | None = None) -> Tensor:
        dims = a.get("axes", [] if axes is None else list(axes.reshape(-1)))
        if sorted(int(d) % 4 for d in dims) != [2, 3]:
            raise ModelError(f"ReduceMean: expected height and width (2, 3), got {dims}", "")
        pooled = self.b.global_average(x)
        return pooled if a.get("keepdims", 1) else self.b.flatten(pooled)

    def op_flatten(self, a: dict[str, Any], x: Tensor) -> Tensor:
        return self.b.flatten(x)

    def op_reshape(self, a: dict[str, Any], x: Tensor, shape: Any) -> Tensor:
        if isinstance(shape, Tensor) or len(shape) != 2:
            raise ModelError(f"Reshape: expected a constant flattening to two dimensions, got {shape}", "")
        return self.b.flatten(x)

    def op_squeeze(self, a: dict[str, Any], x: Tensor, axes: Any = None) -> Tensor:
        return self.b.flatten(x)

    def op_pad(self, a: dict[str, Any], x: Tensor, pads: Any = None, value: Any = None, *rest: Any) -> Tensor:
        amounts = [int(v) for v in (a.get("pads", []) if pads is None else pads)]
        if a.get("mode", "constant") not in ("constant", b"constant") or (
            value is not None and float(np.asarray(value).reshape(-1)[0])
        ):
            raise ModelError("Pad: expected zeros, got something else", "int8 padding is zero")
        if len(amounts) != 8 or any(amounts[i] for i in (0, 1, 4, 5)):
            raise ModelError(f"Pad: expected height and width only, got {amounts}", "")
        return self.b.pad(x, amounts[2], amounts[6], amounts[3], amounts[7])


def load_onnx(path: Path) -> Graph:
    """Read an .onnx file with one input (N, C, H, W). ModelError: it is none, or holds an operator without a rule."""
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf raises its own errors on damage
        raise ModelError(f"{path}: cannot be read as ONNX: {error}", "the file is damaged, or no ONNX model") from error
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    images = [i for i in model.graph.input if i.name not in constants]
    if len(images) != 1 or len(model.graph.output) != 1:
        raise ModelError(
            f"{path}: expected one input and one output, got {len(images)} and {len(model.graph.output)}",
            "export the encoder alone",
        )
    dims = images[0].type.tensor_type.shape.dim
    # A batch without a number is one picture; height and width have to be told.
    shape = [1 if i == 0 and not d.dim_value else int(d.dim_value) for i, d in enumerate(dims)]
    if 0 in shape:
        raise ModelError(
            f"{path}: expected a fixed height and width, got {[d.dim_param or d.dim_value for d in dims]}",
            "export with a fixed picture size",
        )
    walker = _Walker(Builder(shape), constants)
    walker.values[images[0].name] = walker.b.input
    for node in model.graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
        if node.op_type == "Constant":
            walker.values[node.output[0]] = numpy_helper.to_array(attributes["value"])
            continue
        inputs = [walker.values[name] if name else None for name in node.input]
        if inputs and all(not isinstance(v, Tensor) for v in inputs):
            raise ModelError(
                f"{path}: {node.op_type} {node.name} computes on constants: expected them folded",
                "simplify the model first (onnxsim, or the exporter's constant folding)",
            )
        walker.values[node.output[0]] = walker.layer(node.op_type, inputs, attributes)
    return walker.b.finish(walker.b.check_output(walker.values[model.graph.output[0].name]))
