"""A float or int8 TFLite model as a small editable graph; every source is brought here, every pass works here.

The flatbuffer is read and written through the schema that ships with LiteRT, so no framework is needed. Tensors are
plain objects: an op holds its input and output tensors, a constant tensor holds its array. Names are unique.
Shapes and layouts are TFLite's: activations (N, H, W, C), CONV_2D weights (O, kh, kw, I), DEPTHWISE_CONV_2D weights
(1, kh, kw, C * multiplier), FULLY_CONNECTED weights (O, I).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_oneshot.errors import ModelError

Array = NDArray[Any]

_NO_INPUT = -1
_KIND_OF_CODE = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_CODE_OF_KIND = {k: v for v, k in _KIND_OF_CODE.items()}
_PLACEHOLDER = 127  # deprecatedBuiltinCode is a byte: codes above it live in builtinCode alone
_DTYPES: dict[int, Any] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.BOOL: np.bool_,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT8: np.int8,
}
_TYPE_OF_DTYPE = {np.dtype(v): k for k, v in _DTYPES.items()}


@dataclass(frozen=True)
class Quantization:
    """real = scale * (stored - zero_point); one entry per tensor, or one per slice along `axis`."""

    scale: Array  # float32 (1,) or (channels,)
    zero_point: Array  # int64, same shape
    axis: int = 0


@dataclass(eq=False)
class Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: Any = np.float32
    data: Array | None = None
    quantization: Quantization | None = None
    dynamic: bool = False  # the file says -1 somewhere in the shape signature

    @property
    def array(self) -> Array:
        if self.data is None:
            raise ModelError(f"tensor {self.name}: expected a constant, got an activation")
        return self.data


@dataclass(eq=False)
class Op:
    """kind: the schema's name, such as CONV_2D. options: the schema's option table, or None."""

    kind: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: Any = None
    version: int = 1

    def tensor(self, index: int) -> Tensor:
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise ModelError(f"{self.kind} {self.outputs[0].name}: expected an input at position {index}, got none")
        return found

    def optional(self, index: int) -> Tensor | None:
        return self.inputs[index] if index < len(self.inputs) else None

    @property
    def output(self) -> Tensor:
        return self.outputs[0]


@dataclass(eq=False)
class Graph:
    inputs: list[Tensor]
    outputs: list[Tensor]
    ops: list[Op] = field(default_factory=list)
    description: str = "edge-oneshot"

    def producer(self, tensor: Tensor) -> Op | None:
        return next((op for op in self.ops if any(t is tensor for t in op.outputs)), None)

    def consumers(self, tensor: Tensor) -> list[Op]:
        return [op for op in self.ops if any(t is tensor for t in op.inputs)]

    def tensors(self) -> list[Tensor]:
        """Every tensor once: inputs first, then in the order of the ops."""
        seen: dict[int, Tensor] = {id(t): t for t in self.inputs}
        for op in self.ops:
            for t in (*op.inputs, *op.outputs):
                if t is not None:
                    seen.setdefault(id(t), t)
        for t in self.outputs:
            seen.setdefault(id(t), t)
        return list(seen.values())

    def unique_name(self, stem: str) -> str:
        taken = {t.name for t in self.tensors()}
        if stem not in taken:
            return stem
        return next(name for i in range(1, len(taken) + 2) if (name := f"{stem}_{i}") not in taken)

    def constant(self, stem: str, data: Array) -> Tensor:
        return Tensor(self.unique_name(stem), tuple(data.shape), data.dtype.type, np.ascontiguousarray(data))

    def replace_input(self, old: Tensor, new: Tensor, skip: Iterable[Op] = ()) -> None:
        """Let every consumer of `old` (and the graph's outputs) read `new`, except the ops in `skip`."""
        skipped = {id(op) for op in skip}
        for op in self.ops:
            if id(op) not in skipped:
                op.inputs = [new if t is old else t for t in op.inputs]
        self.outputs = [new if t is old else t for t in self.outputs]

    def insert_after(self, anchor: Op | None, op: Op) -> None:
        self.ops.insert(0 if anchor is None else self.ops.index(anchor) + 1, op)

    def prune(self) -> None:
        """Drop ops whose results nobody reads."""
        while True:
            read = {id(t) for op in self.ops for t in op.inputs if t is not None} | {id(t) for t in self.outputs}
            kept = [op for op in self.ops if any(id(t) in read for t in op.outputs)]
            if len(kept) == len(self.ops):
                return
            self.ops = kept

    @property
    def is_quantized(self) -> bool:
        return any(t.dtype is np.int8 for t in self.tensors())


def _contents(buffer: Any, content: bytes) -> bytes | None:
    if buffer.offset > 1:  # the quantiser stores constants behind the flatbuffer
        return content[buffer.offset : buffer.offset + buffer.size]
    data = buffer.data
    return None if data is None or len(data) == 0 else bytes(np.asarray(data, dtype=np.uint8))


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A constant inside the flatbuffer, aligned to 16 bytes as the TFLite schema demands (force_align: 16).

    Inside, because runtimes before 2.15 know no offsets and because the bundle appends its card behind the model.
    """

    def Pack(self, builder: Any) -> Any:  # noqa: N802  the generated class names it so
        data = bytes(self.data)
        builder.StartVector(1, len(data), 16)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def _read_tensor(source: Any, buffers: list[Any], content: bytes, name: str) -> Tensor:
    if source.type not in _DTYPES:
        raise ModelError(f"tensor {name}: expected a number type, got TFLite type {source.type}")
    dtype = _DTYPES[source.type]
    shape = tuple(int(n) for n in source.shape) if source.shape is not None else ()
    raw = _contents(buffers[source.buffer], content)
    data = None
    if raw is not None:
        expected = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if len(raw) != expected:
            raise ModelError(
                f"tensor {name}: expected {expected} bytes for shape {shape}, got {len(raw)}",
                "the file is damaged: convert it again",
            )
        data = np.frombuffer(raw, dtype=dtype).reshape(shape).copy()
    quantization = None
    q = source.quantization
    if q is not None and q.scale is not None and len(q.scale):
        scale = np.asarray(q.scale, np.float32)
        zero = np.asarray(q.zeroPoint if q.zeroPoint is not None else np.zeros(len(scale)), np.int64)
        quantization = Quantization(scale, zero, int(q.quantizedDimension))
    dynamic = source.shapeSignature is not None and any(int(n) < 0 for n in source.shapeSignature)
    return Tensor(name, shape, dtype, data, quantization, dynamic)


def parse(content: bytes, where: str = "model") -> Graph:
    """Read a TFLite flatbuffer with one subgraph. ModelError: not a TFLite file, several subgraphs, custom ops."""
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise ModelError(
            f"{where}: expected a TFLite flatbuffer (TFL3), got {len(content)} bytes of something else",
            "give a .tflite file",
        )
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
    except Exception as error:  # the generated reader raises struct.error, IndexError, TypeError, ... on damage
        raise ModelError(f"{where}: the flatbuffer cannot be read: {error}", "the file is damaged") from error
    if len(model.subgraphs) != 1:
        raise ModelError(
            f"{where}: expected one subgraph, got {len(model.subgraphs)}",
            "models with control flow cannot become a bundle",
        )
    sub = model.subgraphs[0]
    tensors: list[Tensor] = []
    taken: set[str] = set()
    for i, source in enumerate(sub.tensors):
        name = source.name.decode() if isinstance(source.name, bytes) else str(source.name or "")
        if not name or name in taken:
            name = f"{name or 'tensor'}__{i}"
        taken.add(name)
        tensors.append(_read_tensor(source, model.buffers, content, name))
    ops: list[Op] = []
    for source in sub.operators or []:
        code = model.operatorCodes[source.opcodeIndex]
        number = max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
        kind = _KIND_OF_CODE.get(number, f"code {number}")
        if kind == "CUSTOM":
            raise ModelError(
                f"{where}: expected built-in operators, got custom operator {code.customCode!r}",
                "export the model without custom or Flex operators",
            )
        ops.append(
            Op(
                kind,
                [None if i == _NO_INPUT else tensors[i] for i in source.inputs],
                [tensors[i] for i in source.outputs],
                source.builtinOptions,
                int(code.version),
            )
        )
    return Graph([tensors[i] for i in sub.inputs], [tensors[i] for i in sub.outputs], ops)


def load(path: Path | str) -> Graph:
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}", "give an existing .tflite file") from error
    return parse(content, str(path))


def _write_quantization(q: Quantization) -> Any:
    out = schema.QuantizationParametersT()
    out.scale, out.zeroPoint, out.quantizedDimension = q.scale.astype(np.float32), q.zero_point.astype(np.int64), q.axis
    return out


def serialize(graph: Graph) -> bytes:
    """The graph as a TFLite flatbuffer. The same graph gives the same bytes."""
    model, sub = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = 3, graph.description
    model.buffers, model.operatorCodes = [schema.BufferT()], []
    sub.name, sub.tensors, sub.operators = "main", [], []
    index: dict[int, int] = {}
    for t in graph.tensors():
        out = schema.TensorT()
        out.name, out.shape = t.name, np.asarray(t.shape, np.int32)
        out.type, out.hasRank = _TYPE_OF_DTYPE[np.dtype(t.dtype)], True
        if t.data is not None:
            buffer = _Buffer()
            buffer.data = np.ascontiguousarray(t.data, t.dtype).tobytes()
            out.buffer = len(model.buffers)
            model.buffers.append(buffer)
        else:
            out.buffer = 0
        if t.quantization is not None:
            out.quantization = _write_quantization(t.quantization)
        index[id(t)] = len(sub.tensors)
        sub.tensors.append(out)
    codes: dict[tuple[str, int], int] = {}
    for op in graph.ops:
        key = (op.kind, op.version)
        if key not in codes:
            code = schema.OperatorCodeT()
            code.builtinCode = _CODE_OF_KIND[op.kind]
            code.deprecatedBuiltinCode = min(code.builtinCode, _PLACEHOLDER)
            code.version = op.version
            codes[key] = len(model.operatorCodes)
            model.operatorCodes.append(code)
        out = schema.OperatorT()
        out.opcodeIndex = codes[key]
        out.inputs = np.asarray([_NO_INPUT if t is None else index[id(t)] for t in op.inputs], np.int32)
        out.outputs = np.asarray([index[id(t)] for t in op.outputs], np.int32)
        if op.options is not None:
            out.builtinOptions = op.options
            out.builtinOptionsType = getattr(schema.BuiltinOptions, type(op.options).__name__.removesuffix("T"))
        sub.operators.append(out)
    sub.inputs = np.asarray([index[id(t)] for t in graph.inputs], np.int32)
    sub.outputs = np.asarray([index[id(t)] for t in graph.outputs], np.int32)
    model.subgraphs = [sub]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
