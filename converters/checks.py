"""Checks before and after quantisation: can this model become a bundle for the device?"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.flatbuffer import parse
from converters.graph import Array, Graph
from converters.litert import feed, interpreter, invoke
from edge_oneshot.errors import ModelError

LINEAR = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
FEW = 4096  # values that an operator may compute in float: as a root behind a pooling, they cost microseconds
_REEXPORT = "export the network again with one float image input and one vector output"


def check_source(graph: Graph, channels: int) -> tuple[int, int]:
    """Check a float network. Returns (width, height) of its input in px. ModelError: it cannot be converted."""
    if len(graph.inputs) != 1:
        raise ModelError(
            f"inputs: expected one image, got {len(graph.inputs)}: {[t.name for t in graph.inputs]}", _REEXPORT
        )
    if len(graph.outputs) != 1:
        raise ModelError(
            f"outputs: expected one vector, got {len(graph.outputs)}: {[t.name for t in graph.outputs]}", _REEXPORT
        )
    x, y = graph.inputs[0], graph.outputs[0]
    if graph.is_quantized or x.dtype is not np.float32:
        raise ModelError(
            f"input {x.name}: expected float32, got {np.dtype(x.dtype).name}: the certificate compares "
            "with the float model",
            "give the float model",
        )
    if len(x.shape) != 4:
        raise ModelError(
            f"input {x.name}: expected four dimensions (batch, height, width, channels), got {x.shape}", _REEXPORT
        )
    if x.shape[3] != channels:
        hint = "the layout is (batch, height, width, channels)" if x.shape[1] == channels else "check --colour"
        raise ModelError(f"input {x.name}: expected {channels} channels last, got shape {x.shape}", hint)
    if min(x.shape[1:3]) < 8 or (x.dynamic and 1 in x.shape[1:3]):
        raise ModelError(
            f"input {x.name}: expected a fixed height and width of at least 8 px, got {x.shape}"
            f"{' with dynamic dimensions' if x.dynamic else ''}",
            "export with a fixed picture size",
        )
    if not y.shape or int(np.prod(y.shape[1:])) < 2:
        raise ModelError(f"output {y.name}: expected one vector (1, D) with D >= 2, got {y.shape}", _REEXPORT)
    return int(x.shape[2]), int(x.shape[1])


def check_int8(model: bytes) -> None:
    """Check a model for the device: int8 in and out, raw pixels, a scale per channel, float for few values. ModelError."""
    graph = parse(model)
    x, y = graph.inputs[0], graph.outputs[0]
    for t, role in ((x, "input"), (y, "output")):
        if t.dtype is not np.int8 or t.quantization is None:
            raise ModelError(
                f"{role} {t.name}: expected int8, got {np.dtype(t.dtype).name}: the device would convert "
                "floats at every frame",
                "quantise inputs and outputs too",
            )
    assert x.quantization is not None
    if float(x.quantization.scale[0]) != 1.0 or int(x.quantization.zero_point[0]) != -128:
        raise ModelError(
            f"input {x.name}: expected raw pixels (scale 1, zero point -128), got scale "
            f"{float(x.quantization.scale[0]):g}, zero point {int(x.quantization.zero_point[0])}",
            "fold the normalisation into the graph",
        )
    for op in graph.ops:
        if op.kind in LINEAR:
            weights = op.tensor(1)
            if op.tensor(0).dtype is np.float32 and weights.dtype is np.int8:
                raise ModelError(
                    f"{op.kind} {op.output.name}: expected int8 activations, got dynamic-range "
                    "quantisation, which computes scales at every frame",
                    "quantise with calibration",
                )
            outputs = weights.shape[3 if op.kind == "DEPTHWISE_CONV_2D" else 0]
            scales = 0 if weights.quantization is None else len(weights.quantization.scale)
            if weights.dtype is not np.int8 or scales != outputs:
                raise ModelError(
                    f"{op.kind} {op.output.name}: expected int8 weights with {outputs} scales, one per "
                    f"channel, got {np.dtype(weights.dtype).name} with {scales}: per-tensor scales cost a "
                    "face encoder most of its accuracy",
                    "quantise per channel",
                )
    large = [name for name, values in float_operators(graph).items() if values > FEW]
    if large:
        raise ModelError(
            f"expected int8 throughout, got {len(large)} float operators on more than {FEW} values: "
            f"{', '.join(large[:5])}",
            "replace them in the network with operators that have an int8 kernel, such as ReLU, hard-swish or SiLU",
        )


def float_operators(graph: Graph) -> dict[str, int]:
    """The operators of an int8 graph that compute in float, as "KIND name", with their largest number of values."""
    found = {}
    for op in graph.ops:
        used = [t for t in (*op.inputs, *op.outputs) if t is not None and t.dtype is np.float32 and t.data is None]
        if used and op.kind not in ("QUANTIZE", "DEQUANTIZE"):
            found[f"{op.kind} {op.output.name}"] = max(int(np.prod(t.shape)) for t in used)
    return found


def undelegated(model: bytes) -> tuple[int, list[str]]:
    """(number of XNNPACK partitions, operators that run on the slow built-in kernels, as "KIND name")."""
    runner = interpreter(model)
    names: dict[int, str] = {d["index"]: d["name"] for d in runner.get_tensor_details()}
    nodes: list[dict[str, Any]] = runner._get_ops_details()
    own = [n for n in nodes if n["op_name"] != "DELEGATE"]
    parts = [n for n in nodes if n["op_name"] == "DELEGATE"]
    if not parts:
        return 0, [f"{n['op_name']} {names[int(n['outputs'][0])]}" for n in own]
    # A partition contains what its outputs need, up to its inputs.
    maker = {int(t): n for n in own for t in n["outputs"]}
    inside: set[int] = set()
    for part in parts:
        taken = {int(t) for t in part["inputs"]}
        waiting = [int(t) for t in part["outputs"]]
        while waiting:
            node = maker.get(waiting.pop())
            if node is not None and node["index"] not in inside:
                inside.add(node["index"])
                waiting += [int(t) for t in node["inputs"] if int(t) not in taken]
    return len(parts), [f"{n['op_name']} {names[int(n['outputs'][0])]}" for n in own if n["index"] not in inside]


def try_run(model: bytes, chip: Array, dimension: int) -> Array:
    """Run the model on LiteRT once; its int8 output (D,). ModelError if it does not give one int8 vector (1, D)."""
    runner = interpreter(model)
    source, target = runner.get_input_details()[0], runner.get_output_details()[0]
    runner.set_tensor(source["index"], feed(chip, source))
    invoke(runner)
    out = runner.get_tensor(target["index"])
    if out.dtype != np.int8 or out.shape != (1, dimension):
        raise ModelError(f"output: expected int8 (1, {dimension}) from LiteRT, got {out.dtype} {out.shape}", _REEXPORT)
    return np.asarray(out[0])
