"""What a large gallery costs: a probe, an enrollment, memory, and the start, for 1,000, 10,000 and 100,000 templates.

    python benchmarks/gallery_cost.py [SIZE ...] > benchmarks/results/gallery_cost.txt

Each person has one template of random values. A probe is one decision; it is measured in turn with an encoder invoke. All times
are CPU times, of a probe and an invoke the medians; one process opens the gallery on disk, as the daemon does. Memory is
that of a process before and after the gallery was opened.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy, as edge_oneshot.cli does

import numpy as np
from common import headline
from memory import fill

from edge_oneshot.config import Config, DecisionConfig, ModelConfig
from edge_oneshot.events.clock import read_clock
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import decide
from edge_oneshot.recognition.compose import build_pipeline, build_rule
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import Embedding, Identity, Quality, Template

SIZES = (1000, 10_000, 100_000)
TURNS, ENROLLMENTS = 200, 5


def status_mb(key: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024 / 1e6


def measure(path: Path) -> dict[str, float]:
    """In a process of its own: the figures of the gallery at `path`."""
    config = replace(Config(), model=ModelConfig(threads=1), decision=DecisionConfig(threshold=0.5))
    pipeline = build_pipeline(config)
    rule, before = build_rule(config, pipeline.encoder), status_mb("VmRSS")
    start = time.process_time()
    recognizer = Recognizer(pipeline, rule, Gallery(path))
    opened = time.process_time() - start
    found = {"start_s": opened, "resident_mb": status_mb("VmRSS") - before, "peak_mb": status_mb("VmHWM") - before}
    return found | probes(recognizer) | enrollments(recognizer)


def probes(recognizer: Recognizer) -> dict[str, float]:
    encoder = recognizer.pipeline.encoder
    vector = np.random.default_rng(1).standard_normal(encoder.card.dimension).astype(np.float32)
    embedding = Embedding(vector=vector / np.float32(np.linalg.norm(vector)), encoder_id=encoder.encoder_id)
    times: dict[str, list[float]] = {"invoke_ms": [], "probe_ms": []}
    for turn in range(TURNS + 10):
        took = {}
        start = time.process_time()
        encoder.runtime._interpreter.invoke()
        took["invoke_ms"] = time.process_time() - start
        start = time.process_time()
        decide(embedding, recognizer.references, recognizer.threshold, encoder.card)
        took["probe_ms"] = time.process_time() - start
        if turn >= 10:
            for key, value in took.items():
                times[key].append(1e3 * value)
    return {key: float(np.median(values)) for key, values in times.items()}


def enrollments(recognizer: Recognizer) -> dict[str, float]:
    """Storing one more person, until it is compared."""
    encoder, rng, seconds = recognizer.pipeline.encoder, np.random.default_rng(2), []
    quality = Quality(inter_eye_px=40.0, sharpness=100.0, luma=120.0, contrast=50.0, yaw_deg=0.0)
    for number in range(ENROLLMENTS):
        vector = rng.standard_normal(encoder.card.dimension).astype(np.float32)
        vector /= np.linalg.norm(vector)
        template = Template(
            template_id=f"new-{number}",
            identity_id=f"new-{number}",
            embedding=Embedding(vector=vector, encoder_id=encoder.encoder_id),
            quality=quality,
            created_at=read_clock().wall,
        )
        start = time.process_time()
        recognizer.people.add(Identity(identity_id=f"new-{number}", name=f"New {number}"), [template])
        seconds.append(time.process_time() - start)
    return {"enroll_s": float(np.median(seconds)), "after_enroll_peak_mb": status_mb("VmHWM")}


def other_types(count: int = 10_000, dimension: int = 192) -> None:
    """The time of the scores of one probe with templates of smaller types, without any other step."""
    vectors = np.random.default_rng(0).standard_normal((count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    small = np.round(vectors * 127).astype(np.int8)
    half = vectors.astype(np.float16)
    ways = {
        "float32": lambda: vectors @ vectors[0],
        "float16": lambda: half @ half[0],
        "int8, summed as int32": lambda: np.matmul(small, small[0], dtype=np.int32),
    }
    print(f"\nScores of {count} templates of {dimension} values with numpy, median ms; MB")
    for name, way in ways.items():
        seconds = []
        for _ in range(9):
            start = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - start)
        size = vectors.nbytes / {"float32": 1, "float16": 2}.get(name, 4)
        print(f"{name:24} {1e3 * float(np.median(seconds)):9.3f} {size / 1e6:6.2f}")


def main(sizes: list[int]) -> None:
    print(headline("A gallery of N people with one template each (benchmarks/gallery_cost.py); CPU times"))
    heads = ("N", "probe ms", "of an invoke", "enroll s", "start s", "resident MB", "peak MB", "file MB")
    print(" ".join(f"{head:>12}" for head in heads))
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            path = Path(folder) / f"{size}.sqlite"
            fill(path, size)
            done = subprocess.run([sys.executable, __file__, str(path)], check=True, capture_output=True, text=True)
            r = json.loads(done.stdout)
            share = f"{100 * r['probe_ms'] / r['invoke_ms']:.1f}%"
            values = (r["enroll_s"], r["start_s"], r["resident_mb"], r["peak_mb"], path.stat().st_size / 1e6)
            cells = (f"{size}", f"{r['probe_ms']:.3f}", share, *(f"{v:.3f}" if v < 10 else f"{v:.1f}" for v in values))
            print(" ".join(f"{cell:>12}" for cell in cells), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2 and not sys.argv[1].isdigit():
        print(json.dumps(measure(Path(sys.argv[1]))))
    else:
        main([int(a) for a in sys.argv[1:]] or list(SIZES))
        other_types()
