"""What is measured of one float graph: exactness against its source, and what int8 costs and gains."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.checks import check_int8, undelegated
from converters.convert import convert
from converters.flatbuffer import parse, serialize
from converters.graph import Array, Graph
from converters.litert import embed, interpreter

MEAN, STD = 127.5, 128.0
MOST_RELATIVE, LEAST_COSINE = 1e-4, 0.9999


def normalised(pictures: Array) -> Array:
    """uint8 (N, H, W, C) -> float32, as every network of the zoo takes them."""
    return ((pictures.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)).astype(np.float32)


def unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def cosines(a: Array, b: Array) -> Array:
    return np.asarray((unit(a) * unit(b)).sum(axis=1))


def apart(got: Array, expected: Array) -> tuple[float, float]:
    """(largest difference relative to the largest value of a result, least cosine) over all pictures."""
    error = np.abs(got - expected).max(axis=1) / np.maximum(np.abs(expected).max(axis=1), 1e-12)
    return float(error.max()), float(cosines(got, expected).min())


def is_exact(error: float, cosine: float) -> bool:
    return error <= MOST_RELATIVE and cosine >= LEAST_COSINE


def run_float(graph: Graph, pictures: Array) -> Array:
    """Results (N, D) of a float graph as it was read, for normalised pictures (N, H, W, C)."""
    runner = interpreter(serialize(graph))
    source, target = runner.get_input_details()[0]["index"], runner.get_output_details()[0]["index"]
    rows = []
    for picture in pictures:
        runner.set_tensor(source, picture[None])
        runner.invoke()
        rows.append(runner.get_tensor(target).reshape(-1))
    return np.stack(rows)


def processor_ms(model: bytes, runs: int = 8) -> float:
    """Least processor time of one inference, one thread: other work on the machine disturbs it little."""
    runner = interpreter(model)
    source = runner.get_input_details()[0]
    runner.set_tensor(source["index"], np.zeros(source["shape"], source["dtype"]))
    runner.invoke()
    times = []
    for _ in range(runs):
        start = time.process_time()
        runner.invoke()
        times.append(time.process_time() - start)
    return min(times) * 1e3


def quantised(graph: Graph, chips: Sequence[Array], probes: Array, expected: Array) -> dict[str, Any]:
    """Convert to int8 and compare with the source. chips, probes: uint8. ModelError: the device could not run it."""
    conversion = convert(graph, chips, [MEAN] * probes.shape[3], [STD] * probes.shape[3])
    reference = embed(conversion.reference, probes)
    if any("L2 normalisation" in line for line in conversion.passes):
        reference, expected = unit(reference), unit(expected)
    error, cosine = apart(reference, expected)
    check_int8(conversion.model)
    got = embed(conversion.model, probes)
    middle = expected.mean(axis=0)
    parts, left = undelegated(conversion.model)
    return {
        "passes": list(conversion.passes),
        "reference_error": error,
        "reference_cosine": cosine,
        "int8_cosine": float(cosines(got, expected).mean()),
        "int8_cosine_centred": float(cosines(got - middle, expected - middle).mean()),
        "operators": len(parse(conversion.model).ops),
        "partitions": parts,
        "undelegated": left,
        "float_ms": processor_ms(conversion.reference),
        "int8_ms": processor_ms(conversion.model),
        "bytes": len(conversion.model),
    }
