"""Pictures -> what `apart` learns from: crops, two networks' embeddings, and activations of distorted views.

Each result is a file in the folder of the run, so an interrupted preparation continues with the next file.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from converters.face import POINTS, pictures_of
from converters.flatbuffer import serialize
from converters.from_onnx import load_onnx
from converters.graph import Array, Graph
from converters.litert import interpreter
from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.recognition.compose import build_locator
from edge_oneshot.vision.align import estimate_similarity, warp
from training.face import utkface
from training.face.distort import MARGIN_PX, SIDE_PX, distort
from training.face.network import GraphNet

# ImageNet's mean and deviation, RGB in [0, 255]: the normalisation of the other network's training
OTHER_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
OTHER_STD = np.array([58.395, 57.12, 57.375], np.float32)
OWN_MEAN, OWN_STD = 127.5, 128.0
VIEWS = 6  # of a picture: clean, its mirror image, and four distorted ones
INSIDE = slice(MARGIN_PX, MARGIN_PX + SIDE_PX)


def runner(graph: Graph) -> Callable[[Array], Array]:
    """A float graph as a function of its input (1, H, W, C); the result is without the batch."""
    model = interpreter(serialize(graph))
    source, result = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]

    def run(values: Array) -> Array:
        model.set_tensor(source, np.ascontiguousarray(values, np.float32))
        model.invoke()
        return np.asarray(model.get_tensor(result)[0].copy())

    return run


def training_pictures(utk: Path, lfw: Path) -> list[Path]:
    """UTKFace's training part, doubles left out, then LFW's sets 1-3; each sorted."""
    faces = [p for p in sorted(utk.iterdir()) if utkface.labels_of(p.name) and utkface.part_of(p.name) == "train"]
    return [p for p in faces if utkface.digest(p.name) not in utkface.doubles()] + pictures_of(lfw, "1,2,3")


def aligned_crops(pictures: list[Path]) -> tuple[Array, list[str]]:
    """(crops, names): uint8 (N, 144, 144, 3) RGB, the encoder's chip with a margin, by the path of the device; and the file
    names. A picture without a face is left out. UTKFace's tight crops get a border of half the width."""
    locator = build_locator(Config(model=ModelConfig(threads=1)))
    places, side = np.array(list(POINTS.values())) + MARGIN_PX, SIDE_PX + 2 * MARGIN_PX
    crops, names = [], []
    for number, path in enumerate(pictures):
        frame = load_image(path)
        if utkface.labels_of(path.name):
            border = frame.size[0] // 2
            frame = replace(
                frame, pixels=np.pad(frame.pixels, ((border,) * 2, (border,) * 2, (0, 0)), constant_values=127)
            )
        centre = frame.size[0] / 2, frame.size[1] / 2
        faces = locator.locate(frame)
        if faces:
            face = min(faces, key=lambda f: math.dist(((f.box.x0 + f.box.x1) / 2, (f.box.y0 + f.box.y1) / 2), centre))
            marks = np.array([face.landmark(name) for name in POINTS], np.float64)
            crops.append(warp(frame.pixels, estimate_similarity(marks, places), (side, side)))
            names.append(path.name)
        _progress("aligned", number, len(pictures))
    return np.stack(crops), names


def embeddings(run: Callable[[Array], Array], crops: Array, mean: Array | float, std: Array | float) -> Array:
    """float32 (N, 2, D): of each crop and of its mirror image, as the network returns them."""
    found = []
    for number, crop in enumerate(crops):
        clean = crop[INSIDE, INSIDE].astype(np.float32)
        found.append([run(((view - mean) / std)[None]) for view in (clean, clean[:, ::-1])])
        _progress("encoded", number, len(crops))
    return np.array(found, np.float32)


def views_of(crops: Array, generator: torch.Generator) -> Iterator[Array]:
    """VIEWS arrays float32 (N, 112, 112, 3) in [0, 255]: clean, mirrored, distorted."""
    clean = crops[:, INSIDE, INSIDE].astype(np.float32)
    yield clean
    yield clean[:, :, ::-1]
    for _ in range(VIEWS - 2):
        yield distort(crops, generator).permute(0, 2, 3, 1).numpy()


def activations(student: Path, cut: int, crops: Array, file: Path) -> Array:
    """float16 (N, VIEWS, H, W, C) on disk: the output of operator `cut` for every view of every crop."""
    net = GraphNet(student)
    shape = net.graph.ops[cut].output.shape[1:]
    whole = (len(crops), VIEWS, *shape)
    if file.exists():
        return np.memmap(file, np.float16, "r", shape=whole)
    net.graph.ops, net.graph.outputs = net.graph.ops[: cut + 1], [net.graph.ops[cut].output]
    run, part = runner(net.graph), file.with_suffix(".part")
    kept = np.memmap(part, np.float16, "w+", shape=whole)
    for start in range(0, len(crops), 16):
        few = crops[start : start + 16]
        for view, pixels in enumerate(views_of(few, torch.Generator().manual_seed(start))):
            for i, one in enumerate(pixels):
                kept[start + i, view] = run(((one - OWN_MEAN) / OWN_STD)[None])
        _progress("activations", start, len(crops))
    kept.flush()
    part.replace(file)
    return np.memmap(file, np.float16, "r", shape=whole)


def prepare(utk: Path, lfw: Path, student: Path, other: Path, out: Path) -> dict[str, Array]:
    """crops, names, own (N, 2, D) and other (N, 2, E), from the folder of the run or computed into it."""
    out.mkdir(parents=True, exist_ok=True)
    crops, names = _kept(out / "crops.npz", lambda: aligned_crops(training_pictures(utk, lfw)))
    net = GraphNet(student)
    (own,) = _kept(out / "own.npz", lambda: (embeddings(runner(net.graph), crops, OWN_MEAN, OWN_STD),))
    (theirs,) = _kept(out / "other.npz", lambda: (embeddings(runner(load_onnx(other)), crops, OTHER_MEAN, OTHER_STD),))
    return {"crops": crops, "names": np.asarray(names), "own": own, "other": theirs}


def _kept(file: Path, make: Callable[[], tuple[object, ...]]) -> list[Array]:
    if not file.exists():
        part = file.with_suffix(".part.npz")
        np.savez(part, *[np.asarray(a) for a in make()])
        part.replace(file)
    found = np.load(file)
    return [found[name] for name in found.files]


def _progress(what: str, number: int, count: int) -> None:
    if number % 512 == 0:
        print(f"{what} {number} of {count}", file=sys.stderr, flush=True)
