"""An ONNX model as a graph. Needs the `onnx` package, and only to read the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from converters.graph import Array, Tensor
from converters.rules import Rules, Sides
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
    OTHERWISE = "convert the network with onnx2tf and pass the float .tflite file"
    NORMS = frozenset({"ReduceL2", "LpNormalization", "Sqrt", "Pow", "ReduceSum", "Expand", "Reciprocal"})
    ALIASES = frozenset({"Identity"})

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
            raise ModelError("expected transA 0, got 1", "export a fully connected layer")
        weights = (w if transB else w.T) * np.float32(alpha)
        bias = None if b is None else np.broadcast_to(b, (1, len(weights))).reshape(-1) * np.float32(beta)
        return self.b.linear(self._row(x), weights, bias)

    def matmul(self, x: Tensor, w: Array) -> Tensor:
        return self.b.linear(self._row(x), w.T, None)

    def _row(self, x: Tensor) -> Tensor:
        if len(x.shape) != 2:
            raise ModelError(f"expected rows (N, D), got {self.b.source_shape(x)}", "flatten before it")
        return x

    def prelu(self, x: Tensor, slope: Array) -> Tensor:
        """The slope broadcasts as ONNX has it: (C,) lies along the width."""
        return self.b.prelu(
            x, slope if slope.size == 1 else slope.reshape((1,) * (len(x.shape) - slope.ndim) + slope.shape)
        )

    def dropout(self, x: Tensor, ratio: Array | None = None, training: Array | None = None, **_: Any) -> Tensor:
        if training is not None and np.any(training):
            raise ModelError("expected inference, got training mode", "export the model in evaluation mode")
        return x

    def shape(self, x: Tensor, *, start: int = 0, end: int | None = None) -> Array:
        return np.asarray(self.b.source_shape(x), np.int64)[start:end]

    def hard_sigmoid(self, x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
        return self.hardsigmoid(x, alpha, beta)

    def flat(self, x: Tensor, *, axis: int = 1) -> Tensor:
        """(N, …) -> (N, D) for axis 1; another axis gives other rows."""
        shape = self.b.source_shape(x)
        first = int(np.prod(shape[: axis if axis >= 0 else axis + len(shape)]))
        return super().reshape(x, [first, -1])

    def reshape(self, x: Tensor, shape: Any, *, allowzero: int = 0) -> Tensor:
        before = self.b.source_shape(x)
        if isinstance(shape, Tensor):
            return super().reshape(x, shape)
        return super().reshape(x, [before[i] if v == 0 and not allowzero else v for i, v in enumerate(shape.tolist())])

    def squeeze(self, x: Tensor, given: Array | None = None, *, axes: Ints | None = None) -> Tensor:
        return self.squeezed(x, axes if given is None else given.reshape(-1).tolist())

    def batch_norm(
        self, x: Tensor, w: Array, b: Array, mean: Array, var: Array, *, epsilon: float = 1e-5, training_mode: int = 0, **_: Any
    ) -> Tensor:  # fmt: skip
        if training_mode:
            raise ModelError("expected inference, got training mode", "export the model in evaluation mode")
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
        pads: Ints = (0, 0, 0, 0), auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0, **_: Any,
    ) -> Tensor:  # fmt: skip
        if any(d != 1 for d in dilations):
            raise ModelError(f"expected dilation 1, got {list(dilations)}", "use a pool without dilation")
        sides = _sides(self.b.map_of(x), kernel_shape, strides, (1, 1), pads, auto_pad)
        return self.pool(kind, x, kernel_shape, strides, sides, ceil=bool(ceil_mode), counted=bool(count_include_pad))

    def max_pool(self, x: Tensor, **attributes: Any) -> Tensor:
        return self._pool("MAX_POOL_2D", x, **attributes)

    def average_pool(self, x: Tensor, **attributes: Any) -> Tensor:
        return self._pool("AVERAGE_POOL_2D", x, **attributes)

    def reduce_mean(
        self, x: Tensor, given: Array | None = None, *, axes: Ints = (), keepdims: int = 1, **_: Any
    ) -> Tensor:
        return self.mean(x, axes if given is None else [int(d) for d in given.reshape(-1)], bool(keepdims))

    def pad(
        self, x: Tensor, given: Array | None = None, value: Array | None = None, axes: Array | None = None, *,
        pads: Ints = (), mode: str = "constant", **attributes: Any,
    ) -> Tensor:  # fmt: skip
        amounts = [int(v) for v in (pads if given is None else given)]
        if axes is not None or len(amounts) != 8 or any(amounts[i] for i in (0, 1, 4, 5)):
            raise ModelError(f"expected padding of height and width, got {amounts}", "pad the picture alone")
        sides = (amounts[2], amounts[3], amounts[6], amounts[7])
        number = attributes.get("value", 0.0) if value is None else float(np.asarray(value).reshape(-1)[0])
        return self.zero_pad(x, sides, mode, number)

    OPS: ClassVar[dict[str, Callable[..., Any]]] = {
        "Conv": conv,
        "Gemm": gemm,
        "MatMul": matmul,
        "BatchNormalization": batch_norm,
        "Relu": Rules.relu,
        "Clip": clip,
        "HardSwish": Rules.hardswish,
        "HardSigmoid": hard_sigmoid,
        "Dropout": dropout,
        "Shape": shape,
        "Sigmoid": Rules.sigmoid,
        "Tanh": Rules.tanh,
        "PRelu": prelu,
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
        "Flatten": flat,
        "Reshape": reshape,
        "Squeeze": squeeze,
        "Pad": pad,
    }


def _computed(node: Any, inputs: list[Array | None], opsets: list[Any]) -> list[Array]:
    """The results of a node on constants, by ONNX's own reference."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = {name: v for name, v in zip(node.input, inputs, strict=True) if name and v is not None}
    graph = helper.make_graph(
        [node],
        "constants",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in given.items()],
        [helper.make_empty_tensor_value_info(n) for n in node.output],
    )
    return list(ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets)).run(None, given))


