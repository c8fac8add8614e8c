"""A bundle for whole frames (regions = "frame"), with the same commands and the same daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from device import Device
from mosquitto import Subscriber
from pictures import Pixels
from PIL import Image, ImageDraw

from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import find_bundle, read_bundle
from edge_oneshot.model.encoder import TwinEncoder


@pytest.fixture(scope="module")
def encoder() -> TwinEncoder:
    try:
        bundle = read_bundle(find_bundle("omniglot", "encoder"))
    except ModelError as e:
        pytest.skip(f"no whole-frame bundle is shipped: {e}")
    assert bundle.encoder.regions == "frame"
    return TwinEncoder(bundle)


def drawing(kind: str, jitter: int = 0) -> Pixels:
    """A character in ink on paper. Another jitter is another person's drawing of it."""
    generator = np.random.default_rng(jitter)
    picture = Image.new("RGB", (210, 210), "white")
    ink = ImageDraw.Draw(picture)
    dx, dy = generator.integers(-8, 9, 2)
    lines = {
        "cross": [(40, 105, 170, 105), (105, 40, 105, 170)],
        "zigzag": [(40, 50, 170, 50), (170, 50, 40, 160), (40, 160, 170, 160)],
        "circles": [],
    }[kind]
    for x0, y0, x1, y1 in lines:
        a, b, c, d = generator.integers(-5, 6, 4)
        ink.line((x0 + dx + a, y0 + dy + b, x1 + dx + c, y1 + dy + d), fill="black", width=5)
    if kind == "circles":
        for x in (60, 110):
            ink.ellipse((x + dx, 70 + dy, x + 45 + dx, 120 + dy), outline="black", width=5)
    return np.asarray(picture)


def test_enroll_identify_run(
    make_device: Callable[..., Device], subscriber: Subscriber, encoder: TwinEncoder, short_path: Path
) -> None:
    assert encoder.card.thresholds is not None
    device = make_device(
        model={"encoder": "omniglot"}, decision={"target_fmr": 0.05, "unknown_frames": 4, "gone_after_s": 0.5}
    )
    files = {}
    for name in ("cross", "zigzag", "circles"):
        files[name] = short_path / f"{name}.png"
        Image.fromarray(drawing(name, 1)).save(files[name])
    for name in ("cross", "zigzag"):
        assert device.enroll(name.title(), files[name])["quality"]["inter_eye_px"] == 0
    assert json.loads(device.call("identify", "--image", str(files["cross"]), "--json"))["identity"] == "cross"
    refused = json.loads(device.call("verify", "--name", "cross", "--image", str(files["zigzag"]), "--json", expect=3))
    assert refused["decision"] == "non_match"

    device.camera.show([*[drawing("cross", 1)] * 6, *[drawing("zigzag", 1)] * 8])
    device.start(ready=False)
    assert device.ends() == 0, device.log()
    told = [(h.json["event_type"], h.json.get("identity")) for h in subscriber.wait("/event", 4)]
    assert [t for t in told if t[0] == "match"] == [("match", "cross"), ("match", "zigzag")]
    assert sorted(t[1] for t in told if t[0] == "gone") == ["cross", "zigzag"]
