"""What is compared bit by bit: the encoder's raw int8 outputs for chips that no detector touches, and through the whole path.

Two kinds, since they fail for different reasons: `chips` are cut from the portraits by fixed transforms (only the encoder
can change them), `portraits` go through detector, alignment and encoder.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pictures import collins_pixels, frame, hopper_pixels

from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.model.bundle import find_bundle, read_bundle
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.recognition.compose import build_locator
from edge_oneshot.vision.align import align, warp

HERE = Path(__file__).parent
FILE = HERE / "embeddings.json"
# Transforms frame px -> chip px, near to what alignment gives; fixed, so that only the encoder is under test.
TRANSFORMS = {
    "collins": [[0.83, 0.03, -131.0], [-0.03, 0.83, -26.0]],
    "hopper": [[0.41, 0.0, -53.0], [0.0, 0.41, -27.5]],
}


def exact_here() -> bool:
    """Whether this processor is one of those on which the outputs were seen to be the same bit by bit."""
    if platform.machine() == "aarch64":
        return True
    try:
        return "avx2" in Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False


def chips() -> dict[str, NDArray[np.uint8]]:
    """uint8 (112, 112, 3) per portrait."""
    spec = read_bundle(find_bundle("", "encoder")).encoder.input
    pictures = {"collins": collins_pixels(), "hopper": hopper_pixels()}
    return {
        name: warp(pixels, np.array(TRANSFORMS[name]), (spec.width_px, spec.height_px))
        for name, pixels in pictures.items()
    }


def aligned() -> dict[str, NDArray[np.uint8]]:
    """The chips that the device's own path cuts."""
    card = read_bundle(find_bundle("", "encoder")).encoder
    locator = build_locator(Config(model=ModelConfig(threads=1)))
    found = {}
    for name, pixels in (("collins", collins_pixels()), ("hopper", hopper_pixels())):
        picture = frame(pixels)
        (face,) = locator.locate(picture)
        found[name] = align(picture, face, card).pixels
    return found


def encode(pixels: NDArray[np.uint8], runtime: str = "auto") -> list[int]:
    """The raw int8 output, not dequantized, not normalised."""
    bundle = read_bundle(find_bundle("", "encoder"))
    (output,) = Runtime(bundle.model, bundle.path, runtime).invoke((pixels ^ 0x80).view(np.int8)[np.newaxis])
    return [int(v) for v in output[0]]


def make() -> dict[str, Any]:
    return {
        "encoder_id": read_bundle(find_bundle("", "encoder")).encoder_id,
        "chips": {name: encode(c) for name, c in chips().items()},
        "portraits": {name: encode(c) for name, c in aligned().items()},
    }


def load() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(FILE.read_text())
    return data
