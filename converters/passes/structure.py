"""Structure: batch 1, constant shapes, batch normalisation folded into the convolution before it."""

from __future__ import annotations

import numpy as np

from converters.graph import Array, Graph, Op, Tensor
from converters.passes.linear import (
    NONE,
    activation_of,
    is_linear,
    options,
    own_constants,
    scale_input,
    scale_output,
    shift_input,
)
from edge_oneshot.errors import ModelError


def fix_batch(graph: Graph, batch: int = 1) -> None:
    """Set the first dimension of every activation to `batch`, also in the constant shapes of RESHAPE.

    Batching is not faster on the CPU of a device, and XNNPACK cannot resize a static model.
    """
    old = {t.shape[0] for t in graph.inputs if t.shape}
    if len(old) != 1:
        raise ModelError(f"inputs: expected one batch size, got {sorted(old)}")
    (before,) = old
    for op in graph.ops:
        if op.kind == "RESHAPE":
            _fix_reshape(graph, op, before, batch)
    for t in graph.tensors():
        if t.data is None and t.shape and t.shape[0] == before:
            t.shape, t.dynamic = (batch, *t.shape[1:]), False


def _fix_reshape(graph: Graph, op: Op, before: int, batch: int) -> None:
    shape = op.optional(1)
    if shape is None or shape.data is None or op.output.shape[:1] != (before,):
        return
    target = [batch, *op.output.shape[1:]]
    op.inputs[1] = graph.constant(shape.name + "_batch", np.asarray(target, np.int32))
    op.options = options("ReshapeOptions", newShape=np.asarray(target, np.int32))


def remove_shape_arithmetic(graph: Graph) -> None:
    """Replace shapes that are computed at run time (SHAPE, STRIDED_SLICE, PACK, ...) by constants.

    With a fixed batch every shape is known, so the target of a RESHAPE is the shape of its output.
    """
    for op in graph.ops:
        if op.kind == "RESHAPE" and (target := op.optional(1)) is not None and target.data is None:
            shape = np.asarray(op.output.shape, np.int32)
            op.inputs[1] = graph.constant(op.output.name + "_shape", shape)
            op.options = options("ReshapeOptions", newShape=shape)
    graph.prune()


def flatten_output(graph: Graph) -> None:
    """Give the result the shape (1, D): a 1x1 map, as convolutional heads have it, gets a RESHAPE."""
    out = graph.outputs[0]
    if len(out.shape) == 2:
        return
    size = int(np.prod(out.shape[1:]))
    if max(out.shape[1:]) != size:
        raise ModelError(
            f"output {out.name}: expected one vector (1, D), got shape {out.shape}",
            "end the network in a global pooling or a fully connected layer",
        )
    flat = Tensor(graph.unique_name("embedding"), (out.shape[0], size), out.dtype)
    shape = graph.constant("embedding_shape", np.asarray(flat.shape, np.int32))
    graph.ops.append(Op("RESHAPE", [out, shape], [flat], options("ReshapeOptions", newShape=shape.array)))
    graph.outputs = [flat]


def _channel_constant(op: Op, x: Tensor) -> Tensor | None:
    """The constant operand of an elementwise op, if it is one value per channel (or one in all)."""
    other = op.tensor(1) if op.tensor(0) is x else op.tensor(0)
    if other.data is None or other.array.size not in (1, x.shape[-1]):
        return None
    return other if other.array.size == 1 or other.shape[-1] == x.shape[-1] else None


def fold_batch_norm(graph: Graph) -> int:
    """Fold MUL and ADD/SUB by a constant per channel into the convolution before; exact up to float rounding.

    A batch normalisation in inference is y = x * gamma / sqrt(var + eps) + rest; exporters write it as MUL and ADD.
    """
    folded, changed = 0, True
    while changed:
        changed = False
        for op in list(graph.ops):
            if op.kind not in ("MUL", "ADD", "SUB") or (op.output in graph.outputs and activation_of(op) != NONE):
                continue
            x = next((t for t in op.inputs if t is not None and t.data is None), None)
            if x is None or (op.kind == "SUB" and op.tensor(0) is not x):
                continue
            before, constant = graph.producer(x), _channel_constant(op, x)
            if (
                constant is None
                or before is None
                or not is_linear(before)
                or activation_of(before) != NONE
                or len(graph.consumers(x)) != 1
                or x in graph.outputs
            ):
                continue
            value = np.broadcast_to(constant.array.reshape(-1), (x.shape[-1],)).astype(np.float32)
            if op.kind == "MUL":
                scale_output(graph, before, value)
            else:
                own_constants(graph, before)
                bias = before.tensor(2)
                bias.data = (bias.array + (value if op.kind == "ADD" else -value)).astype(np.float32)
            before.options.fusedActivationFunction = activation_of(op)
            before.outputs = [op.output]
            graph.ops.remove(op)
            changed = True
            folded += 1
    graph.prune()
    return folded


