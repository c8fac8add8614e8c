"""Share of a 640x480 frame with one face that is not interpreter invokes. Goal: at most 15 %, without JPEG decoding.

    python benchmarks/frame_cost.py [ROUNDS] > benchmarks/results/frame_cost.txt

Blocks of frames with one and with two inference threads alternate, so that both see the same load. The share is computed
for each frame; the figure is the median over all frames. On a shared machine all times grow, and p95 contains waiting for
a core: the median of the fastest tenth of the frames is printed too.
"""

from __future__ import annotations

import sys
import time
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

BLOCK = 25


def main(rounds: int) -> None:
    config, frame = (
        Config(decision=DecisionConfig(threshold=0.5)),
        make_frame(load_image(portrait()).pixels, "astronaut", (640, 480)),
    )
    setups = {}
    for threads in (1, 2):
        recognizer = open_recognizer(replace(config, model=replace(config.model, threads=threads)))
        recognizer.people.use(random_references(recognizer.pipeline.encoder, 1000), {})
        setups[threads] = (recognizer, InvokeTimer.of_pipeline(recognizer.pipeline))
    rows: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(rounds):
        for threads, (recognizer, timer) in setups.items():
            with timer.running():
                for number in range(BLOCK + WARM_UP_FRAMES):
                    timer.reset()
                    start = time.perf_counter()
                    recognizer.observe(frame)
                    wall = time.perf_counter() - start
                    if number >= WARM_UP_FRAMES:
                        rows[threads].append(
                            {
                                **recognizer.pipeline.stage_seconds,
                                **{f"invoke {k}": v for k, v in timer.seconds.items()},
                                "frame": wall,
                                "not an invoke": wall - sum(timer.seconds.values()),
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
    share = np.array([f["not an invoke"] / f["frame"] for f in frames])
    quick = np.argsort([f["frame"] for f in frames])[: max(1, len(frames) // 10)]
    print(
        f"  not an invoke: {100 * np.median(share):.1f} % of a frame, median (goal 15); "
        f"of the fastest tenth of frames {100 * np.median(share[quick]):.1f} %\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
