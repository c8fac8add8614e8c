"""Pictures -> aligned crops by the path of the device, and what a float network returns for them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from converters.face import POINTS, pictures_of
from converters.flatbuffer import serialize
from converters.graph import Array, Graph
from converters.litert import interpreter
from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.recognition.compose import build_locator
from edge_oneshot.vision.align import estimate_similarity, warp
from training.face import utkface

SIDE_PX = 112
MEAN, STD = 127.5, 128.0  # of the network's input


def runner(graph: Graph) -> Callable[[Array], Array]:
    """A float graph as a function of its input (1, H, W, C); the result is flat."""
    model = interpreter(serialize(graph))
    source, result = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]

    def run(values: Array) -> Array:
        model.set_tensor(source, np.ascontiguousarray(values, np.float32))
        model.invoke()
        return np.asarray(model.get_tensor(result).ravel().copy())

    return run


def training_pictures(utk: Path, lfw: Path) -> list[Path]:
    """UTKFace's training part, doubles left out, then LFW's sets 1-3; each sorted."""
    faces = [p for p in sorted(utk.iterdir()) if utkface.labels_of(p.name) and utkface.part_of(p.name) == "train"]
    return [p for p in faces if utkface.digest(p.name) not in utkface.left_out()] + pictures_of(lfw, "1,2,3")


def aligned_crops(pictures: list[Path]) -> tuple[Array, list[str]]:
    """(crops, names): uint8 (N, 112, 112, 3) RGB, the encoder's chips, by the path of the device; and the file names.

    A picture without a face is left out. UTKFace's tight crops get a border of half the width.
    """
    locator = build_locator(Config(model=ModelConfig(threads=1)))
    places = np.array(list(POINTS.values()))
    crops, names = [], []
    for number, path in enumerate(pictures):
        frame = load_image(path)
        if utkface.labels_of(path.name):
            border = ((frame.size[0] // 2,) * 2,) * 2
            frame = replace(frame, pixels=np.pad(frame.pixels, (*border, (0, 0)), constant_values=127))
        centre = frame.size[0] / 2, frame.size[1] / 2
        faces = locator.locate(frame)
        if faces:
            face = min(faces, key=lambda f: math.dist(((f.box.x0 + f.box.x1) / 2, (f.box.y0 + f.box.y1) / 2), centre))
            marks = np.array([face.landmark(name) for name in POINTS], np.float64)
            crops.append(warp(frame.pixels, estimate_similarity(marks, places), (SIDE_PX, SIDE_PX)))
            names.append(path.name)
        progress("aligned", number, len(pictures))
    return np.stack(crops), names


def outputs(graph: Graph, crops: Array) -> Array:
    """float32 (N, 2, D): what the graph returns for each crop and for its mirror image."""
    run, found = runner(graph), []
    for number, crop in enumerate(crops):
        found.append([run((view.astype(np.float32) - MEAN)[None] / STD) for view in (crop, crop[:, ::-1])])
        progress("encoded", number, len(crops))
    return np.array(found, np.float32)


def progress(what: str, number: int, count: int) -> None:
    if number % 512 == 0:
        print(f"{what} {number} of {count}", file=sys.stderr, flush=True)
