"""Runs a model on LiteRT for the converter: outputs, every inner tensor, delegated nodes, latency."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from converters.graph import Array
from edge_oneshot.errors import ModelError


def interpreter(model: bytes, threads: int = 1, keep_all: bool = False, delegates: bool = True) -> Any:
    """A LiteRT interpreter with its tensors allocated. keep_all: inner tensors stay readable after invoke().

    delegates: with XNNPACK, as on the device; otherwise LiteRT's own kernels.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # LiteRT warns that keep_all is for debugging
            found = Interpreter(
                model_content=model,
                num_threads=threads,
                experimental_preserve_all_tensors=keep_all,
                experimental_op_resolver_type=OpResolverType.AUTO
                if delegates
                else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        found.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"LiteRT cannot run the model: {error}", "check the operators of the source") from error
    return found


def invoke(runner: Any) -> None:
    """Run it once. ModelError: an operator fails, such as a division by zero in int8."""
    try:
        runner.invoke()
    except RuntimeError as error:
        raise ModelError(
            f"LiteRT fails while it runs the model: {(str(error).splitlines() or [''])[0]}",
            "the message names the operator; replace it in the network, or convert with another --reader",
        ) from error


def feed(pixels: Array, detail: dict[str, Any]) -> Array:
    """uint8 pixels (H, W, C) as the input tensor (1, H, W, C): int8 = pixel ^ 0x80, float = the pixel values."""
    if detail["dtype"] is np.int8:
        return (pixels ^ np.uint8(0x80)).view(np.int8)[None]
    return pixels[None].astype(np.float32)


def dequantize(values: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    return (values.astype(np.float32) - zero) * scale if scale else values.astype(np.float32)


def embed(model: bytes, chips: Iterable[Array], threads: int = 1, *, mirror: bool = False) -> Array:
    """Outputs (N, D) float32 of a batch-1 model, one for each uint8 chip (H, W, C).

    mirror: the sum of the unit outputs for the chip and for its mirror image, as on the device.
    """
    if mirror:
        chips = list(chips)
        plain, mirrored = (
            embed(model, views, threads) for views in (chips, [np.ascontiguousarray(c[:, ::-1]) for c in chips])
        )
        both = [v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-6) for v in (plain, mirrored)]
        return np.asarray(both[0] + both[1])
    runner = interpreter(model, threads)
    source, target = runner.get_input_details()[0], runner.get_output_details()[0]
    rows = []
    for chip in chips:
        runner.set_tensor(source["index"], feed(chip, source))
        invoke(runner)
        rows.append(dequantize(runner.get_tensor(target["index"]), target).reshape(-1))
    return np.stack(rows)


def activations(model: bytes, chips: Iterable[Array], threads: int = 1) -> Iterator[dict[str, Array]]:
    """For each chip the dequantized value of every tensor, by name. The arrays are copies."""
    runner = interpreter(model, threads, keep_all=True)
    source = runner.get_input_details()[0]
    details = [d for d in runner.get_tensor_details() if d["shape"].size]
    for chip in chips:
        runner.set_tensor(source["index"], feed(chip, source))
        invoke(runner)
        seen: dict[str, Array] = {}
        for d in details:
            try:
                seen[d["name"]] = dequantize(runner.get_tensor(d["index"]), d)
            except ValueError:  # a tensor that the delegate made has no data
                continue
        yield seen


def latency_ms(model: bytes, threads: int = 1, runs: int = 50) -> float:
    """Median wall time of invoke() in milliseconds after five warm-up runs."""
    runner = interpreter(model, threads)
    source = runner.get_input_details()[0]
    runner.set_tensor(source["index"], np.zeros(source["shape"], source["dtype"]))
    times = []
    for _ in range(runs + 5):
        start = time.perf_counter()
        invoke(runner)
        times.append(time.perf_counter() - start)
    return float(np.median(times[5:]) * 1e3)
