"""A trained network as the device's bundle: int8, certified, with thresholds and probabilities of unseen classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from converters.card import TOOLS, About, Json, Preparation, encoder_card, parsed, pixels
from converters.certify import Certificate, Limits, as_text, certify
from converters.convert import convert
from converters.exact import SourceCheck
from converters.flatbuffer import serialize
from converters.graph import Array
from converters.labelled import Labelled
from converters.litert import embed
from converters.reference import Reference
from converters.scores import all_pairs, compare_pairs
from converters.sources import Source
from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import digest
from edge_oneshot.model.card import EncoderCard
from training.bundles import write
from training.pictures.folder import CAP, MIN_CERTIFIED, Folder, non_mated
from training.pictures.model import MEAN, SIZES, STD, Backbone, encode, float_graph
from training.pictures.train import settings, trained
from training.pictures.trials import quick
from training.thresholds import measured

CALIBRATION = 200  # training pictures from which the ranges of the activations are taken
COMPARED = 64  # of these, for the comparison with the trained network
SEPARATES = 0.2  # largest equal error rate of the float network on the validation classes
CERTIFIED = 1_000  # pictures for the certificate
STEADY = 250  # classes; with fewer the certificate uses training classes, too
OF_A_CLASS = 6  # pictures per training class for the certificate, if that is enough

Pixels = NDArray[np.uint8]


def base_card(name: str, size: str, data: str, digests: dict[str, str]) -> Json:
    """The card before anything is measured."""
    about = About(
        name=name,
        description="Pictures of one thing each, filling the frame: one-shot recognition without a detector.",
        source=f"trained from scratch by training/pictures, size {size}",
        licence="not stated",
        training_data=data,
    )
    s = SIZES[size]
    preparation = Preparation(input=pixels(s.side_px, [MEAN] * 3, [STD] * 3), regions="frame")
    return encoder_card(about, preparation, s.dimension, digests, (*TOOLS, "torch"))


def card_of(size: str) -> EncoderCard:
    """The card of a size, with the fields that pictures are prepared by."""
    return parsed(base_card("pictures", size, "none yet", {}))


def export(folder: Folder, images: Pixels, last: Path, out: Path) -> Certificate:
    """Convert the checkpoint, certify, measure thresholds on the validation classes, and write. images: uint8 (N, S, S, 3).

    Raises ModelError, and writes no bundle, if the float graph differs from the network (NotExactError) or int8 loses more
    than the certificate allows.
    """
    config, backbone = settings(last), trained(last).backbone
    _separates(folder, images, backbone, last)
    learnt = folder.rows("train")
    chosen = np.sort(np.random.default_rng(0).choice(learnt, min(CALIBRATION, len(learnt)), replace=False))
    chips = [np.ascontiguousarray(images[i]) for i in chosen]
    source = source_of(backbone)
    digests = {"source": digest(serialize(source.graph)), "calibration": digest(images[chosen].tobytes())}
    check = SourceCheck(source, chips[:COMPARED], [MEAN] * 3, [STD] * 3)
    check.read()
    conversion = convert(source.graph, chips, [MEAN] * 3, [STD] * 3)

    counts = {part: sum(p == part for p in folder.part) for part in ("train", "validate")}
    data = f"{len(learnt)} pictures of {counts['train']} classes of the folder {folder.root.resolve().name}"
    card = base_card(f"{folder.root.resolve().name}-{config.size}", config.size, data, digests)
    comparator = parsed(card).comparator
    checked = card["provenance"]["source_check"] = check.passes(conversion.reference, conversion.passes)
    certificate = certify(conversion, _certified(folder, images), comparator, Limits(), source=checked)
    if not certificate.passed:
        raise ModelError(
            f"{last}: the certificate is refused, int8 loses too much\n{as_text(certificate)}",
            "train longer, or choose another size",
        )
    held = folder.rows("validate", CAP)
    pairs = all_pairs([str(c) for c in folder.owner[held]])
    vectors = embed(conversion.model, [np.ascontiguousarray(images[i]) for i in held])
    protocol = (
        f"{counts['validate']} validation classes of the folder {folder.root.resolve().name}, not seen in training: all "
        f"pairs of {len(held)} pictures"
    )
    card |= measured(compare_pairs(vectors, pairs, comparator), pairs, protocol) | {"certificate": certificate.record}
    card["provenance"]["passes"] = list(conversion.passes)
    write(out, conversion.model, card)
    return certificate


def source_of(backbone: Backbone) -> Source:
    """The trained network as a source of the converter, with torch as its framework."""
    backbone.eval()

    def run(picture: Array) -> Array:
        with torch.inference_mode():
            found = backbone(torch.from_numpy(picture).permute(2, 0, 1)[None])
        return np.asarray(found.numpy())

    reference = Reference(f"torch {torch.__version__}", run)
    return Source(float_graph(backbone), reference=lambda: reference)


def _separates(folder: Folder, images: Pixels, backbone: Backbone, last: Path) -> None:
    """Raises ModelError if the network does not separate the validation classes: its bundle would be useless."""
    held = folder.rows("validate", CAP)
    eer = quick(encode(backbone, images[held]).numpy(), folder.owner[held])["eer"]
    if eer > SEPARATES:
        raise ModelError(
            f"{last}: expected a network that separates the validation classes with an equal error rate of at most "
            f"{SEPARATES:.0%}, got {eer:.1%}",
            "see the curve in log.jsonl; add classes, train longer (--steps), choose a larger --size, or remove pictures "
            "that do not show their class",
        )


def _certified(folder: Folder, images: Pixels) -> Labelled:
    """The pictures for the certificate: of the validation classes, and also of training classes if there are few.

    A few classes decide the threshold at a false match rate of 1e-3, so a loss measured on few classes is mostly chance.
    """
    rows = _thinned(folder, folder.rows("validate", CAP), CERTIFIED)
    protocol = "validation classes, not seen in training"
    if len(np.unique(folder.owner[rows])) < STEADY:
        held = rows
        for cap in (OF_A_CLASS, CAP):
            learnt = _thinned(folder, folder.rows("train", cap), max(CERTIFIED - len(held), 1))
            rows = np.concatenate([held, learnt])
            if non_mated(np.unique(folder.owner[rows], return_counts=True)[1].tolist()) >= MIN_CERTIFIED:
                break
        protocol = "validation classes and, since there are few, training classes"
    chips = [np.ascontiguousarray(images[i]) for i in rows]
    where = f"all pairs of {len(rows)} pictures of {protocol}"
    return Labelled(chips, all_pairs([str(c) for c in folder.owner[rows]]), where)


def _thinned(folder: Folder, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most about `most` rows: complete classes, evenly spaced, so that mated pairs remain."""
    every = -(-len(rows) // max(1, most))
    return rows if every == 1 else rows[np.isin(folder.owner[rows], np.unique(folder.owner[rows])[::every])]
