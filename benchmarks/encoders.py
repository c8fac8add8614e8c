"""Compare face encoders: matched false match rates, true accept rates, and the time of one embedding, side by side.

    python -m benchmarks.encoders --lfw DIR --sets 56 --utkface DIR --part report --out FILE.json BUNDLE...

Every picture is located and aligned once, as the device does it for a still picture; every encoder gets the same chips. A bundle
can be named `PATH@once`: then the mirror image is not encoded. Non-mated scores: pairs of pictures of UTKFace's part of one
sex and age band, without the doubles. Mated scores: all pairs of the pictures of one person in LFW's sets. No gate is applied.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import headline, lfw_images
from converters.chips import ChipReader
from edge_oneshot.cli.common import progress
from edge_oneshot.evaluation.metrics import Ints, match_rate, threshold_at_fmr
from edge_oneshot.model.bundle import read_bundle
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.types import Chip, Float32Array, Float64Array
from training.face import utkface

BANDS = ("0-3", "4-8", "9-15")
TIMED = 200  # embeddings of each encoder, in turn


@dataclass(frozen=True, kw_only=True)
class Strangers:
    """Pairs of UTKFace pictures of one sex and age band: picture numbers first, second (P,); the age band of each pair; and
    its group, or "" for two groups."""

    first: Ints
    second: Ints
    band: NDArray[np.str_]
    group: NDArray[np.str_]


def load(bundle: str) -> TwinEncoder:
    path, _, once = bundle.partition("@")
    read = read_bundle(Path(path))
    return TwinEncoder(replace(read, card=replace(read.encoder, mirror=False)) if once else read)


def encode(encoder: TwinEncoder, chips: list[Chip], label: str) -> Float32Array:
    with progress(len(chips), label) as done:
        rows = []
        for chip in chips:
            rows.append(encoder.encode(chip).vector)
            done(1)
    return np.stack(rows)


def milliseconds(encoders: list[TwinEncoder], chip: Chip) -> list[float]:
    """The median time of one embedding, in ms. The encoders take turns, so a busy machine slows all of them."""
    times: list[list[float]] = [[] for _ in encoders]
    for _ in range(TIMED):
        for spent, encoder in zip(times, encoders, strict=True):
            start = time.perf_counter()
            encoder.encode(chip)
            spent.append(time.perf_counter() - start)
    return [1000 * float(np.median(t)) for t in times]


def matched_pairs(names: list[str]) -> Strangers:
    labels = [utkface.labels_of(n) for n in names]
    assert all(labels)
    sex, band, group = (np.array([getattr(of, key) for of in labels]) for key in ("sex", "band", "group"))
    first, second = np.triu_indices(len(names), 1)
    keep = (sex[first] == sex[second]) & (band[first] == band[second])
    first, second = first[keep], second[keep]
    same_group = np.where(group[first] == group[second], group[first], "")
    return Strangers(first=first, second=second, band=band[first], group=same_group)


def rates(mated: Float64Array, lfw: Float64Array, utk: Float32Array, pairs: Strangers) -> dict[str, object]:
    """The figures of one encoder. mated, lfw: mated and non-mated scores of LFW. utk: embeddings (N, D)."""
    scores = np.einsum("nd,nd->n", utk[pairs.first], utk[pairs.second])
    adults = pairs.band == "16-120"
    sex, group = scores[adults], scores[adults & (pairs.group != "")]

    def tar(non_mated: Float64Array, fmr: float) -> float:
        return round(100 * match_rate(mated, threshold_at_fmr(non_mated, fmr)), 2)

    at = float(np.quantile(mated, 1 - 0.988))
    by_group = {g: scores[adults & (pairs.group == g)] for g in utkface.GROUPS[:-1]}
    found = {
        "lfw_tar": {f"{f:g}": tar(lfw, f) for f in (1e-3, 1e-4)},
        "same_sex_tar": {f"{f:g}": tar(sex, f) for f in (1e-3, 1e-4)},
        "same_group_tar": {f"{f:g}": tar(group, f) for f in (1e-3,)},
        "threshold_at_tar_98.8": round(at, 4),
        "fmr_at_tar_98.8": {
            "same sex": match_rate(sex, at),
            "same sex and group": match_rate(group, at),
            **{g: match_rate(s, at) for g, s in by_group.items()},
            **{f"{b} years, same sex": match_rate(scores[pairs.band == b], at) for b in BANDS},
        },
        "pairs": {"same sex": sex.size, "same sex and group": group.size, "mated": mated.size, "lfw": lfw.size},
    }
    four = [found["fmr_at_tar_98.8"][g] for g in by_group]  # type: ignore[index]
    found["worst_to_best_group"] = round(max(four) / min(four), 2) if min(four) else None
    return found


def measure(bundles: list[str], lfw: Path, sets: str, utk: Path, part: str) -> list[dict[str, object]]:
    pictures = [p for p in sorted(utk.iterdir()) if utkface.labels_of(p.name) and utkface.part_of(p.name) == part]
    pictures = [p for p in pictures if utkface.digest(p.name) not in utkface.left_out()]
    encoders = [load(b) for b in bundles]
    wanted = [*pictures, *(i.path for i in lfw_images(lfw, sets))]
    reader, chips, names = ChipReader(encoders[0].card), [], []
    with progress(len(wanted), "aligning") as done:
        for path in wanted:
            if (pixels := reader.read(path)) is not None:
                chips.append(Chip(pixels=pixels, transform=np.eye(2, 3)))
                names.append(path.name)
            done(1)
    count = sum(utkface.labels_of(n) is not None for n in names)
    people = np.array([n.rsplit("_", 1)[0] for n in names[count:]])
    first, second = np.triu_indices(len(people), 1)
    same = people[first] == people[second]
    spent = milliseconds(encoders, chips[0])
    pairs, found = matched_pairs(names[:count]), []
    for bundle, encoder, time_ms in zip(bundles, encoders, spent, strict=True):
        vectors = encode(encoder, chips, Path(bundle).name)
        scores = np.einsum("nd,nd->n", vectors[count:][first], vectors[count:][second])
        found.append(
            {
                "encoder": Path(bundle).name,
                "time_to_first": round(time_ms / spent[0], 3),
                "bytes": Path(bundle.partition("@")[0]).stat().st_size,
                **rates(scores[same], scores[~same], vectors[:count], pairs),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--sets", default="4")
    parser.add_argument("--utkface", type=Path, required=True)
    parser.add_argument("--part", choices=("threshold", "report"), default="threshold")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("bundles", nargs="+")
    o = parser.parse_args()
    head = headline(f"Face encoders: UTKFace part {o.part}, LFW sets {', '.join(o.sets)}")
    values = measure(o.bundles, o.lfw, o.sets, o.utkface, o.part)
    o.out.write_text(json.dumps({"head": head, "encoders": values}, indent=1) + "\n", encoding="utf-8")
    print(head)
    for v in values:
        print(json.dumps(v))


if __name__ == "__main__":
    main()
