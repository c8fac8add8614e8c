"""The checks that run native code: `python -m edge_oneshot.doctor.probe CONFIG CAMERA-URI`.

The models and the camera library run in one process on purpose: they share numpy, and a numpy that one of them was not
built for fails only when both are loaded. An empty CAMERA-URI means that a daemon owns the camera.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge_oneshot.doctor import Finding, fault, ok, warning

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.recognition.pipeline import Pipeline

CAMERA_LIMIT_S = 20.0


def send(message: Mapping[str, object]) -> None:
    print(json.dumps(message), flush=True)


def report(finding: Finding) -> None:
    send(finding.as_dict())


def main(config_path: str, open_camera: str) -> None:
    """open_camera: "" if a daemon owns the camera."""
    from edge_oneshot.config import load_config
    from edge_oneshot.errors import EdgeOneshotError

    config = load_config(Path(config_path) if config_path else None)
    send({"step": "model"})
    try:
        pipeline = models(config)
    except EdgeOneshotError as e:
        report(fault("model", e.message, e.hint))
        pipeline = None
    send({"step": "camera"})
    if open_camera:
        camera(config, pipeline)
    elif config.camera.uri.startswith("picamera2"):
        import_camera_library()
    send({"done": True})


def models(config: Config) -> Pipeline:
    """Load every bundle, check it against its card, and run the whole pipeline once. Raises ModelError, ConfigError."""
    from datetime import UTC, datetime

    import numpy as np

    from edge_oneshot.model.runtime import PACKAGES
    from edge_oneshot.recognition.compose import build_pipeline
    from edge_oneshot.recognition.known_answer import check_encoder, check_locator
    from edge_oneshot.types import Chip, Frame

    pipeline = build_pipeline(config)
    card, spec = pipeline.encoder.card, pipeline.encoder.card.input
    grey = np.full(spec.shape, 128, dtype=np.uint8)
    dimension = pipeline.encoder.encode(Chip(pixels=grey, transform=np.eye(2, 3))).vector.size
    pixels = np.full((480, 640, 3), 128, dtype=np.uint8)
    pipeline.samples(Frame(pixels=pixels, seq=0, captured_ns=0, captured_at=datetime.now(UTC), source="grey"))
    runtime = pipeline.encoder.runtime.name
    report(
        ok(
            "runtime",
            f"{PACKAGES[runtime]} {importlib.metadata.version(PACKAGES[runtime])}, numpy {np.__version__}, "
            f"Python {platform.python_version()}, {platform.machine()}",
        )
    )
    known = check_encoder(pipeline.encoder)
    what = f"{card.name} {card.version} fits its card and ran: {dimension} values" + (known and f"; {known}")
    if pipeline.locator is not None:
        locator = pipeline.locator
        check_locator(locator)
        what += (
            f"; detectors {locator.finder.card.name}, {locator.refiner.card.name}; landmarks {locator.placer.card.name}"
        )
    if card.certified:
        report(ok("model", what))
    else:
        report(
            warning(
                "model",
                f"{what}; not certified: the cost of quantization has not been measured",
                "convert it with edge-oneshot-convert --certify, or use a shipped bundle",
            )
        )
    if pipeline.pad is not None:
        report(ok("attacks", f"presentation attack detection: performed by {pipeline.pad_method}"))
    threshold(config, pipeline)
    return pipeline


def threshold(config: Config, pipeline: Pipeline) -> None:
    """The threshold that the configuration gives, and against whom its rate holds. Raises ModelError."""
    from edge_oneshot.matching.threshold import NO_GROUPS
    from edge_oneshot.recognition.compose import build_rule

    rule = build_rule(config, pipeline.encoder)
    stated, t = config.decision.stated, rule([1])
    if (counted := rule.counted_to(t)) is not None:
        text = f"an estimate from the fitted tail, since the counts of these strangers end at {counted:.2g}"
        report(ok("threshold", f"decision.{stated} gives {t.value:.3f}, {text}"))
    elif t.extrapolated:
        report(
            warning(
                "threshold",
                f"decision.{stated} is outside the measured range of the card; the threshold {t.value:.3f} is extrapolated",
                f"choose a larger {stated.partition(' ')[0]}",
            )
        )
    else:
        grows = "" if t.target_fpir is None else " with one person enrolled; it rises with the gallery"
        report(ok("threshold", f"decision.{stated} gives {t.value:.3f}{grows}"))
    report(ok("strangers", NO_GROUPS if rule.falls_back else t.rate.words))


def import_camera_library() -> bool:
    """Import picamera2 after the interpreter has run. Returns whether it worked."""
    from edge_oneshot.errors import CameraError

    try:
        import edge_oneshot.cameras.picamera2  # noqa: F401 - it imports the library and gives the fix for a failure
    except CameraError as e:
        report(fault("camera library", e.message, e.hint))
        return False
    report(ok("camera library", "picamera2 and the model work in one process"))
    return True


def camera(config: Config, pipeline: Pipeline | None) -> None:
    """Open the camera and examine one frame."""
    from edge_oneshot.cameras.latest import LatestFrame, State
    from edge_oneshot.errors import CameraError
    from edge_oneshot.shown import redact_uri

    if config.camera.uri.startswith("picamera2") and not import_camera_library():
        return
    name = redact_uri(config.camera.uri)
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
        lost = error or CameraError(
            f"camera {name}: no frame within {time.monotonic() - start:.0f} s",
            "check cable and power, and that no other program uses the camera",
        )
        report(fault("camera", lost.message, lost.hint))
        return
    width, height = frame.size
    light = float(frame.pixels.mean())
    text = f"{name} delivers {width}x{height}"
    if pipeline is not None:
        found = len(pipeline.samples(frame))
        text += f", {found} face{'s' * (found != 1)} in the first frame"
    if light < 16:
        report(
            warning(
                "camera",
                f"{text}, but the picture is almost black (mean {light:.0f} of 255)",
                "remove the lens cap, or add light",
            )
        )
    else:
        report(ok("camera", text))


if __name__ == "__main__":
    main(*sys.argv[1:3])
