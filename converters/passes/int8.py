"""int8 kernels of LiteRT that the quantiser does not know: it leaves such an operator in float between two conversions."""

from __future__ import annotations

import numpy as np

from converters.graph import Graph, Op, Tensor

# One input; the kernel looks results up in a table that it makes from the scales. Value: the version with int8.
TABLES = {"ELU": 1, "EXP": 2, "LOG": 2}


def use_int8_kernels(graph: Graph) -> Graph:
    """Let DEQUANTIZE, operator, QUANTIZE become the operator in int8. Returns the graph."""
    for op in list(graph.ops):
        if op.kind not in TABLES or op.output.dtype is not np.float32:
            continue
        source, targets = _stored(graph, op.tensor(0)), _quantised(graph, op.output)
        if source is None or len(targets) != 1 or op.output in graph.outputs:
            continue
        (target,) = targets
        op.inputs, op.outputs = [source], target.outputs
        op.version = TABLES[op.kind]
        graph.ops.remove(target)
    graph.prune()
    return graph


def _stored(graph: Graph, tensor: Tensor) -> Tensor | None:
    """The int8 tensor that DEQUANTIZE makes `tensor` from."""
    before = graph.producer(tensor)
    if before is None or before.kind != "DEQUANTIZE" or before.tensor(0).dtype is not np.int8:
        return None
    return before.tensor(0)


def _quantised(graph: Graph, tensor: Tensor) -> list[Op]:
    """The QUANTIZE operators that read `tensor`, if nothing else does."""
    behind = graph.consumers(tensor)
    return behind if all(op.kind == "QUANTIZE" and op.output.dtype is np.int8 for op in behind) else []
