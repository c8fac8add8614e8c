"""What camera.range = "far" costs per frame against "near", side by side: scenes of 640x480 at rest and in motion.

    python benchmarks/range_cost.py [ROUNDS] > benchmarks/results/range_cost.txt

Blocks of frames of near and far alternate, so that both see the same load. One inference thread. Times are of the CPU, not of
the wall, since other work on the machine would count otherwise. A search of a tile comes in some frames only, so the mean
is the figure to compare; the median of a frame is printed beside it. `searches` and `looks` are invokes of finder and refiner.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from common import headline, portrait
from numpy.typing import NDArray
from PIL import Image

from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import CameraConfig, Config, DecisionConfig, QualityConfig
from edge_oneshot.evaluation.benchmarking import random_references
from edge_oneshot.evaluation.under_test import open_recognizer
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.types import Frame

Pixels = NDArray[np.uint8]
SIZE = (640, 480)
BLOCK = 40
STEP_NS = 100_000_000
EYES_PX = 43  # of the portrait
# name -> px between the eyes
SCENES = {"empty, still": 0, "empty, motion": 0, "a face of 43 px": 43, "a face of 12 px": 12}


def hallway(rng: np.random.Generator) -> Pixels:
    """A wall with doors and frames: structure, no face."""
    picture = np.full((SIZE[1], SIZE[0], 3), (150, 140, 120), np.uint8)
    for _ in range(60):
        x, y = rng.integers(0, SIZE[0] - 20), rng.integers(0, SIZE[1] - 20)
        w, h = rng.integers(8, 160, 2)
        picture[y : y + h, x : x + w] = rng.integers(20, 235, 3)
    return picture


def scene(motion: bool, face: Pixels | None, rng: np.random.Generator) -> Iterator[Pixels]:
    """Endless frames with noise. A face sways; without one, a coat walks to and fro."""
    wall = hallway(rng)
    coat = rng.integers(30, 90, (40, 15, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    noise = [rng.normal(0, 2, wall.shape).astype(np.int16) for _ in range(7)]
    for number in itertools.count():
        picture = wall.astype(np.int16)
        if motion:
            x = int(280 + 270 * np.sin(number / 25))
            picture[200:360, x : x + 60] = coat
        if face is not None:
            x, y = 300 + number % 7, 120 + number % 5
            picture[y : y + face.shape[0], x : x + face.shape[1]] = face
        picture += noise[number % len(noise)]
        yield np.clip(picture, 0, 255).astype(np.uint8)


class Counted:
    """A recognizer of one range, with its finder's and refiner's invokes counted."""

    def __init__(self, reach: str) -> None:
        config = Config(
            camera=CameraConfig(range=reach),
            decision=DecisionConfig(threshold=0.5),
            quality=QualityConfig(min_inter_eye_px=5.0, min_sharpness=0.0),
        )
        self.recognizer = open_recognizer(replace(config, model=replace(config.model, threads=1)))
        self.recognizer.people.use(random_references(self.recognizer.pipeline.encoder, 1000), {})
        locator = self.recognizer.pipeline.locator
        assert locator is not None
        self.searches, self.looks = Counter(locator.finder.runtime), Counter(locator.refiner.runtime)


class Counter:
    def __init__(self, runtime: Runtime) -> None:
        self.count, self._invoke = 0, runtime.invoke
        runtime.invoke = self  # type: ignore[method-assign]

    def __call__(self, value: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        self.count += 1
        return self._invoke(value)


def main(rounds: int) -> None:
    head = Image.fromarray(load_image(portrait()).pixels[:200, 110:340])
    print(headline("camera.range: CPU time per 640x480 frame, one thread, 1,000 templates; ms"))
    print(
        f"{'scene':18} {'range':5} {'frames':>7} {'mean':>8} {'median':>8} {'far/near':>9} {'searches':>9} {'looks':>7}"
    )
    setups = {reach: Counted(reach) for reach in ("near", "far")}
    for name, eyes_px in SCENES.items():
        share = (eyes_px or EYES_PX) / EYES_PX
        face = head.resize((round(230 * share), round(200 * share)), Image.Resampling.LANCZOS) if eyes_px else None
        measure(name, setups, None if face is None else np.asarray(face), rounds)


def measure(name: str, setups: dict[str, Counted], face: Pixels | None, rounds: int) -> None:
    pictures = {reach: scene("motion" in name, face, np.random.default_rng(4)) for reach in setups}
    times: dict[str, list[float]] = {reach: [] for reach in setups}
    for number in range(rounds + 1):
        for reach, setup in setups.items():
            if number == 1:  # the first block warmed up
                times[reach].clear()
                setup.searches.count = setup.looks.count = 0
            for k in range(BLOCK):
                at_ns = (number * BLOCK + k + 1) * STEP_NS
                frame = Frame(
                    pixels=next(pictures[reach]), seq=k, captured_ns=at_ns, captured_at=datetime.now(UTC), source=name
                )
                start = time.process_time()
                setup.recognizer.observe(frame)
                times[reach].append(time.process_time() - start)
    means = {reach: 1e3 * float(np.mean(t)) for reach, t in times.items()}
    for reach, t in times.items():
        setup = setups[reach]
        print(
            f"{name:18} {reach:5} {len(t):7} {means[reach]:8.2f} {1e3 * np.median(t):8.2f} "
            f"{means[reach] / means['near']:9.3f} {setup.searches.count / len(t):9.3f} {setup.looks.count / len(t):7.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
