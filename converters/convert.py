"""Convert a float graph to a full int8 model that takes raw pixels, calibrated on chips. All sources use this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.flatbuffer import parse, serialize
from converters.graph import Array, Graph, Tensor
from converters.observe import observe
from converters.passes.activations import fuse, recognise_clamps, recognise_elu, rewrite_activations
from converters.passes.bias import correct_biases
from converters.passes.equalise import equalise
from converters.passes.int8 import use_int8_kernels
from converters.passes.layout import fold_flatten, sink_transposes, tidy_layout
from converters.passes.normalise import fold_normalisation
from converters.passes.padding import merge_padding
from converters.passes.pooling import rewrite_average_pools
from converters.passes.power import rewrite_powers
from converters.passes.prelu import recognise_prelu, rewrite_prelu
from converters.passes.structure import (
    depthwise_factors,
    fix_batch,
    flatten_output,
    fold_batch_norm,
    fold_forward,
    ordinary_convolutions,
    remove_shape_arithmetic,
)
from converters.passes.tail import remove_normalisation
from converters.quantise import ranges, to_int8

FOLDED = "normalisation folded"


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


def prepare(graph: Graph) -> list[str]:
    """Bring the graph into operators that int8 kernels take, keeping its float result. Returns the changes, in words."""
    done = ["batch 1, constant shapes"]
    fix_batch(graph)
    remove_shape_arithmetic(graph)
    if remove_normalisation(graph):
        done.append("final L2 normalisation removed: the comparator normalises")
    flatten_output(graph)
    steps: list[tuple[str, int]] = [
        ("ELUs recognised", recognise_elu(graph)),
        ("transposes and reshapes moved or removed", sink_transposes(graph) + tidy_layout(graph)),
        ("transposes folded into fully connected layers", fold_flatten(graph)),
        ("depthwise convolutions of one channel as ordinary ones", ordinary_convolutions(graph)),
        ("PReLUs recognised", recognise_prelu(graph)),
        ("clamps recognised as ReLU or ReLU6", recognise_clamps(graph)),
        ("paddings merged", merge_padding(graph)),
        ("powers as products or roots", rewrite_powers(graph)),
        *((f"{kind} as MUL, ADD or SUB", n) for kind, n in rewrite_activations(graph).items()),
        ("activations fused", fuse(graph)),
        ("elementwise factors and offsets folded into convolutions", fold_batch_norm(graph)),
        ("elementwise factors and offsets folded into the layers behind", fold_forward(graph)),
        ("elementwise factors as depthwise convolutions", depthwise_factors(graph)),
        ("PReLUs as x + relu((a - 1) x)", rewrite_prelu(graph)),
        ("average pools as means or depthwise convolutions", rewrite_average_pools(graph)),
    ]
    return done + [f"{count} {what}" for what, count in steps if count]


def convert(
    graph: Graph, chips: Sequence[Array], mean: Sequence[float] | None, std: Sequence[float] | None
) -> Conversion:
    """Edit `graph` in place and quantise it.

    graph: float, one input (N, H, W, C), one output. chips: uint8 (H, W, C), at least one.
    mean, std: the source takes (pixel - mean) / std per channel; None: it takes raw pixels.
    """
    done = prepare(graph)
    reference = parse(serialize(graph))
    keep: list[Tensor] = []
    if mean is not None and std is not None:
        fold_normalisation(reference, mean, std, exact=True)
        fold_normalisation(graph, mean, std)
        keep = graph.consumers(graph.inputs[0])[0].outputs
        done.append(FOLDED)
    stats, _ = observe(graph, chips)
    done.append(f"{equalise(graph, stats, keep)} groups of channels equalised")
    equalised = serialize(graph)
    stats, means = observe(graph, chips)
    done.append(f"{correct_biases(graph, means)} biases corrected")
    return Conversion(serialize(reference), equalised, int8_form(graph, ranges(graph, stats)), tuple(done))


def int8_form(graph: Graph, limits: dict[str, tuple[float, float]]) -> bytes:
    """The full int8 model of a graph that `convert` has prepared. limits: (lowest, highest) by activation."""
    # Read and written again, which moves the constants into the flatbuffer, where every runtime finds them.
    return serialize(use_int8_kernels(parse(to_int8(graph, limits))))
