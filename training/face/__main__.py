"""Fine-tune the face encoder for strangers who look alike.

python -m training.face --utkface DIR --lfw DIR --student FLOAT.tflite --other OTHER.onnx --out DIR
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from converters.graph import Array
from edge_oneshot.errors import EdgeOneshotError
from training.face import utkface

CUT = 38  # the last frozen operator: the layers down to 14 x 14 px stay as they are
REDUCE = 0.5  # of the directions between groups
LFW_SHARE = 0.4  # of the drawn pictures
SMALL_CHILDREN = 0.4  # weight of a picture of a child of at most 8 years: no rate is stated for them


def adult_cells(names: Array) -> list[Array]:
    """Row numbers of adults of one sex and group each, without the group `other`."""
    labels = [utkface.labels_of(str(n)) for n in names]
    return [
        np.array([i for i, of in enumerate(labels) if of and of.age >= 16 and (of.sex, of.group) == (sex, group)])
        for group in utkface.GROUPS[:-1]
        for sex in ("male", "female")
    ]


def older_children(names: Array) -> Array:
    """Row numbers of children of 9 to 15 years."""
    labels = [utkface.labels_of(str(n)) for n in names]
    return np.array([i for i, of in enumerate(labels) if of and of.band == "9-15"])


def weights_of(names: Array) -> Array:
    """How often each row is drawn: within UTKFace by 1 / sqrt(size) of its cell of age band, sex and group."""
    labels = [utkface.labels_of(str(n)) for n in names]
    cells = [(of.band, of.sex, of.group) if of else None for of in labels]
    sizes = {cell: cells.count(cell) for cell in set(cells)}
    young = [of is not None and of.age <= 8 for of in labels]
    balanced = np.array([sizes[cell] ** -0.5 for cell in cells]) * np.where(young, SMALL_CHILDREN, 1.0)
    press = np.array([of is None for of in labels])
    return np.asarray(np.where(press, LFW_SHARE / press.sum(), balanced * (1 - LFW_SHARE) / balanced[~press].sum()))


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="python -m training.face", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root.add_argument("--utkface", type=Path, required=True, help="folder with UTKFace's aligned faces")
    root.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    root.add_argument("--student", type=Path, required=True, help="float .tflite to start from, also a teacher")
    root.add_argument("--other", type=Path, required=True, help="the other teacher, .onnx")
    root.add_argument("--out", type=Path, required=True, help="folder of the run; a prepared part in it is used")
    root.add_argument("--steps", type=int, default=1700)
    root.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    root.add_argument("--resume", action="store_true", help="continue the run in --out")
    return root


def run(o: argparse.Namespace) -> None:
    import torch

    from training import runs
    from training.face import apart
    from training.face.network import GraphNet
    from training.face.prepare import OWN_MEAN, OWN_STD, activations, embeddings, prepare, runner

    if o.threads:
        torch.set_num_threads(o.threads)
    runs.begin(o.out / "last.pt", o.resume)  # before the long preparation
    kept = prepare(o.utkface, o.lfw, o.student, o.other, o.out)
    names, own, other = kept["names"], kept["own"], kept["other"]
    vectors = apart.joined((own[:, 0], own[:, 1]), (other[:, 0], other[:, 1]))
    targets = apart.target_map([vectors[c] for c in adult_cells(names)], vectors, REDUCE, own.shape[2])(vectors)
    tail = apart.Tail(GraphNet(o.student), CUT)
    apart.start_near(tail, np.concatenate([own[:, 0], own[:, 1]]), np.concatenate([targets, targets]))
    lesson = apart.Lesson(
        activations=activations(o.student, CUT, kept["crops"], o.out / "activations.f16"),
        targets=targets,
        weights=weights_of(names),
    )
    model = apart.train(tail, lesson, apart.ApartConfig(steps=o.steps), o.out, resume=o.resume)
    levelled = GraphNet(model)
    outputs = embeddings(runner(levelled.graph), kept["crops"], OWN_MEAN, OWN_STD).sum(1)
    cells = adult_cells(names)
    apart.level(levelled, outputs, [*cells, older_children(names)], len(cells), REDUCE)
    model.write_bytes(levelled.to_tflite())
    print(f"{model}: convert it with `python -m converters.face`")


def main(arguments: list[str] | None = None) -> int:
    """0: done. 1: a file cannot be used; the reason is on standard error. 2: usage."""
    try:
        run(parser().parse_args(arguments))
    except EdgeOneshotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