def load_model(path: Path) -> Any:
    """The ONNX model in a file. ModelError: it is not one."""
    import onnx

    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf raises errors of its own
        raise ModelError(f"{path}: cannot be read as ONNX: {error}", "export the model again") from error


def _input_shape(path: Path, image: Any) -> list[int]:
    dims = image.type.tensor_type.shape.dim
    # A batch without a number means one picture; height and width must be given.
    shape = [1 if i == 0 and not d.dim_value else int(d.dim_value) for i, d in enumerate(dims)]
    if 0 in shape:
        raise ModelError(
            f"{path}: expected a fixed height and width, got {[d.dim_param or d.dim_value for d in dims]}",
            "export with a fixed picture size",
        )
    return shape


def read_onnx(model: Any, path: Path) -> OnnxRules:
    """A model with one input (N, C, H, W) and one output -> its rules, every node read.

    ModelError: an operator has no rule. path: for messages.
    """
    from onnx import helper, numpy_helper

    constants = {t.name: np.asarray(numpy_helper.to_array(t)) for t in model.graph.initializer}
    images = [i for i in model.graph.input if i.name not in constants]
    if len(images) != 1 or len(model.graph.output) != 1:
        raise ModelError(
            f"{path}: expected one input and one output, got {len(images)} and {len(model.graph.output)}",
            "export the encoder alone",
        )
    rules = OnnxRules(_input_shape(path, images[0]), images[0].name, constants)
    for node in model.graph.node:
        inputs = [rules.values[name] if name else None for name in node.input]
        place = node.name or f"the node that computes {node.output[0]}"
        if not any(isinstance(v, Tensor) for v in inputs):
            try:
                found = _computed(node, inputs, list(model.opset_import))
            except Exception as error:  # the reference raises errors of many types
                raise ModelError(
                    f"ONNX operator {node.op_type} ({place}): cannot be computed from its constants: {error}",
                    "simplify the model first (onnxsim, or the exporter's constant folding)",
                ) from error
            rules.values.update(zip(node.output, map(np.asarray, found), strict=True))
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
        rules.read(node.output[0], node.op_type, place, *inputs, **attributes)
    return rules
