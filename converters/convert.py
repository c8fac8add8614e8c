"""Convert a float graph to a full int8 model that takes raw pixels, calibrated on chips. All sources use this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.flatbuffer import parse, serialize
from converters.graph import Array, Graph, Tensor
from converters.observe import observe
from converters.passes.bias import correct_biases
from converters.passes.equalise import equalise
from converters.passes.normalise import fold_normalisation
from converters.passes.prelu import recognise_prelu, rewrite_prelu
from converters.passes.structure import fix_batch, flatten_output, fold_batch_norm, remove_shape_arithmetic
from converters.quantise import ranges, to_int8


@dataclass(frozen=True)
class Conversion:
    """Three flatbuffers that take raw pixels and have the same tensor names.

    reference: float, the same function as the source. equalised: the same function, channels scaled for int8.
    model: the full int8 form. passes: the changes in order, in words.
    """

    reference: bytes
    equalised: bytes
    model: bytes
    passes: tuple[str, ...]


def convert(
    graph: Graph, chips: Sequence[Array], mean: Sequence[float] | None, std: Sequence[float] | None
) -> Conversion:
    """Edit `graph` in place and quantise it.

    graph: float, one input (N, H, W, C), one output. chips: uint8 (H, W, C), at least one.
    mean, std: the source takes (pixel - mean) / std per channel; None: it takes raw pixels.
    """
    done = ["batch 1, constant shapes"]
    fix_batch(graph)
    remove_shape_arithmetic(graph)
    flatten_output(graph)
    if folded := fold_batch_norm(graph):
        done.append(f"{folded} elementwise factors and offsets folded into convolutions")
    if recognised := recognise_prelu(graph):
        done.append(f"{recognised} PReLUs recognised")
    if replaced := rewrite_prelu(graph):
        done.append(f"{replaced} PReLUs as x + relu((a - 1) x)")
    keep: list[Tensor] = []
    if mean is not None and std is not None:
        fold_normalisation(graph, mean, std)
        keep = graph.consumers(graph.inputs[0])[0].outputs
        done.append("normalisation folded")
    reference = serialize(graph)
    stats, _ = observe(graph, chips)
    done.append(f"{equalise(graph, stats, keep)} groups of channels equalised")
    equalised = serialize(graph)
    stats, means = observe(graph, chips)
    done.append(f"{correct_biases(graph, means)} biases corrected")
    # Read and written again, which moves the constants into the flatbuffer, where every runtime finds them.
    model = serialize(parse(to_int8(graph, ranges(graph, stats))))
    return Conversion(reference, equalised, model, tuple(done))
