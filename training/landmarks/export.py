"""Export checkpoints as the device's landmark bundle: float graph, int8, card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from converters.card import TOOLS, About, Json, card, pixels
from converters.chips import chips_digest
from converters.convert import convert
from converters.from_torch import from_exported
from converters.graph import Array, Graph
from edge_oneshot.model.bundle import Bundle, digest, write_bundle
from training.landmarks.hidden import load_hidden
from training.landmarks.network import NAMES, POINTS, SIDE_PX, Both, HiddenNet, LandmarkNet
from training.landmarks.train import MEAN, STD, UNIT_PX, averaged, sample

ABOUT = About(
    name="face-landmarks-int8",
    description="Eyes, nose and mouth of one found face, for alignment, and which of them are hidden; full int8, per channel",
    source="trained from scratch by training/landmarks",
    licence="Apache-2.0",
    training_data="Labeled Faces in the Wild (Huang et al. 2007), View 2 sets 1-3, none of which is contained; "
    "labels by YuNet (ShiqiYu/libfacedetection, Apache-2.0)",
)


def make_card(digests: dict[str, str]) -> Json:
    return card(
        "landmarks",
        ABOUT,
        pixels(SIDE_PX, [MEAN] * 3, [STD] * 3),
        digests,
        (*TOOLS, "torch"),
        output={"landmarks": list(NAMES), "hidden": True},
        points={name: [round(float(v), 4) for v in point] for name, point in zip(NAMES, POINTS, strict=True)},
    )


def float_graph(net: LandmarkNet, hidden: HiddenNet) -> Graph:
    """The network and its branch, with offsets in px instead of UNIT_PX."""
    with torch.no_grad():
        net.head.weight *= UNIT_PX
        net.head.bias *= UNIT_PX
    return from_exported(torch.export.export(Both(net, hidden).eval(), (torch.zeros(1, 3, SIDE_PX, SIDE_PX),)))


def export(checkpoint: Path, hidden: Path, cuts: Array, offsets: Array, out: Path) -> Bundle:
    """Write the bundle. cuts, offsets: as for `train`; distorted as in training, they calibrate the range of the offsets."""
    inputs, _, _ = sample(cuts, offsets, torch.Generator().manual_seed(0))
    chips = list(np.rint(inputs.permute(0, 2, 3, 1).numpy()).astype(np.uint8))
    result = convert(float_graph(averaged(checkpoint), load_hidden(hidden)), chips, [MEAN] * 3, [STD] * 3)
    sources = {
        "source": digest(checkpoint.read_bytes()),
        "hidden": digest(hidden.read_bytes()),
        "calibration": chips_digest(chips),
    }
    return write_bundle(out, result.model, make_card(sources))
