"""An ONNX model as a graph. Needs the `onnx` package, and only to read the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from converters.graph import Array, Graph, Tensor
from converters.rules import NO_L2, Rules, Sides
from edge_oneshot.errors import ModelError

Ints = Sequence[int]


def _sides(x: Tensor, kernel: Ints, stride: Ints, dilation: Ints, pads: Ints, auto_pad: str) -> Sides:
    if auto_pad == "VALID":
        return 0, 0, 0, 0
    if auto_pad == "NOTSET":
        top, left, bottom, right = pads
        return top, left, bottom, right
    total = [
        max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, s, k, d in zip(x.shape[1:3], stride, kernel, dilation, strict=True)
    ]
    small = [t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in total]
    return small[0], small[1], total[0] - small[0], total[1] - small[1]


class OnnxRules(Rules):
    """Inputs arrive by position, attributes by name; attributes that change nothing here are ignored."""

    PREFIX = "ONNX operator "
    OTHERWISE = f"{NO_L2}; for another operator convert with onnx2tf and pass the float .tflite file"
    ALIASES = frozenset({"Identity", "Dropout"})

    def conv(
        self, x: Tensor, w: Array, b: Array | None = None, *, strides: Ints = (1, 1), dilations: Ints = (1, 1),
        group: int = 1, pads: Ints = (0, 0, 0, 0), auto_pad: str = "NOTSET", **_: Any,
    ) -> Tensor:  # fmt: skip
        sides = _sides(x, w.shape[2:], strides, dilations, pads, auto_pad)
        return self.b.conv(x, w, b, strides, sides, dilations, group)

    def gemm(
        self, x: Tensor, w: Array, b: Array | None = None, *, transA: int = 0, transB: int = 0,
        alpha: float = 1.0, beta: float = 1.0,
    ) -> Tensor:  # fmt: skip
        if transA:
            raise ModelError("Gemm: expected transA 0, got 1", "export a fully connected layer")
        weights = (w if transB else w.T) * np.float32(alpha)
        return self.b.linear(x, weights, None if b is None else b.reshape(-1) * np.float32(beta))

    def matmul(self, x: Tensor, w: Array) -> Tensor:
        return self.b.linear(x, w.T, None)

    def batch_norm(
        self, x: Tensor, w: Array, b: Array, mean: Array, var: Array, *, epsilon: float = 1e-5, **_: Any
    ) -> Tensor:
        return self.normalised(x, w, b, mean, var, epsilon)

    def clip(self, x: Tensor, low: Any = None, high: Any = None, **bounds: float) -> Tensor:
        """Bounds are attributes before opset 11 and inputs since."""
        return self.clamp(
            x,
            bounds.get("min", None if low is None else float(low)),
            bounds.get("max", None if high is None else float(high)),
        )

    def concat(self, *parts: Tensor, axis: int) -> Tensor:
        return self.joined(parts, axis)

    def _pool(
        self, kind: str, x: Tensor, *, kernel_shape: Ints, strides: Ints = (1, 1), dilations: Ints = (1, 1),
        pads: Ints = (0, 0, 0, 0), auto_pad: str = "NOTSET", ceil_mode: int = 0, **_: Any,
    ) -> Tensor:  # fmt: skip
        if any(d != 1 for d in dilations):
            raise ModelError(f"{self.op}: expected dilation 1, got {list(dilations)}", "use a pool without dilation")
        sides = _sides(x, kernel_shape, strides, (1, 1), pads, auto_pad)
        return self.pool(kind, x, kernel_shape, strides, sides, bool(ceil_mode))

    def max_pool(self, x: Tensor, **attributes: Any) -> Tensor:
        return self._pool("MAX_POOL_2D", x, **attributes)

    def average_pool(self, x: Tensor, **attributes: Any) -> Tensor:
        return self._pool("AVERAGE_POOL_2D", x, **attributes)

    def reduce_mean(
        self, x: Tensor, given: Array | None = None, *, axes: Ints = (), keepdims: int = 1, **_: Any
    ) -> Tensor:
        return self.mean(x, axes if given is None else [int(d) for d in given.reshape(-1)], bool(keepdims))

    def pad(
        self, x: Tensor, given: Array | None = None, value: Array | None = None, *_: Any, pads: Ints = (),
        mode: str = "constant", **__: Any,
    ) -> Tensor:  # fmt: skip
        amounts = [int(v) for v in (pads if given is None else given)]
        if len(amounts) != 8 or any(amounts[i] for i in (0, 1, 4, 5)):
            raise ModelError(f"Pad: expected height and width only, got {amounts}", "pad the picture alone")
        sides = (amounts[2], amounts[3], amounts[6], amounts[7])
        return self.zero_pad(x, sides, mode, None if value is None else float(np.asarray(value).reshape(-1)[0]))

    OPS: ClassVar[dict[str, Callable[..., Tensor]]] = {
        "Conv": conv,
        "Gemm": gemm,
        "MatMul": matmul,
        "BatchNormalization": batch_norm,
        "Relu": Rules.relu,
        "Clip": clip,
        "HardSwish": Rules.hardswish,
        "Sigmoid": Rules.sigmoid,
        "Tanh": Rules.tanh,
        "PRelu": Rules.prelu,
        "LeakyRelu": Rules.leaky_relu,
        "Add": Rules.add,
        "Sub": Rules.sub,
        "Mul": Rules.mul,
        "Div": Rules.div,
        "Concat": concat,
        "MaxPool": max_pool,
        "AveragePool": average_pool,
        "GlobalAveragePool": Rules.global_average,
        "ReduceMean": reduce_mean,
        "Flatten": Rules.flatten,
        "Reshape": Rules.reshape,
        "Squeeze": Rules.flatten,
        "Pad": pad,
    }


def load_onnx(path: Path) -> Graph:
    """Read an .onnx file with one input (N, C, H, W). ModelError: it is not ONNX, or has an operator without a rule."""
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf raises errors of its own
        raise ModelError(f"{path}: cannot be read as ONNX: {error}", "export the model again") from error
    constants = {t.name: np.asarray(numpy_helper.to_array(t)) for t in model.graph.initializer}
    images = [i for i in model.graph.input if i.name not in constants]
    if len(images) != 1 or len(model.graph.output) != 1:
        raise ModelError(
            f"{path}: expected one input and one output, got {len(images)} and {len(model.graph.output)}",
            "export the encoder alone",
        )
    dims = images[0].type.tensor_type.shape.dim
    # A batch without a number means one picture; height and width must be given.
    shape = [1 if i == 0 and not d.dim_value else int(d.dim_value) for i, d in enumerate(dims)]
    if 0 in shape:
        raise ModelError(
            f"{path}: expected a fixed height and width, got {[d.dim_param or d.dim_value for d in dims]}",
            "export with a fixed picture size",
        )
    rules = OnnxRules(shape, images[0].name, constants)
    for node in model.graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
        if node.op_type == "Constant":
            rules.values[node.output[0]] = np.asarray(numpy_helper.to_array(attributes["value"]))
            continue
        inputs = [rules.values[name] if name else None for name in node.input]
        if inputs and all(not isinstance(v, Tensor) for v in inputs):
            raise ModelError(
                f"{path}: {node.op_type} {node.name} computes on constants: expected them folded",
                "simplify the model first (onnxsim, or the exporter's constant folding)",
            )
        rules.values[node.output[0]] = rules.apply(node.op_type, *inputs, **attributes)
    return rules.finish(model.graph.output[0].name)
