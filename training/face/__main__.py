"""Distil the face encoder from two networks.

python -m training.face --lfw DIR --labels labels.npz --student FLOAT.tflite --teacher TEACHER.onnx --out DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from converters.graph import Array
from edge_oneshot.errors import EdgeOneshotError

# ImageNet's mean and deviation, RGB in [0, 255]: the normalisation of the teacher's training
TEACHER_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
TEACHER_STD = np.array([58.395, 57.12, 57.375], np.float32)
STUDENT_MEAN, STUDENT_STD = 127.5, 128.0
BLENDS = 4000


def runner(graph: object) -> Callable[[Array], Array]:
    """A float graph as a function of its input."""
    from converters.flatbuffer import serialize
    from converters.graph import Graph
    from converters.litert import interpreter

    assert isinstance(graph, Graph)
    model = interpreter(serialize(graph))
    source, result = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]

    def run(values: Array) -> Array:
        model.set_tensor(source, np.ascontiguousarray(values, np.float32))
        model.invoke()
        return np.asarray(model.get_tensor(result)[0].copy())

    return run


def aligned_crops(lfw: Path, labels: Path) -> tuple[list[Array], list[str], Array]:
    """(crops, people, sets): pictures aligned by their labels, and BLENDS blends of two people of sets 1-3.

    A blend is a face of no person; there are few faces to train with. Its set is "-".
    """
    from converters.face import POINTS
    from edge_oneshot.cameras.images import load_image
    from edge_oneshot.vision.align import estimate_similarity, warp
    from training.face.distil import MARGIN_PX, SIDE_PX
    from training.landmarks.labels import to_alignment

    kept = np.load(labels)
    names, sets = [str(n) for n in kept["names"]], kept["sets"]
    places, side = np.array(list(POINTS.values())) + MARGIN_PX, SIDE_PX + 2 * MARGIN_PX
    crops = [
        warp(load_image(lfw / "images" / f"{name}.jpg").pixels, estimate_similarity(marks, places), (side, side))
        for name, marks in zip(names, to_alignment(kept["landmarks"]), strict=True)
    ]
    random, learnt = np.random.default_rng(0), np.flatnonzero(sets != "4")
    for _ in range(BLENDS):
        i, j = random.choice(learnt, 2, replace=False)
        a, b = (crops[k][:, ::-1] if random.random() < 0.5 else crops[k] for k in (i, j))
        share = random.uniform(0.35, 0.65)
        crops.append(np.rint(share * a + (1 - share) * b).astype(np.uint8))
    people = [n.split("/")[0] for n in names] + [f"blend {k}" for k in range(BLENDS)]
    return crops, people, np.concatenate([sets, ["-"] * BLENDS])


def prepare(lfw: Path, labels: Path, student: Path, teacher: Path) -> dict[str, Array]:
    """Crops and both networks' embeddings of them, plain and mirrored."""
    from converters.flatbuffer import load
    from converters.from_onnx import load_onnx
    from converters.passes.structure import fix_batch, remove_shape_arithmetic
    from training.face.distil import MARGIN_PX

    graph = load(student)
    fix_batch(graph)
    remove_shape_arithmetic(graph)
    own, other = runner(graph), runner(load_onnx(teacher))
    crops, people, sets = aligned_crops(lfw, labels)
    embeddings = []
    for n, crop in enumerate(crops):
        clean = crop[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].astype(np.float32)
        views = (clean, clean[:, ::-1])
        embeddings.append(
            [
                [own((v - STUDENT_MEAN)[None] / STUDENT_STD) for v in views],
                [other(((v - TEACHER_MEAN) / TEACHER_STD)[None]) for v in views],
            ]
        )
        if n % 500 == 0:
            print(f"prepared {n} of {len(crops)}", file=sys.stderr, flush=True)
    result = {"crops": np.stack(crops), "people": np.array(people), "sets": sets}
    for i, kind in enumerate(("own", "other")):
        for j, view in enumerate(("plain", "mirrored")):
            result[f"{kind}_{view}"] = np.stack([e[i][j] for e in embeddings])
    return result


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="python -m training.face", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root.add_argument("--lfw", type=Path, required=True, help="folder with images/")
    root.add_argument("--labels", type=Path, required=True, help="file that `python -m training.landmarks label` wrote")
    root.add_argument("--student", type=Path, required=True, help="float .tflite to start from, also a teacher")
    root.add_argument("--teacher", type=Path, required=True, help="the other teacher, .onnx")
    root.add_argument(
        "--out", type=Path, required=True, help="folder of the run; an existing prepared.npz in it replaces --labels"
    )
    root.add_argument("--steps", type=int, default=2400)
    root.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    root.add_argument("--resume", action="store_true", help="continue the run in --out")
    return root


def run(o: argparse.Namespace) -> None:
    import torch

    from training import runs
    from training.face.distil import DistilConfig, Lesson, distil, joint_target
    from training.face.network import GraphNet

    if o.threads:
        torch.set_num_threads(o.threads)
    runs.begin(o.out / "last.pt", o.resume)  # before the long preparation
    cache = o.out / "prepared.npz"
    if not cache.exists():
        arrays: dict[str, Any] = dict(prepare(o.lfw, o.labels, o.student, o.teacher))
        np.savez(cache.with_suffix(".part.npz"), **arrays)
        cache.with_suffix(".part.npz").replace(cache)
    kept = np.load(cache)
    own, other = ((kept[f"{kind}_plain"], kept[f"{kind}_mirrored"]) for kind in ("own", "other"))
    lesson = Lesson(
        crops=kept["crops"],
        targets=joint_target(own, other, np.flatnonzero(np.isin(kept["sets"], ["1", "2", "3"]))),
        people=kept["people"],
        train=np.flatnonzero(kept["sets"] != "4"),
        validate=np.flatnonzero(kept["sets"] == "4"),
    )
    model = distil(
        GraphNet(o.student),
        lesson,
        DistilConfig(steps=o.steps),
        lambda pixels: (pixels - STUDENT_MEAN) / STUDENT_STD,
        o.out,
        resume=o.resume,
    )
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
