"""Error rates of the bundle on the report classes, measured with the device's own code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.card import Json
from converters.scores import Pairs, all_pairs, compare_pairs
from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import read_bundle
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.types import Chip
from training.pictures.folder import CAP, Folder
from training.pictures.trials import choice, verification

SEED = 2  # of the one-shot trials on the report classes
DECIDES = 1e-2  # the false match rate whose threshold the trials use


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """record: the JSON. rows: the pictures of the report classes. scores (P,): of `pairs`, whose numbers index `rows`."""

    record: Json
    rows: NDArray[np.int64]
    pairs: Pairs
    scores: NDArray[np.float32]
    threshold: float


def measure(folder: Folder, images: NDArray[np.uint8], bundle_path: Path) -> Measured:
    """Encode at most CAP pictures of each report class. images: uint8 (N, S, S, 3), as the device scales pictures."""
    bundle = read_bundle(bundle_path)
    encoder = TwinEncoder(bundle)
    if bundle.encoder.thresholds is None:
        raise ModelError(f"{bundle_path}: expected thresholds in the card, got none", "export it again")
    threshold = next(p.threshold for p in bundle.encoder.thresholds.points if p.fmr == DECIDES)
    rows = folder.rows("report", CAP)
    still = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    vectors = np.stack([encoder.encode(Chip(pixels=np.array(images[i]), transform=still)).vector for i in rows])
    owner = folder.owner[rows]
    pairs = all_pairs([str(c) for c in owner])
    scores = compare_pairs(vectors, pairs, bundle.encoder.comparator)
    pixels = _by_pixels(images[rows])
    record: Json = {
        "encoder_id": bundle.encoder_id,
        "runtime": encoder.runtime.name,
        "bytes": bundle_path.stat().st_size,
        "classes": {part: sum(p == part for p in folder.part) for part in ("train", "validate", "report")},
        "verification": verification(scores, pairs, threshold),
        "one_shot": choice(vectors, owner, threshold, SEED),
        "one_shot_nearest_pixels": choice(pixels, owner, 2.0, SEED)["right"],
    }
    return Measured(record=record, rows=rows, pairs=pairs, scores=scores, threshold=threshold)


def _by_pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The baseline without a network: grey pictures of 16 x 16 blocks, each of mean 0 and length 1."""
    grey = images.mean(3)
    side = grey.shape[1] // 16 * 16
    small = grey[:, :side, :side].reshape(len(grey), 16, side // 16, 16, side // 16).mean((2, 4)).reshape(len(grey), -1)
    small = small - small.mean(1, keepdims=True)
    return np.asarray(small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6), np.float32)


def as_text(record: Json) -> str:
    """The record as a table for the terminal, each rate with its 95 % interval."""
    v, o = record["verification"], record["one_shot"]
    lines = [
        f"{v['classes']} report classes, not used for training; {v['pictures']} pictures; int8 on {record['runtime']}",
        f"verification, {v['mated_pairs']} mated and {v['non_mated_pairs']} non-mated pairs:",
        f"  equal error rate                           {_percent(v['eer'])}",
        *(f"  true match rate at FMR {fmr:<6}              {_percent(rate)}" for fmr, rate in v["tar"].items()),
        f"  at the threshold of the card, {v['threshold']:.3f}:       FMR {v['fmr']:.2%}, FNMR {v['fnmr']:.2%}",
        f"one-shot choice, {o['trials']} trials, {o['ways']} classes with one stored picture each:",
        f"  right                                      {_percent(o['right'])}",
        f"  nearest picture in pixels (no network)     {_percent(record['one_shot_nearest_pixels'])}",
        "  with *none of them* as an answer, at the threshold of the card:",
        f"    class stored: right                      {_percent(o['known_right'])}",
        f"    class stored: wrongly none               {_percent(o['known_none'])}",
        f"    class not stored: none                   {_percent(o['absent_none'])}",
    ]
    return "\n".join(lines)


def _percent(rate: dict[str, Any]) -> str:
    low, high = rate["ci95"]
    return f"{rate['rate']:7.2%} ({low:.1%} to {high:.1%})"
