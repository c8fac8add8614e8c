"""Quantise a float graph to full int8: ai-edge-quantizer with ranges chosen here."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np

from converters.flatbuffer import serialize
from converters.graph import Graph, Tensor
from converters.passes.equalise import ChannelStats
from edge_oneshot.errors import ModelError

SAME_SCALE = (
    "MAXIMUM", "MINIMUM", "RESHAPE", "TRANSPOSE", "MAX_POOL_2D", "AVERAGE_POOL_2D", "CONCATENATION", "PAD", "SLICE",
    "STRIDED_SLICE", "SPLIT", "GATHER",
)  # fmt: skip
_LEAST_SUM = 2.0**-16  # range of a sum over the widest range of its operands


def ranges(graph: Graph, stats: dict[str, ChannelStats]) -> dict[str, tuple[float, float]]:
    """(lowest, highest) per activation. The input is raw pixels: 0 to 255, hence scale 1 and zero point -128.

    Inputs and output of ops whose int8 kernels need one scale share the union of their ranges, so that nothing is rescaled.
    """
    found = {
        t.name: (float(stats[t.name].low.min()), float(stats[t.name].high.max()))
        for t in graph.tensors()
        if t.data is None and t.name in stats
    }
    for op in graph.ops:
        for t in op.outputs:
            if not np.isfinite(found.get(t.name, (0.0, 0.0))).all():
                raise ModelError(
                    f"{op.kind} {t.name}: expected finite values on the calibration pictures, got {found[t.name]}",
                    "check --mean and --std, and that the float network gives numbers for these pictures",
                )
        if op.kind in ("ADD", "SUB") and op.output.name in found:
            # Their kernels refuse a result that is smaller than an operand by 2^19, such as x - x.
            least = _LEAST_SUM * max((np.ptp(found[t.name]) for t in op.inputs if t and t.name in found), default=0.0)
            low, high = found[op.output.name]
            found[op.output.name] = (min(low, -float(least)), max(high, float(least)))
    for t in graph.inputs:
        found[t.name] = (0.0, 255.0)
        for op in graph.consumers(
            t
        ):  # the folded normalisation: its range is known, so it does not depend on the pictures
            if op.kind == "DEPTHWISE_CONV_2D" and op.tensor(1).shape[1:3] == (1, 1) and op.output.name in found:
                ends = op.tensor(1).array.reshape(-1) * np.array([[0.0], [255.0]]) + op.tensor(2).array
                found[op.output.name] = (float(ends.min()), float(ends.max()))
    changed = True
    while changed:
        changed = False
        for op in graph.ops:
            if op.kind in SAME_SCALE:
                tied: list[Tensor] = [t for t in (*op.inputs, *op.outputs) if t is not None and t.name in found]
                union = (min(found[t.name][0] for t in tied), max(found[t.name][1] for t in tied))
                changed = changed or any(found[t.name] != union for t in tied)
                found.update({t.name: union for t in tied})
    return found


def to_int8(graph: Graph, limits: dict[str, tuple[float, float]]) -> bytes:
    """Full int8 with a weight scale per output channel; input and output int8. Same graph, same bytes."""
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError as error:
        raise ModelError(
            "quantising needs ai-edge-quantizer, which is not installed", "pip install edge-oneshot-convert"
        ) from error
    worker = quantizer.Quantizer(bytearray(serialize(graph)), recipe.static_wi8_ai8())
    ranks = {t.name: len(t.shape) for t in graph.tensors()}
    qsv = {
        name: {
            "min": np.full((1,) * ranks[name], low, np.float32),
            "max": np.full((1,) * ranks[name], high, np.float32),
        }
        for name, (low, high) in limits.items()
    }
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # it draws progress bars
        warnings.simplefilter("ignore")
        try:
            return bytes(worker.quantize(qsv, enable_progress_bar=False, enable_progress_report=False).quantized_model)
        except (ValueError, RuntimeError, KeyError, IndexError) as error:
            kinds = sorted({op.kind for op in graph.ops})
            raise ModelError(
                f"ai-edge-quantizer cannot quantise the network: {error} (operators: {', '.join(kinds)})",
                "convert with another --reader, or export without the operator that the message names",
            ) from error
