"""What one frame costs on this device, stage by stage, and how much of it is the interpreter.

One thread of ours, frames one after the other, no camera thread and no MQTT: the daemon's path without waiting. Times
are wall-clock; p50 and p95 over all frames after the warm-up.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_oneshot import __version__
from edge_oneshot.errors import AcquisitionError
from edge_oneshot.matching.compare import References
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.service import system
from edge_oneshot.service.vitals import StageTimes
from edge_oneshot.types import Embedding, Frame, Quality, Template, UInt8Array

WARM_UP_FRAMES = 20


class InvokeTimer:
    """Takes the time of every invoke of some runtimes, from inside a running pipeline.

    Only the interpreter's own invoke() counts: copying tensors in and out is our cost, not the network's.
    """

    def __init__(self, runtimes: dict[str, Runtime]) -> None:
        self.seconds = dict.fromkeys(runtimes, 0.0)
        self._runtimes = runtimes

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        before = {name: r._interpreter for name, r in self._runtimes.items()}
        for name, runtime in self._runtimes.items():
            runtime._interpreter = _Timed(before[name], name, self.seconds)
        try:
            yield
        finally:
            for name, runtime in self._runtimes.items():
                runtime._interpreter = before[name]

    def reset(self) -> None:
        for name in self.seconds:
            self.seconds[name] = 0.0


class _Timed:
    """An interpreter whose invoke() is timed; everything else is passed on unchanged."""

    def __init__(self, interpreter: Any, name: str, seconds: dict[str, float]) -> None:
        self.set_tensor, self.get_tensor, self._invoke = (
            interpreter.set_tensor,
            interpreter.get_tensor,
            interpreter.invoke,
        )
        self._name, self._seconds = name, seconds

    def invoke(self) -> None:
        start = time.perf_counter()
        self._invoke()
        self._seconds[self._name] += time.perf_counter() - start


def frame_of(pixels: UInt8Array, source: str, size: tuple[int, int] | None = None) -> Frame:
    """A frame of uint8 (H, W, 3). size (width, height): the picture is scaled to fit and laid on grey of that size."""
    if size is not None and (pixels.shape[1], pixels.shape[0]) != size:
        scale = min(size[0] / pixels.shape[1], size[1] / pixels.shape[0])
        inner = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        canvas = Image.new("RGB", size, (90, 90, 90))
        corner = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
        canvas.paste(Image.fromarray(pixels).resize(inner, Image.Resampling.LANCZOS), corner)
        pixels = np.array(canvas)
    return Frame(pixels=pixels, seq=0, captured_ns=time.monotonic_ns(), captured_at=datetime.now(UTC), source=source)


def strangers(pipeline: Pipeline, count: int, seed: int = 0) -> References:
    """References of `count` random templates of this encoder: for the cost of comparing, not for its errors."""
    encoder = pipeline.encoder
    vectors = np.random.default_rng(seed).standard_normal((count, encoder.card.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    quality = Quality(inter_eye_px=40.0, sharpness=100.0, luma=120.0, contrast=50.0, yaw_deg=0.0)
    now = datetime.now(UTC)
    templates = [
        Template(
            template_id=f"t{i}",
            identity_id=f"p{i}",
            quality=quality,
            created_at=now,
            embedding=Embedding(vector=v, encoder_id=encoder.encoder_id),
        )
        for i, v in enumerate(vectors)
    ]
    return References(encoder.card.comparator, encoder.encoder_id, templates)


def measure(pipeline: Pipeline, frame: Frame, frames: int, references: References) -> dict[str, Any]:
    """Run `frame` through `frames` times. Raises AcquisitionError unless exactly one usable region is found in it.

    not_invoke_share: the median over frames of what is left of a frame's time without the interpreters' invokes.
    """
    runtimes = {"encoder": pipeline.encoder.runtime}
    if pipeline.locator is not None:
        locator = pipeline.locator
        runtimes = {
            "finder": locator.finder.runtime,
            "refiner": locator.refiner.runtime,
            "landmarks": locator.placer.runtime,
            **runtimes,
        }
    seen = [o for o in pipeline.observe(frame, references) if o.embedding is not None]
    if len(seen) != 1:
        raise AcquisitionError(
            f"{frame.source}: expected one usable face to measure with, got {len(seen)}", "use a portrait of one person"
        )
    timer, stages, invokes = InvokeTimer(runtimes), StageTimes(frames), StageTimes(frames)
    total, outside = np.zeros(frames), np.zeros(frames)
    with timer.running():
        for number in range(-WARM_UP_FRAMES, frames):
            timer.reset()
            start = time.perf_counter()
            pipeline.observe(frame, references)
            seconds = time.perf_counter() - start
            if number >= 0:
                stages.add(pipeline.stopwatch.seconds)
                invokes.add(timer.seconds)
                total[number], outside[number] = seconds, seconds - sum(timer.seconds.values())
    return {
        "frames": frames,
        "size": list(frame.size),
        "templates": len(references),
        "stages_ms": {name: {"p50": a, "p95": b} for name, (a, b) in stages.percentiles_ms().items()},
        "frame_ms": _percentiles_ms(total),
        "frames_per_s": round(1.0 / float(np.median(total)), 1),
        "invoke_ms": {name: {"p50": a, "p95": b} for name, (a, b) in invokes.percentiles_ms().items()},
        "not_invoke_ms": _percentiles_ms(outside),
        "not_invoke_share": round(float(np.median(outside / total)), 4),
        "decode_ms": decode_ms(frame, min(frames, 50)),
        "rss_bytes": system.resident_bytes(),
    }


def decode_ms(frame: Frame, times: int) -> dict[str, float]:
    """Pillow's JPEG decoding of the same frame, which a camera that gives raw pixels does without."""
    from edge_oneshot.cameras.images import decode_image

    jpeg = io.BytesIO()
    Image.fromarray(frame.pixels).save(jpeg, "JPEG", quality=90)
    seconds = np.zeros(times)
    for i in range(times):
        start = time.perf_counter()
        decode_image(jpeg.getvalue(), frame.source)
        seconds[i] = time.perf_counter() - start
    return _percentiles_ms(seconds)


def _percentiles_ms(seconds: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    p50, p95 = np.percentile(seconds, (50, 95)) * 1e3
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}


def machine(runtime: Runtime) -> dict[str, Any]:
    """What the figures were measured on. load: how many processes wanted a core in the last minute, ours included."""
    package = {"litert": "ai-edge-litert", "tflite": "tflite-runtime"}[runtime.name]
    return {
        "processor": _processor(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": importlib.metadata.version("pillow"),
        "runtime": f"{package} {importlib.metadata.version(package)}",
        "edge_oneshot": __version__,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/device-tree/model").read_text().strip("\0 \n")
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
