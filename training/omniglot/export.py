"""A checkpoint becomes the bundle of the device: float graph, int8, thresholds and probabilities, card."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from converters.certify import Certificate, Limits, as_text, certify
from converters.convert import convert
from converters.flatbuffer import serialize
from converters.litert import embed
from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import Bundle, read_bundle, write_bundle
from edge_oneshot.model.card import Comparator
from edge_oneshot.model.encoder import TwinEncoder
from training.omniglot.data import Drawings, pack, resized
from training.omniglot.evaluate import open_set, run_scores, unit
from training.omniglot.graph import float_graph
from training.omniglot.split import alphabets
from training.omniglot.thresholds import measured, within_alphabets
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
            "training_data": "Omniglot background set (Lake, Salakhutdinov, Tenenbaum 2015, MIT): "
            + ", ".join(name for part in config.parts for name in alphabets(part)),
            "notice": "Trained on the Omniglot data set, copyright 2015 Brenden Lake, MIT licence.",
            "tools": {name: version(name) for name in TOOLS},
            "digests": digests,
        },
    }


def export(
    checkpoint: Path, drawings: Drawings, out: Path, comparator: str = "weighted-l1"
) -> tuple[Bundle, Certificate]:
    """Convert, certify and measure on the validation alphabets, write. The same inputs give the same bytes.

    Raises DataError for a file that is no checkpoint, ModelError if int8 costs more than the certificate allows; no
    bundle is written then.
    """
    model, config = load(checkpoint)
    side = int(model.encoder.side_px)
    learnt = drawings.only(alphabets("train"))
    chosen = np.sort(np.random.default_rng(0).choice(len(learnt.ink), CALIBRATION, replace=False))
    graph = float_graph(model.encoder)
    digests = {"source": _digest(serialize(graph)), "calibration": _digest(pack(learnt.ink[chosen]).tobytes())}
    conversion = convert(graph, list(resized(learnt.ink[chosen], side)[..., None]), None, None)
    card = base_card(model, config, comparator, digests)
    kind = card["comparator"]
    compare = Comparator(kind=kind["kind"], weights=tuple(kind.get("weights", ())), bias=kind.get("bias", 0.0))

    held = drawings.only(alphabets("validate"))
    chips = list(resized(held.ink, side)[..., None])
    pairs = within_alphabets(held)
    seen = "SEEN IN TRAINING" if "validate" in config.parts else "not seen in training"
    protocol = f"Omniglot, the 5 validation alphabets, {seen}: all pairs of drawings of one alphabet by two drawers"
    certificate = certify(conversion, chips, pairs, compare, Limits(), protocol)
    if not certificate.passed:
        raise ModelError(
            f"{checkpoint}: int8 costs too much\n{as_text(certificate)}", "train longer, or quantisation-aware"
        )
    card |= measured(certificate.int8_score, pairs, protocol) | {"certificate": certificate.record}
    vectors = embed(conversion.model, chips)
    if compare.kind == "cosine":
        vectors = unit(vectors)
    train, test, answer = run_indices(held, 20, 20, seed=0)
    card["provenance"]["passes"] = list(conversion.passes)
    card["provenance"]["open_set_threshold"] = open_set(
        run_scores(compare, vectors[train], vectors[test]), answer, None
    )["threshold"]

    part = out.with_name(out.name + ".unproved")
    try:
        write_bundle(part, conversion.model, card)
        TwinEncoder(read_bundle(part))  # loads it and compares it with its card, as the device does
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return read_bundle(out), certificate
