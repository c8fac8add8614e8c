"""Read and write a graph as a TFLite flatbuffer, with the schema that ships with LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.graph import Graph, Op, Quantization, Tensor
from edge_oneshot.errors import ModelError

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


def _contents(buffer: Any, content: bytes) -> bytes | None:
    if buffer.offset > 1:  # the quantiser stores constants after the flatbuffer
        return content[buffer.offset : buffer.offset + buffer.size]
    data = buffer.data
    return None if data is None or len(data) == 0 else bytes(np.asarray(data, dtype=np.uint8))


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A constant inside the flatbuffer, aligned to 16 bytes as the TFLite schema demands (force_align: 16).

    Inside, because runtimes before 2.15 do not support offsets and because the bundle appends its card to the model.
    """

    def Pack(self, builder: Any) -> Any:  # noqa: N802  a name of the generated class
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
        raise ModelError(
            f"tensor {name}: expected a number type, got TFLite type {source.type}",
            "export without strings or resources",
        )
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
    """Read a TFLite flatbuffer with one subgraph. ModelError: not a TFLite file, damage, several subgraphs, custom ops."""
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise ModelError(
            f"{where}: expected a TFLite flatbuffer (TFL3), got {len(content)} other bytes", "give a .tflite file"
        )
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
    except Exception as error:  # the generated reader raises struct.error, IndexError, TypeError, ... on damage
        raise ModelError(
            f"{where}: the flatbuffer cannot be read: {error}", "the file is damaged: export it again"
        ) from error
    if len(model.subgraphs) != 1:
        raise ModelError(f"{where}: expected one subgraph, got {len(model.subgraphs)}", "export without control flow")
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
