"""A second real face encoder for tests: the shipped network with its outputs in another order, which scores differently.

Its embeddings have the same norm and dimension, but score about 0 against those of the shipped encoder. It takes another
chip (its points are farther apart), sees no mirror image, and its card has thresholds of its own.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.flatbuffer import load, serialize
from converters.graph import Quantization
from edge_oneshot.model.bundle import Bundle, find_bundle, split, write_bundle
from edge_oneshot.recognition.checked import trust_made_here

NAME = "second-int8"
RISE = 0.03  # of every score at which a rate was measured


def write_second_encoder(path: Path, *, seed: int = 1) -> Bundle:
    """Write the bundle to `path`. Another seed gives another order of the outputs, and so another encoder_id."""
    shipped = find_bundle("", "encoder")
    graph = load(shipped)
    last = next(op for op in reversed(graph.ops) if op.kind == "CONV_2D")
    order = np.random.default_rng(seed).permutation(last.output.shape[-1])
    for tensor in (last.tensor(1), last.tensor(2)):
        assert tensor.quantization is not None
        tensor.data = np.ascontiguousarray(tensor.array[order])
        q = tensor.quantization
        tensor.quantization = Quantization(q.scale[order], q.zero_point[order], q.axis)
    bundle = write_bundle(path, serialize(graph), _card(shipped, order))
    trust_made_here(path)
    return bundle


def _card(shipped: Path, order: npt.NDArray[np.int64]) -> dict[str, Any]:
    card = copy.deepcopy(split(shipped.read_bytes(), shipped)[1])
    assert card is not None
    points, cohort = card["alignment"]["points"], card["cohort"]
    for name, (x, y) in points.items():
        points[name] = [56 + 0.96 * (x - 56), 72 + 0.96 * (y - 72)]
    card |= {"name": NAME, "mirror": False}
    card.pop("certificate")  # it is of another model
    if "no_rate" in card:
        card["no_rate"]["weights"] = [card["no_rate"]["weights"][i] for i in order]
    for part in (cohort, *cohort.get("groups", {}).values()):
        part["fmr_scores"] = [score + RISE for score in part["fmr_scores"]]
        part["gallery_scores"] = [[score + RISE for score in row] for row in part["gallery_scores"]]
        part["tail"]["from_score"] += RISE
        part["tail"]["fitted_to_score"] += RISE
    return card
