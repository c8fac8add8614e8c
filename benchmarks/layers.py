"""Processor time of each network by stage: the finder, the refiner, the landmark network and the encoder, one thread.

    python benchmarks/layers.py [ROUNDS] > benchmarks/results/layers.txt

LiteRT's Python interface has no profiler. So each network is cut off after every stage, a run of operators whose result has one
height and width, and the cuts run in turn. A stage takes what its cut takes more than the cut before: the operators of a cut are
those of the whole network, with the same kernels of XNNPACK, since no operator is changed.
"""

from __future__ import annotations

import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import headline

from edge_oneshot.model.bundle import SHIPPED, Role, find_bundle, read_bundle
from edge_oneshot.model.runtime import Runtime, import_runtime
from edge_oneshot.types import Float64Array

CONSTANT = ("DEQUANTIZE", "DENSIFY")  # of weights: XNNPACK runs them once, when it loads the network
LEAST = 4  # operators of a stage: a head of single operators is one stage
ROUNDS = 60


@dataclass(frozen=True, kw_only=True)
class Stage:
    """operators: how many from the start of the network to the end of this stage. shape: (H, W, C) of its result."""

    operators: int
    kinds: dict[str, int]
    shape: tuple[int, ...]
    result: int


def stages(model: bytes) -> list[Stage]:
    """The stages of a network in their order."""
    module: Any = import_runtime("auto")[1]
    interpreter = module.Interpreter(
        model_content=model, experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    shapes = {d["index"]: tuple(int(n) for n in d["shape"][1:]) for d in interpreter.get_tensor_details()}
    found: list[Stage] = []
    kinds: dict[str, int] = {}
    steps = [(n + 1, o["op_name"], int(o["outputs"][0])) for n, o in enumerate(interpreter._get_ops_details())]
    steps = [s for s in steps if s[1] not in CONSTANT]
    for at, (count, name, result) in enumerate(steps):
        kinds[name] = kinds.get(name, 0) + 1
        after = next((shapes[r][:2] for _, n, r in steps[at + 1 :] if "PAD" not in n), None)
        if after is None or (after != shapes[result][:2] and "PAD" not in name and sum(kinds.values()) >= LEAST):
            found.append(Stage(operators=count, kinds=kinds, shape=shapes[result], result=result))
            kinds = {}
    return found


def cut(model: bytes, stage: Stage) -> bytes:
    """The network up to the end of a stage: the vector of its operators made shorter, with one output.

    The layout is that of TFLite's schema: a table holds, at an offset for each field, the offset of a vector.
    """
    data = bytearray(model)

    def number(at: int) -> int:
        return int(struct.unpack_from("<I", data, at)[0])

    def vector(table: int, field: int) -> int:
        """Where the length of the vector of a field is."""
        fields = table - int(struct.unpack_from("<i", data, table)[0])
        at = table + int(struct.unpack_from("<H", data, fields + 4 + 2 * field)[0])
        return at + number(at)

    subgraphs = vector(number(0), 2)
    subgraph = subgraphs + 4 + number(subgraphs + 4)
    outputs, operators = vector(subgraph, 2), vector(subgraph, 3)
    struct.pack_into("<II", data, outputs, 1, stage.result)
    struct.pack_into("<I", data, operators, stage.operators)
    return bytes(data)


def measure(model: bytes, found: list[Stage], rounds: int) -> Float64Array:
    """Seconds of processor time of each cut, float64 (rounds, stages)."""
    cuts = [Runtime(cut(model, stage), "a cut") for stage in found]
    random = np.random.default_rng(0)
    tensor = cuts[0].inputs[0]
    value = random.integers(-128, 128, tensor.shape).astype(tensor.dtype)
    if tensor.dtype == np.float32:
        value /= np.float32(128)
    seconds = np.zeros((rounds, len(cuts)))
    for row in range(-3, rounds):
        for column, runtime in enumerate(cuts):
            runtime.input()[:] = value
            start = time.thread_time()
            runtime._interpreter.invoke()
            if row >= 0:
                seconds[row, column] = time.thread_time() - start
    return seconds


def main(rounds: int) -> None:
    print(headline(f"Processor time by stage, one thread; medians over {rounds} rounds in turn, in ms"))
    roles: tuple[Role, ...] = ("detector", "refiner", "landmarks", "encoder")
    for role in roles:
        bundle = read_bundle(find_bundle(SHIPPED[role] if role == "encoder" else "", role))
        found = stages(bundle.model)
        seconds = measure(bundle.model, found, rounds)
        whole, parts = np.median(seconds[:, -1]), np.median(np.diff(seconds, axis=1, prepend=0.0), axis=0)
        print(f"\n{bundle.card.name}: {whole * 1e3:.2f} ms, {len(bundle.model) / 1e6:.2f} MB")
        for stage, part in zip(found, parts, strict=True):
            shape = " x ".join(map(str, stage.shape))
            kinds = ", ".join(f"{count} {name}" for name, count in sorted(stage.kinds.items()))
            print(f"  {shape:16} {part * 1e3:7.2f} ms {100 * part / whole:5.1f} %  {kinds}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
