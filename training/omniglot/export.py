"""Export a checkpoint as the device's bundle: float graph, int8, thresholds and probabilities, card."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converters.card import TOOLS, About, Json, encoder_card, parsed
from converters.certify import Certificate, Limits, as_text, certify
from converters.convert import convert
from converters.exact import SourceCheck
from converters.flatbuffer import serialize
from converters.labelled import Labelled
from converters.litert import embed
from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import Bundle, digest
from training.bundles import write
from training.omniglot.data import Drawings, pack, resized
from training.omniglot.evaluate import open_set, run_scores, unit
from training.omniglot.model import Model, TrainConfig, load
from training.omniglot.source import preparation, source_of
from training.omniglot.split import alphabets
from training.omniglot.trials import run_indices, within_alphabets
from training.thresholds import measured

CALIBRATION = 200  # drawings; ten serve about as well


def base_card(model: Model, config: TrainConfig, comparator: str, digests: dict[str, str]) -> Json:
    """The card before anything is measured."""
    about = About(
        name=f"omniglot-{config.network}-int8",
        description="Hand-drawn characters and simple line pictures, dark on light, one to a frame: one-shot recognition "
        "without a detector. Twin network after Koch, Zemel, Salakhutdinov 2015, made for int8.",
        source="trained from scratch by training/omniglot",
        licence="Apache-2.0",
        training_data="Omniglot background set (Lake, Salakhutdinov, Tenenbaum 2015, MIT): "
        + ", ".join(name for part in config.parts for name in alphabets(part)),
        notice="Trained on the Omniglot data set, copyright 2015 Brenden Lake, MIT licence.",
    )
    return encoder_card(about, preparation(model, comparator), int(model.encoder.dimension), digests, (*TOOLS, "torch"))


def export(
    checkpoint: Path, drawings: Drawings, out: Path, comparator: str = "weighted-l1"
) -> tuple[Bundle, Certificate]:
    """Convert, certify and measure on the validation alphabets, and write. The same inputs give the same bytes.

    Raises ModelError if the file is not a checkpoint, or if int8 loses more than the certificate allows; then no bundle
    is written.
    """
    model, config = load(checkpoint)
    side = int(model.encoder.side_px)
    learnt = drawings.only(alphabets("train"))
    chosen = np.sort(np.random.default_rng(0).choice(len(learnt.ink), CALIBRATION, replace=False))
    calibration = list(resized(learnt.ink[chosen], side)[..., None])
    source = source_of(model)
    check = SourceCheck(source, calibration, [0], [1])
    check.read()
    graph = source.graph
    digests = {"source": digest(serialize(graph)), "calibration": digest(pack(learnt.ink[chosen]).tobytes())}
    conversion = convert(graph, calibration, None, None)
    card = base_card(model, config, comparator, digests)
    card["provenance"]["source_check"] = check.passes(conversion.reference, conversion.passes)
    compare = parsed(card).comparator

    held = drawings.only(alphabets("validate"))
    chips = list(resized(held.ink, side)[..., None])
    seen = "SEEN IN TRAINING" if "validate" in config.parts else "not seen in training"
    protocol = f"Omniglot, the 5 validation alphabets, {seen}: all pairs of drawings of one alphabet by two drawers"
    labelled = Labelled(chips, within_alphabets(held), protocol)
    certificate = certify(conversion, labelled, compare, Limits(), source=card["provenance"]["source_check"])
    if not certificate.passed:
        raise ModelError(
            f"{checkpoint}: the certificate is refused, int8 loses too much\n{as_text(certificate)}",
            "train longer, or use quantisation-aware training",
        )
    card |= measured(certificate.int8_score, labelled.pairs, protocol) | {"certificate": certificate.record}
    vectors = embed(conversion.model, chips)
    if compare.kind == "cosine":
        vectors = unit(vectors)
    train, test, answer = run_indices(held, 20, 20, seed=0)
    card["provenance"]["passes"] = list(conversion.passes)
    scores = run_scores(compare, vectors[train], vectors[test])
    card["provenance"]["open_set_threshold"] = open_set(scores, answer, None)["threshold"]
    return write(out, conversion.model, card), certificate
