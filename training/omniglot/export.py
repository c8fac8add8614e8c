"""A checkpoint becomes the bundle of the device: float graph, int8, thresholds and probabilities, card."""

from __future__ import annotations

import hashlib
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from converters.calibration import observe
from converters.graph import Array, Graph, parse, serialize
from converters.passes.bias import correct_biases
from converters.passes.equalise import equalise
from converters.quantise import ranges, to_int8
from edge_oneshot.bundle import Bundle, read_bundle, write_bundle
from edge_oneshot.encoder import TwinEncoder
from training.omniglot.calibrate import all_scores, platt, thresholds
from training.omniglot.data import Drawings, pack, resized
from training.omniglot.device import embed
from training.omniglot.evaluate import open_set, run_scores
from training.omniglot.graph import float_graph
from training.omniglot.split import alphabets
from training.omniglot.train import Model, TrainConfig, load
from training.omniglot.trials import run_indices

TOOLS = ("ai-edge-quantizer", "ai-edge-litert", "torch", "numpy", "pillow")
CALIBRATION = 200  # drawings; ten serve about as well


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def base_card(model: Model, config: TrainConfig, comparator: str, digests: dict[str, str]) -> dict[str, Any]:
    """The card without what has to be measured."""
    side = int(model.encoder.side_px)
    head = model.head
    weighted = {
        "kind": "weighted-l1",
        "weights": [round(float(w), 8) for w in head.weights.detach()],
        "bias": round(float(head.bias.detach()), 6),
    }
    return {
        "card": 1,
        "kind": "encoder",
        "name": f"omniglot-{config.network}-int8",
        "version": "1.0.0",
        "description": "Hand-drawn characters and simple line pictures, dark on light, one to a frame: one-shot recognition "
        "without a detector. Twin network after Koch, Zemel, Salakhutdinov 2015, made for int8.",
        "input": {
            "width_px": side,
            "height_px": side,
            "channels": 1,
            "colour": "L",
            # (pixel - 255) / -255 is the share of ink; stated with a positive divisor, the sign is in the weights
            "normalisation": {"mean": [255.0], "std": [255.0]},
        },
        "regions": "frame",
        "alignment": None,
        "output": {"dimension": int(model.encoder.dimension)},
        "comparator": weighted if comparator == "weighted-l1" else {"kind": "cosine"},
        "thresholds": None,
        "probability": None,
        "certificate": None,
        "provenance": {
            "source": "trained from scratch by training/omniglot",
            "licence": "Apache-2.0",
            "training_data": "Omniglot background set (Lake, Salakhutdinov, Tenenbaum 2015, MIT): " + ", ".join(
                name for part in config.parts for name in alphabets(part)
            ),
            "notice": "Trained on the Omniglot data set, copyright 2015 Brenden Lake, MIT licence.",
            "tools": {name: version(name) for name in TOOLS},
            "digests": digests,
        },
    }


def quantised(graph: Graph, chips: Array) -> bytes:
    """The converter's path without its normalisation pass: this graph takes raw pixels already. Edits ``graph``.

    chips: uint8 (N, side, side, 1).
    """
    stats, _ = observe(graph, chips)
    equalise(graph, stats)
    stats, means = observe(graph, chips)
    correct_biases(graph, means)
    return serialize(parse(to_int8(graph, ranges(graph, stats))))


def export(checkpoint: Path, drawings: Drawings, out: Path, comparator: str = "weighted-l1") -> Bundle:
    """Convert, measure on the validation alphabets, write. The same inputs give the same bytes.

    Raises DataError for a file that is no checkpoint, ModelError if the result does not run as its card says.
    """
    model, config = load(checkpoint)
    learnt = drawings.only(alphabets("train"))
    chosen = np.random.default_rng(0).choice(len(learnt.ink), CALIBRATION, replace=False)
    side = int(model.encoder.side_px)
    chips = resized(learnt.ink[chosen], side)[..., None]
    graph = float_graph(model.encoder)
    digests = {"source": _digest(serialize(graph)), "calibration": _digest(pack(learnt.ink[chosen]).tobytes())}
    int8 = quantised(graph, chips)
    card = base_card(model, config, comparator, digests)

    held = drawings.only(alphabets("validate"))
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(Path(folder) / out.name, int8, card)
        encoder = TwinEncoder(read_bundle(bundle.path))
        vectors = embed(held.ink, encoder)  # (N, D), through the device's code
    seen = "not seen in training" if "validate" not in config.parts else "SEEN IN TRAINING"
    protocol = (
        f"Omniglot, the 5 validation alphabets ({seen}): all pairs of drawings of one alphabet by two drawers, int8 on the device's code"
    )
    scores = all_scores(encoder.card.comparator, vectors, held)
    card["thresholds"] = thresholds(scores, protocol)
    card["probability"] = platt(scores, protocol + "; mated and non-mated pairs weigh the same")
    train, test, answer = run_indices(held, 20, 20, seed=0)
    known = open_set(run_scores(encoder.card.comparator, vectors[train], vectors[test]), answer, None)
    card["provenance"]["open_set_threshold"] = known["threshold"]
    return write_bundle(out, int8, card)
