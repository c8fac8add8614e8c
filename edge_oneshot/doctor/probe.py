"""The part of the doctor that runs native code: `python -m edge_oneshot.doctor.probe CONFIG CAMERA-URI`.

Models are invoked and the camera library is imported in this one process on purpose: they share numpy, and a numpy that
one of them was not built for breaks only when both are there. An empty CAMERA-URI: a daemon owns the camera.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_oneshot.doctor import Finding, fault, ok, warning

CAMERA_LIMIT_S = 20.0
PACKAGES = {"litert": "ai-edge-litert", "tflite": "tflite-runtime"}


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def tell(finding: Finding) -> None:
    say(finding.as_dict())


def main(config_path: str, camera_uri: str) -> None:
    from edge_oneshot.config import load_config
    from edge_oneshot.errors import EdgeOneshotError

    config = load_config(Path(config_path) if config_path else None)
    say({"step": "model"})
    try:
        pipeline = models(config)
    except EdgeOneshotError as e:
        tell(fault("model", e.message, e.hint))
        pipeline = None
    say({"step": "camera"})
    if camera_uri:
        camera(replace(config, camera=replace(config.camera, uri=camera_uri)), pipeline)
    elif config.camera.uri.startswith("picamera2"):
        import_camera_library()
    say({"done": True})


def models(config: Any) -> Any:
    """Load every bundle, hold it against its card, and run the whole pipeline once. Returns the pipeline."""
    from datetime import UTC, datetime

    import numpy as np

    from edge_oneshot.recognition.compose import build_pipeline, build_rule
    from edge_oneshot.types import Chip, Frame

    pipeline = build_pipeline(config)
    card, spec = pipeline.encoder.card, pipeline.encoder.card.input
    grey = np.full(spec.shape, 128, dtype=np.uint8)
    dimension = pipeline.encoder.encode(Chip(pixels=grey, transform=np.eye(2, 3))).vector.size
    pixels = np.full((480, 640, 3), 128, dtype=np.uint8)
    pipeline.samples(Frame(pixels=pixels, seq=0, captured_ns=0, captured_at=datetime.now(UTC), source="grey"))
    runtime = pipeline.encoder.runtime.name
    tell(
        ok(
            "runtime",
            f"{PACKAGES[runtime]} {importlib.metadata.version(PACKAGES[runtime])}, numpy {np.__version__}, "
            f"Python {platform.python_version()}, {platform.machine()}",
        )
    )
    what = f"{card.name} {card.version} fits its card and was run: {dimension} values"
    if pipeline.locator is not None:
        locator = pipeline.locator
        what += (
            f"; detectors {locator.finder.card.name}, {locator.refiner.card.name}; landmarks {locator.placer.card.name}"
        )
    if card.certified:
        tell(ok("model", what))
    else:
        tell(
            warning(
                "model",
                f"{what}; not certified: nobody has measured what quantization cost it",
                "convert it with edge-oneshot-convert --certify, or use a shipped bundle",
            )
        )
    if pipeline.pad is not None:
        tell(ok("attacks", f"presentation attack detection: performed by {pipeline.pad_method}"))
    stated, t = config.decision.stated, build_rule(config, pipeline.encoder)([1])
    if t.extrapolated:
        tell(
            warning(
                "threshold",
                f"decision.{stated} is beyond what the card has measured; the threshold {t.value:.3f} is extrapolated",
                f"choose a larger {stated.partition(' ')[0]}",
            )
        )
    else:
        grows = "" if t.target_fpir is None else " with one person enrolled; it rises with the gallery"
        tell(ok("threshold", f"decision.{stated} gives {t.value:.3f}{grows}"))
    return pipeline


def import_camera_library() -> bool:
    """picamera2 beside the interpreter that has just run."""
    from edge_oneshot.errors import CameraError

    try:
        import edge_oneshot.cameras.picamera2  # noqa: F401 - it imports the library, and says what mends a failure
    except CameraError as e:
        tell(fault("camera library", e.message, e.hint))
        return False
    tell(ok("camera library", "picamera2 and the model work in one process"))
    return True


def camera(config: Any, pipeline: Any) -> None:
    """Open the camera and look at one frame."""
    from edge_oneshot.cameras.latest import LatestFrame, State
    from edge_oneshot.errors import CameraError

    if config.camera.uri.startswith("picamera2") and not import_camera_library():
        return
    name = config.camera.uri.rpartition("@")[2]
    start = time.monotonic()
    frame, error = None, None
    try:
        with LatestFrame(config.camera) as mailbox:
            while frame is None and mailbox.state is State.RUNNING and time.monotonic() - start < CAMERA_LIMIT_S:
                frame = mailbox.get(0.5)
            error = mailbox.last_error
    except CameraError as e:
        error = e
    if frame is None:
        found = error or CameraError(
            f"camera {name}: no frame within {time.monotonic() - start:.0f} s",
            "check its cable and power, and that no other program uses it",
        )
        tell(fault("camera", found.message, found.hint))
        return
    width, height = frame.size
    light = float(frame.pixels.mean())
    text = f"{name} gives {width}x{height}"
    if pipeline is not None:
        text += f", {len(pipeline.samples(frame))} faces in the first frame"
    if light < 16:
        tell(
            warning(
                "camera",
                f"{text}, but it is almost black (mean {light:.0f} of 255)",
                "take off the lens cap, make light",
            )
        )
    else:
        tell(ok("camera", text))


if __name__ == "__main__":
    main(*sys.argv[1:3])
