"""A 640x480 frame with one face, relative to the interpreter's invokes in it. Goal: at most 1.15 times, without JPEG decoding.

    python benchmarks/frame_cost.py [ROUNDS] > benchmarks/results/frame_cost.txt

Blocks of frames with one and with two inference threads alternate, so that both see the same load. With one thread figures are
processor time; with two they are wall-clock time, since the interpreter's threads are not ours. The ratio is computed for each
frame; the figure is the median over all frames. On a busy machine other programs empty the caches, which slows the part that is not
an invoke the most: the median of the fastest tenth of the frames is printed too. Memory is freed as the daemon does it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from common import headline, portrait

from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import Config, DecisionConfig
from edge_oneshot.evaluation.benchmarking import (
    WARM_UP_FRAMES,
    InvokeTimer,
    decode_ms,
    machine,
    make_frame,
    random_references,
)
from edge_oneshot.evaluation.under_test import open_recognizer
from edge_oneshot.service import system

BLOCK = 25
CLOCKS: dict[int, Callable[[], float]] = {1: time.thread_time, 2: time.perf_counter}  # by inference threads


def main(rounds: int) -> None:
    config, frame = (
        Config(decision=DecisionConfig(threshold=0.5)),
        make_frame(load_image(portrait()).pixels, "astronaut", (640, 480)),
    )
    setups = {}
    system.return_large_blocks()
    for threads, clock in CLOCKS.items():
        recognizer = open_recognizer(replace(config, model=replace(config.model, threads=threads)))
        recognizer.people.use(random_references(recognizer.pipeline.encoder, 1000), {})
        setups[threads] = (recognizer, InvokeTimer.of_pipeline(recognizer.pipeline, clock))
    rows: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(rounds):
        for threads, (recognizer, timer) in setups.items():
            clock = CLOCKS[threads]
            with timer.running():
                for number in range(BLOCK + WARM_UP_FRAMES):
                    timer.reset()
                    start = clock()
                    recognizer.observe(frame)
                    spent = clock() - start
                    if number >= WARM_UP_FRAMES:
                        rows[threads].append(
                            {
                                **{f"invoke {k}": v for k, v in timer.seconds.items()},
                                "frame": spent,
                                "not an invoke": spent - sum(timer.seconds.values()),
                            }
                        )
    print(headline("One 640x480 frame with one face, 1,000 templates; times in ms"))
    encoder = setups[1][0].pipeline.encoder
    about = machine(encoder.runtime)
    print(f"{about.runtime}, numpy {about.numpy}, Pillow {about.pillow}; encoder {encoder.card.name}\n")
    for threads, frames in rows.items():
        report(threads, frames)
    d = decode_ms(frame, 100)
    print(f"JPEG decoding of the frame (Pillow), not included above: p50 {d.p50:.2f}, p95 {d.p95:.2f}")


def report(threads: int, frames: list[dict[str, float]]) -> None:
    print(
        f"{threads} inference thread{'s' * (threads > 1)}, {len(frames)} frames{'':10} {'p10':>8} {'p50':>8} {'p95':>8}"
    )
    for name in frames[0]:
        p10, p50, p95 = np.percentile([f[name] for f in frames], (10, 50, 95)) * 1e3
        print(f"  {name:36} {p10:8.2f} {p50:8.2f} {p95:8.2f}")
    ratio = np.array([f["frame"] / (f["frame"] - f["not an invoke"]) for f in frames])
    quick = np.argsort([f["frame"] for f in frames])[: max(1, len(frames) // 10)]
    print(
        f"  frame over its invokes: {np.median(ratio):.3f}, median (goal 1.15); "
        f"of the fastest tenth of frames {np.median(ratio[quick]):.3f}\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
