"""Refit the last layer of the face encoder for strangers who look alike.

python -m training.face --utkface DIR --lfw DIR --source FLOAT.tflite --out FLOAT.tflite
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from converters.flatbuffer import load, serialize
from converters.graph import Array
from converters.passes.prelu import recognise_prelu
from converters.passes.structure import fix_batch, remove_shape_arithmetic
from edge_oneshot.errors import EdgeOneshotError
from training.face import apart, utkface
from training.face.prepare import aligned_crops, outputs, training_pictures

LFW_WEIGHT = 0.4  # share of LFW's pictures in the regression
SMALL_CHILDREN = 0.4  # weight of a picture of a child of at most 8 years: no rate is stated for them


def cells_of(names: list[str]) -> list[Array]:
    """Row numbers of strangers: adults of one sex and group each, then children of 9 to 15 years.

    The group `other` is no cell, since its people share little. Small children are none either: the directions that they
    share must stay, for `no_rate` on the card.
    """
    labels = [utkface.labels_of(n) for n in names]
    adults = [
        [i for i, of in enumerate(labels) if of and of.age >= 16 and (of.sex, of.group) == (sex, group)]
        for group in utkface.GROUPS[:-1]
        for sex in ("male", "female")
    ]
    return [np.array(c) for c in (*adults, [i for i, of in enumerate(labels) if of and of.band == "9-15"])]


def weights_of(names: list[str]) -> Array:
    """The weight of each row, mean 1: within UTKFace 1 / sqrt(size) of its cell of age band, sex and group."""
    labels = [utkface.labels_of(n) for n in names]
    keys = [(of.band, of.sex, of.group) if of else None for of in labels]
    sizes = {key: keys.count(key) for key in set(keys)}
    young = [of is not None and of.age <= 8 for of in labels]
    balanced = np.array([sizes[key] ** -0.5 for key in keys]) * np.where(young, SMALL_CHILDREN, 1.0)
    press = np.array([of is None for of in labels])
    parts = np.where(press, LFW_WEIGHT / press.sum(), balanced * (1 - LFW_WEIGHT) / balanced[~press].sum())
    return np.asarray(parts * len(names))


def refit(source: Path, crops: Array, names: list[str]) -> bytes:
    """The float model with the new last layer. Raises ModelError if its last convolution is not followed by RESHAPE alone."""
    graph = load(source)
    fix_batch(graph)
    remove_shape_arithmetic(graph)
    recognise_prelu(graph)
    last = max(i for i, op in enumerate(graph.ops) if op.kind == "CONV_2D")
    kept = graph.ops, graph.outputs
    graph.ops, graph.outputs = graph.ops[:last], [graph.ops[last].tensor(0)]
    features = outputs(graph, crops)
    graph.ops, graph.outputs = kept
    weight, bias = graph.ops[last].tensor(1), graph.ops[last].tensor(2)
    published = features @ weight.array.reshape(len(weight.array), -1).T + bias.array
    own = apart.unit(apart.unit(published[:, 0]) + apart.unit(published[:, 1]))
    cells = cells_of(names)
    targets = apart.targets_of(own, cells, len(cells) - 1)
    both, twice = np.concatenate([features[:, 0], features[:, 1]]), np.concatenate([targets, targets])
    rows = weights_of(names)
    matrix, shift = apart.solve(both.astype(np.float64), twice, np.concatenate([rows, rows]))
    # The published length of the output is kept, so that the converter's ranges stay as they were.
    length = float(np.linalg.norm(published, axis=-1).mean() / np.linalg.norm(both @ matrix.T + shift, axis=1).mean())
    weight.data = np.ascontiguousarray(length * matrix, np.float32).reshape(weight.array.shape)
    bias.data = np.ascontiguousarray(length * shift, np.float32)
    return serialize(graph)


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="python -m training.face", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root.add_argument("--utkface", type=Path, required=True, help="folder with UTKFace's aligned faces")
    root.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    root.add_argument("--source", type=Path, required=True, help="the published float .tflite")
    root.add_argument("--out", type=Path, required=True, help="file for the float .tflite with the new last layer")
    return root


def main(arguments: list[str] | None = None) -> int:
    """0: done. 1: a file cannot be used; the reason is on standard error. 2: usage."""
    o = parser().parse_args(arguments)
    try:
        crops, names = aligned_crops(training_pictures(o.utkface, o.lfw))
        o.out.write_bytes(refit(o.source, crops, names))
    except EdgeOneshotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{o.out}: convert it with `python -m converters.face --tuned`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
