"""``python -m training.face --lfw DIR --labels labels.npz --student FLOAT.tflite --teacher TEACHER.onnx --out DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from converters.graph import Array

# ImageNet's mean and deviation, of RGB in [0, 255]: how the teacher was trained
TEACHER_MEAN, TEACHER_STD = (
    np.array([123.675, 116.28, 103.53], np.float32),
    np.array([58.395, 57.12, 57.375], np.float32),
)
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


def prepare(lfw: Path, labels: Path, student: Path, teacher: Path) -> dict[str, Array]:
    """Crops, aligned by steadied landmarks, and both networks' embeddings of them, plain and mirrored.

    BLENDS more crops are halves of two people of sets 1-3: faces of nobody, for there are few faces to learn from. Their
    set is "-".
    """
    from converters.face import POINTS
    from converters.flatbuffer import load
    from converters.from_onnx import load_onnx
    from converters.passes.structure import fix_batch, remove_shape_arithmetic
    from edge_oneshot.cameras.images import load_image
    from edge_oneshot.vision.align import estimate_similarity, warp
    from training.face.distil import MARGIN_PX, SIDE_PX
    from training.landmarks.labels import to_alignment

    graph = load(student)
    fix_batch(graph)
    remove_shape_arithmetic(graph)
    own, other = runner(graph), runner(load_onnx(teacher))
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
    people = [n.split("/")[0] for n in names] + [f"blend {k}" for k in range(BLENDS)]
    result = {"crops": np.stack(crops), "people": np.array(people), "sets": np.concatenate([sets, ["-"] * BLENDS])}
    for i, kind in enumerate(("own", "other")):
        for j, view in enumerate(("plain", "mirrored")):
            result[f"{kind}_{view}"] = np.stack([e[i][j] for e in embeddings])
    return result


def main(arguments: list[str] | None = None) -> int:
    root = argparse.ArgumentParser(prog="python -m training.face", description=__doc__)
    root.add_argument("--lfw", type=Path, required=True, help="folder with images/")
    root.add_argument("--labels", type=Path, required=True, help="what `python -m training.landmarks label` wrote")
    root.add_argument(
        "--student", type=Path, required=True, help="float .tflite to start from, which is a teacher, too"
    )
    root.add_argument("--teacher", type=Path, required=True, help="the other teacher, .onnx")
    root.add_argument(
        "--out",
        type=Path,
        required=True,
        help="the run's folder; prepared.npz in it is used again, whatever --labels says",
    )
    root.add_argument("--steps", type=int, default=2400)
    root.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    root.add_argument("--resume", action="store_true", help="go on with the run in --out")
    o = root.parse_args(arguments)
    import torch

    from training.face.distil import DistilConfig, distil, joint_target
    from training.face.network import GraphNet

    if o.threads:
        torch.set_num_threads(o.threads)
    if o.resume != (o.out / "last.pt").exists():
        print(
            f"error: {o.out}: {'no run to resume' if o.resume else 'expected no earlier run (or --resume)'}",
            file=sys.stderr,
        )
        return 1
    o.out.mkdir(parents=True, exist_ok=True)
    cache = o.out / "prepared.npz"
    if not cache.exists():
        arrays: dict[str, Any] = dict(prepare(o.lfw, o.labels, o.student, o.teacher))
        np.savez(cache.with_suffix(".part.npz"), **arrays)
        cache.with_suffix(".part.npz").replace(cache)
    kept = np.load(cache)
    net = GraphNet(o.student)
    train, validate = np.flatnonzero(kept["sets"] != "4"), np.flatnonzero(kept["sets"] == "4")
    own, other = ((kept[f"{kind}_plain"], kept[f"{kind}_mirrored"]) for kind in ("own", "other"))
    targets = joint_target(own, other, np.flatnonzero(np.isin(kept["sets"], ["1", "2", "3"])))
    model = distil(
        net,
        kept["crops"],
        targets,
        kept["people"],
        train,
        validate,
        DistilConfig(steps=o.steps),
        lambda pixels: (pixels - STUDENT_MEAN) / STUDENT_STD,
        o.out,
        resume=o.resume,
    )
    print(f"{model}: convert it with `python -m converters.face`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
