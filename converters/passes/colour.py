"""Colour order: make a network that was trained on BGR take RGB."""

from __future__ import annotations

import numpy as np

from converters.graph import Graph
from converters.passes.linear import own_constants
from edge_oneshot.errors import ModelError


def bgr_to_rgb(graph: Graph) -> None:
    """Reverse the input channels of the first convolution's weights; exact. ModelError: the first layer is not a convolution."""
    x = graph.inputs[0]
    behind = graph.consumers(x)
    while len(behind) == 1 and behind[0].kind == "PAD":
        behind = graph.consumers(behind[0].output)
    if not behind or any(op.kind != "CONV_2D" for op in behind):
        raise ModelError(
            f"BGR: expected a convolution as the first layer, got {[op.kind for op in behind]}",
            "export the network with RGB input",
        )
    for op in behind:
        own_constants(graph, op)
        op.tensor(1).data = np.ascontiguousarray(op.tensor(1).array[..., ::-1])
