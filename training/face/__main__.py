"""``python -m training.face --lfw DIR --student FLOAT.tflite --teacher TEACHER.onnx --out DIR``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.graph import Array

ALIGNMENT = {
    "image_left_eye": (38.2946, 51.6963), "image_right_eye": (73.5318, 51.5014), "nose": (56.0252, 71.7366), "mouth": (56.1397, 92.2848),
}
# ImageNet's mean and deviation, of RGB in [0, 255]: how the teacher was trained
TEACHER_MEAN, TEACHER_STD = np.array([123.675, 116.28, 103.53], np.float32), np.array([58.395, 57.12, 57.375], np.float32)
STUDENT_MEAN, STUDENT_STD = 127.5, 128.0


def runner(graph: object) -> Callable[[Array], Array]:
    """A float graph as a function of its input."""
    from converters.graph import Graph, serialize
    from converters.litert import interpreter

    assert isinstance(graph, Graph)
    model = interpreter(serialize(graph))
    source, result = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]

    def run(values: Array) -> Array:
        model.set_tensor(source, np.ascontiguousarray(values, np.float32))
        model.invoke()
        return np.asarray(model.get_tensor(result)[0].copy())

    return run


def pictures(lfw: Path) -> Iterator[tuple[str, str, Array]]:
    """(name, set, YuNet's landmarks (4, 2): eyes, nose, mouth) of the pictures of sets 1-4."""
    marks = np.load(lfw / "yunet_landmarks.npz")
    found = {str(n): m for n, m in zip(marks["names"], marks["landmarks5"], strict=True)}
    sets = json.loads((lfw / "people_sets.json").read_text())
    for number in "1234":
        for person, count in sets[number]:
            for i in range(1, count + 1):
                if (name := f"{person}/{person}_{i:04d}") in found:
                    m = found[name].astype(np.float64)
                    yield name, number, np.stack([m[0], m[1], m[2], (m[3] + m[4]) / 2])


def prepare(lfw: Path, student: Path, teacher: Path) -> dict[str, Array]:
    """Crops and both networks' embeddings, plain and mirrored. A face that the device does not find is cropped by YuNet's landmarks."""
    from converters.from_onnx import load_onnx
    from converters.graph import load
    from converters.passes.structure import fix_batch, remove_shape_arithmetic
    from edge_oneshot.cameras.images import load_image
    from edge_oneshot.compose import build_locator
    from edge_oneshot.config import Config
    from edge_oneshot.vision.align import estimate_similarity, warp
    from training.face.distil import MARGIN_PX, SIDE_PX

    graph = load(student)
    fix_batch(graph)
    remove_shape_arithmetic(graph)
    own, other, locator = runner(graph), runner(load_onnx(teacher)), build_locator(Config())
    places = np.array(list(ALIGNMENT.values()))
    crops, embeddings, names, numbers = [], [], [], []
    for n, (name, number, marks) in enumerate(pictures(lfw)):
        frame = load_image(lfw / "images" / f"{name}.jpg")
        clean = warp(frame.pixels, estimate_similarity(marks, places), (SIDE_PX, SIDE_PX)).astype(np.float32)
        faces = sorted(locator.locate(frame), key=lambda f: float(np.linalg.norm(f.landmarks[:2].mean(0) - marks[:2].mean(0))))
        near = faces and np.linalg.norm(faces[0].landmarks[:2].mean(0) - marks[:2].mean(0)) < 20
        seen = np.array([faces[0].landmark(k) for k in ALIGNMENT], np.float64) if near else marks
        side = SIDE_PX + 2 * MARGIN_PX
        crops.append(warp(frame.pixels, estimate_similarity(seen, places + MARGIN_PX), (side, side)))
        views = (clean, clean[:, ::-1])
        embeddings.append([[own((v - STUDENT_MEAN)[None] / STUDENT_STD) for v in views],
                           [other(((v - TEACHER_MEAN) / TEACHER_STD)[None]) for v in views]])
        names.append(name.split("/")[0])
        numbers.append(number)
        if n % 500 == 0:
            print(f"prepared {n}", file=sys.stderr, flush=True)
    result = {"crops": np.stack(crops), "people": np.array(names), "sets": np.array(numbers)}
    for i, kind in enumerate(("own", "other")):
        for j, view in enumerate(("plain", "mirrored")):
            result[f"{kind}_{view}"] = np.stack([e[i][j] for e in embeddings])
    return result


def main(arguments: list[str] | None = None) -> int:
    root = argparse.ArgumentParser(prog="python -m training.face", description=__doc__)
    root.add_argument("--lfw", type=Path, required=True, help="folder with images/, people_sets.json and yunet_landmarks.npz")
    root.add_argument("--student", type=Path, required=True, help="float .tflite to start from, which is a teacher, too")
    root.add_argument("--teacher", type=Path, required=True, help="the other teacher, .onnx")
    root.add_argument("--out", type=Path, required=True)
    root.add_argument("--steps", type=int, default=1800)
    root.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    root.add_argument("--resume", action="store_true", help="go on with the run in --out")
    o = root.parse_args(arguments)
    import torch

    from training.face.distil import DistilConfig, distil, joint_target
    from training.face.network import GraphNet

    if o.threads:
        torch.set_num_threads(o.threads)
    if o.resume != (o.out / "last.pt").exists():
        print(f"error: {o.out}: {'no run to resume' if o.resume else 'expected no earlier run (or --resume)'}", file=sys.stderr)
        return 1
    o.out.mkdir(parents=True, exist_ok=True)
    cache = o.out / "prepared.npz"
    if not cache.exists():
        arrays: dict[str, Any] = dict(prepare(o.lfw, o.student, o.teacher))
        np.savez(cache.with_suffix(".part.npz"), **arrays)
        cache.with_suffix(".part.npz").replace(cache)
    kept = np.load(cache)
    net = GraphNet(o.student)
    train, validate = np.flatnonzero(kept["sets"] != "4"), np.flatnonzero(kept["sets"] == "4")
    both = [(kept[f"{kind}_plain"], kept[f"{kind}_mirrored"]) for kind in ("own", "other")]
    targets = joint_target(both, train, both[0][0].shape[1])
    model = distil(net, kept["crops"], targets, kept["people"], train, validate, DistilConfig(steps=o.steps),
                   lambda pixels: (pixels - STUDENT_MEAN) / STUDENT_STD, o.out, resume=o.resume)
    print(f"{model}: convert it with `python -m converters.face`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
