"""Cost of comparing one probe with 10,000 templates, relative to one encoder invoke. Goal: at most a tenth.

    python benchmarks/compare_cost.py > benchmarks/results/compare_cost.txt

Both are measured alternately in one process; figures are medians. Each template belongs to another person, so the
ranking by identity is included.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy, as edge_oneshot.cli does

import time
from dataclasses import replace

import numpy as np
from common import headline

from edge_oneshot.config import Config, DecisionConfig
from edge_oneshot.evaluation.benchmarking import random_references
from edge_oneshot.evaluation.under_test import open_recognizer
from edge_oneshot.matching.compare import decide
from edge_oneshot.types import Embedding

TURNS = 300


def main() -> None:
    print(headline("A decision among N templates of N people, and an encoder invoke; medians in ms"))
    print(f"OPENBLAS_NUM_THREADS={os.environ['OPENBLAS_NUM_THREADS']}")
    for threads in (1, 2):
        config = Config(decision=DecisionConfig(threshold=0.5))
        recognizer = open_recognizer(replace(config, model=replace(config.model, threads=threads)))
        encoder, threshold = recognizer.pipeline.encoder, recognizer.threshold
        probe = np.random.default_rng(1).standard_normal(encoder.card.dimension).astype(np.float32)
        embedding = Embedding(vector=probe / np.float32(np.linalg.norm(probe)), encoder_id=encoder.encoder_id)
        galleries = {n: random_references(encoder, n) for n in (100, 1000, 10_000)}
        times: dict[object, list[float]] = {n: [] for n in (*galleries, "invoke")}
        for turn in range(TURNS + 20):
            start = time.perf_counter()
            encoder.runtime._interpreter.invoke()
            took = {"invoke": time.perf_counter() - start}
            for n, references in galleries.items():
                start = time.perf_counter()
                decide(embedding, references, threshold, encoder.card)
                took[n] = time.perf_counter() - start
            if turn >= 20:
                for key, value in took.items():
                    times[key].append(value)
        invoke = float(np.median(times["invoke"])) * 1e3
        print(f"{threads} inference thread{'s' * (threads > 1)}: encoder invoke {invoke:.2f}")
        for n in galleries:
            median = float(np.median(times[n])) * 1e3
            print(
                f"  {n:6} templates of {encoder.card.dimension} values: {median:.3f}, {100 * median / invoke:.1f} % of an invoke"
            )


if __name__ == "__main__":
    main()
