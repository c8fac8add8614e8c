"""What one frame costs on this device: each stage, and the part of it that the interpreter takes.

Frames run one after the other on one of our threads, without a camera thread and without MQTT. Times are wall-clock;
p50 and p95 are over all frames after the warm-up.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_oneshot import __version__
from edge_oneshot.errors import AcquisitionError
from edge_oneshot.matching.compare import References
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import system
from edge_oneshot.service.vitals import StageTimes
from edge_oneshot.types import Embedding, Float64Array, Frame, Quality, Template, UInt8Array

WARM_UP_FRAMES = 20
GREY = (90, 90, 90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCost:
    """size: (width, height) of the frame. not_invoke_share: the median over frames of the share of a frame's time that
    is not spent in the interpreter's invoke().
    """

    frames: int
    size: tuple[int, int]
    templates: int
    stages_ms: dict[str, Percentiles]
    frame_ms: Percentiles
    frames_per_s: float
    invoke_ms: dict[str, Percentiles]
    not_invoke_ms: Percentiles
    not_invoke_share: float
    decode_ms: Percentiles
    rss_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the figures were measured on. load: the mean number of runnable processes in the last minute, ours included."""

    processor: str
    machine: str
    cores: int | None
    load: float
    python: str
    numpy: str
    pillow: str
    runtime: str
    edge_oneshot: str


class InvokeTimer:
    """Measures the time of every invoke() of some runtimes inside a running pipeline.

    Copying tensors in and out is not counted: it is our cost, not the network's. clock: seconds, such as time.process_time.
    """

    def __init__(self, runtimes: dict[str, Runtime], clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = dict.fromkeys(runtimes, 0.0)
        self._runtimes, self._clock = runtimes, clock

    @classmethod
    def of_pipeline(cls, pipeline: Pipeline, clock: Callable[[], float] = time.perf_counter) -> InvokeTimer:
        """A timer of all networks of a pipeline."""
        runtimes: dict[str, Runtime] = {}
        if (locator := pipeline.locator) is not None:
            runtimes = {
                "finder": locator.finder.runtime,
                "refiner": locator.refiner.runtime,
                "landmarks": locator.placer.runtime,
            }
        return cls({**runtimes, "encoder": pipeline.encoder.runtime}, clock)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        before = {name: r._interpreter for name, r in self._runtimes.items()}
        for name, runtime in self._runtimes.items():
            runtime._interpreter = _Timed(before[name], name, self.seconds, self._clock)
        try:
            yield
        finally:
            for name, runtime in self._runtimes.items():
                runtime._interpreter = before[name]

    def reset(self) -> None:
        for name in self.seconds:
            self.seconds[name] = 0.0


class _Timed:
    """An interpreter with a timed invoke(). The other calls go to the interpreter unchanged."""

    def __init__(self, interpreter: Any, name: str, seconds: dict[str, float], clock: Callable[[], float]) -> None:
        self.set_tensor, self.get_tensor = interpreter.set_tensor, interpreter.get_tensor
        self._invoke, self._name, self._seconds, self._clock = interpreter.invoke, name, seconds, clock

    def invoke(self) -> None:
        start = self._clock()
        self._invoke()
        self._seconds[self._name] += self._clock() - start


def make_frame(pixels: UInt8Array, source: str, size: tuple[int, int] | None = None) -> Frame:
    """A frame of uint8 (H, W, 3). size: (width, height); the image is scaled to fit and placed on grey of that size."""
    if size is not None and (pixels.shape[1], pixels.shape[0]) != size:
        scale = min(size[0] / pixels.shape[1], size[1] / pixels.shape[0])
        inner = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        canvas = Image.new("RGB", size, GREY)
        corner = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
        canvas.paste(Image.fromarray(pixels).resize(inner, Image.Resampling.LANCZOS), corner)
        pixels = np.array(canvas)
    return Frame(pixels=pixels, seq=0, captured_ns=time.monotonic_ns(), captured_at=datetime.now(UTC), source=source)


def random_references(encoder: TwinEncoder, count: int, seed: int = 0) -> References:
    """`count` random templates of this encoder, one for each identity: to measure the cost of comparisons, not error rates."""
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


def measure(recognizer: Recognizer, frame: Frame, frames: int) -> FrameCost:
    """Process `frame` `frames` times. Raises AcquisitionError unless it shows exactly one usable face."""
    usable = [o for o in recognizer.observe(frame) if o.embedding is not None]
    if len(usable) != 1:
        raise AcquisitionError(
            f"{frame.source}: expected exactly one usable face, got {len(usable)}", "use a portrait of one person"
        )
    timer, stages, invokes = InvokeTimer.of_pipeline(recognizer.pipeline), StageTimes(frames), StageTimes(frames)
    total, outside = np.zeros(frames), np.zeros(frames)
    with timer.running():
        for number in range(-WARM_UP_FRAMES, frames):
            timer.reset()
            start = time.perf_counter()
            recognizer.observe(frame)
            seconds = time.perf_counter() - start
            if number >= 0:
                stages.add(recognizer.pipeline.stage_seconds)
                invokes.add(timer.seconds)
                total[number], outside[number] = seconds, seconds - sum(timer.seconds.values())
    return FrameCost(
        frames=frames,
        size=frame.size,
        templates=len(recognizer.references),
        stages_ms={name: Percentiles(p50=a, p95=b) for name, (a, b) in stages.percentiles_ms().items()},
        frame_ms=_percentiles_ms(total),
        frames_per_s=round(1.0 / float(np.median(total)), 1),
        invoke_ms={name: Percentiles(p50=a, p95=b) for name, (a, b) in invokes.percentiles_ms().items()},
        not_invoke_ms=_percentiles_ms(outside),
        not_invoke_share=round(float(np.median(outside / total)), 4),
        decode_ms=decode_ms(frame, min(frames, 50)),
        rss_bytes=system.resident_bytes(),
    )


def decode_ms(frame: Frame, times: int) -> Percentiles:
    """The time in which Pillow decodes the same frame as JPEG. A camera with raw pixels does not need it."""
    jpeg = io.BytesIO()
    Image.fromarray(frame.pixels).save(jpeg, "JPEG", quality=90)
    seconds = np.zeros(times)
    for i in range(times):
        start = time.perf_counter()
        Image.open(jpeg).convert("RGB")
        seconds[i] = time.perf_counter() - start
    return _percentiles_ms(seconds)


def _percentiles_ms(seconds: Float64Array) -> Percentiles:
    p50, p95 = np.percentile(seconds, (50, 95)) * 1e3
    return Percentiles(p50=round(float(p50), 2), p95=round(float(p95), 2))


def machine(runtime: Runtime) -> Machine:
    package = {"litert": "ai-edge-litert", "tflite": "tflite-runtime"}[runtime.name]
    return Machine(
        processor=_processor(),
        machine=platform.machine(),
        cores=os.cpu_count(),
        load=round(os.getloadavg()[0], 1),
        python=platform.python_version(),
        numpy=np.__version__,
        pillow=importlib.metadata.version("pillow"),
        runtime=f"{package} {importlib.metadata.version(package)}",
        edge_oneshot=__version__,
    )


def _processor() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/device-tree/model").read_text().strip("\0 \n")
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