def fold_forward(graph: Graph) -> int:
    """Fold MUL and ADD/SUB by a constant per channel into the layers behind, where padding does not forbid it.

    A layer normalisation ends so, and a batch normalisation before a convolution. Returns the number folded.
    """
    count, changed = 0, True
    while changed:
        changed = False
        for op in reversed(list(graph.ops)):
            found = _affine(op)
            behind = graph.consumers(op.output)
            if found is None or not behind or op.output in graph.outputs or activation_of(op) != NONE:
                continue
            x, value = found
            if not all(is_linear(c) and c.tensor(0) is op.output for c in behind):
                continue
            if op.kind != "MUL" and any(_pads(c) for c in behind):
                continue
            for reader in behind:
                if op.kind == "MUL":
                    scale_input(graph, reader, value)
                else:
                    shift_input(graph, reader, value if op.kind == "ADD" else -value)
                reader.inputs[0] = x
            graph.ops.remove(op)
            count, changed = count + 1, True
    return count


def _affine(op: Op) -> tuple[Tensor, Array] | None:
    """(activation, constant by channel) of a MUL, ADD or SUB by a constant per channel."""
    if op.kind not in ("MUL", "ADD", "SUB"):
        return None
    x = next((t for t in op.inputs if t is not None and t.data is None), None)
    if x is None or x.shape != op.output.shape or (op.kind == "SUB" and op.tensor(0) is not x):
        return None
    constant = _channel_constant(op, x)
    if constant is None:
        return None
    return x, np.broadcast_to(constant.array.reshape(-1), (x.shape[-1],)).astype(np.float32)


def _pads(op: Op) -> bool:
    return op.kind != "FULLY_CONNECTED" and op.options.padding == 0 and op.tensor(1).shape[1:3] != (1, 1)


def depthwise_factors(graph: Graph) -> int:
    """MUL by a constant per channel of a map becomes a depthwise 1x1 convolution, with the ADD or SUB behind it.

    int8 gives a convolution a scale per channel, and a constant tensor one scale for all. Returns their number.
    """
    count = 0
    for op in list(graph.ops):
        found = _affine(op) if op.kind == "MUL" and len(op.output.shape) == 4 else None
        if found is None or np.ptp(found[1]) == 0:
            continue
        x, factor = found
        offset, out, fused = np.zeros_like(factor), op.output, activation_of(op)
        behind = graph.consumers(out)
        add = _affine(behind[0]) if len(behind) == 1 and fused == NONE and out not in graph.outputs else None
        if add is not None and behind[0].kind != "MUL":
            offset = add[1] if behind[0].kind == "ADD" else -add[1]
            out, fused = behind[0].output, activation_of(behind[0])
            graph.ops.remove(behind[0])
        weights = graph.constant(out.name + "_factor", factor.reshape(1, 1, 1, -1))
        bias = graph.constant(out.name + "_offset", offset.astype(np.float32))
        fields = {"padding": 1, "strideH": 1, "strideW": 1, "depthMultiplier": 1, "fusedActivationFunction": fused}
        table = options("DepthwiseConv2DOptions", dilationHFactor=1, dilationWFactor=1, **fields)
        graph.ops[graph.ops.index(op)] = Op("DEPTHWISE_CONV_2D", [x, weights, bias], [out], table)
        count += 1
    return count


def ordinary_convolutions(graph: Graph) -> int:
    """A depthwise convolution of one channel becomes an ordinary one, which it is. Returns their number."""
    count = 0
    for op in graph.ops:
        if op.kind != "DEPTHWISE_CONV_2D" or op.tensor(0).shape[3] != 1 or op.tensor(1).data is None:
            continue
        weights, o = op.tensor(1), op.options
        op.kind = "CONV_2D"
        op.inputs[1] = graph.constant(weights.name + "_ordinary", weights.array.transpose(3, 1, 2, 0))
        op.options = options(
            "Conv2DOptions",
            padding=o.padding,
            strideH=o.strideH,
            strideW=o.strideW,
            dilationHFactor=o.dilationHFactor,
            dilationWFactor=o.dilationWFactor,
            fusedActivationFunction=o.fusedActivationFunction,
        )
        count += 1
    return count
